"""The facade for codecs that are trained: an autoencoder with its objective, data and run folder.

    codec = um.recipe.autoencoder(folder="faces", size=64).fit(out="runs/faces-codec")
    z = codec.encode(x);  codec.decode(z)

After training, the mean and the standard deviation of its latents are measured on the training data and saved with the
weights, so that latents are centred and of unit size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt import picture
from unmelt.arguments import checked
from unmelt.codec import Autoencoder, QuantizedAutoencoder
from unmelt.data import Source
from unmelt.errors import UsageError
from unmelt.metric import collect_samples, frechet_distance, image_crops
from unmelt.metric.features import Pixels
from unmelt.modality import Images, Modality
from unmelt.model.judging import note_other_data
from unmelt.model.stored import TrainingData
from unmelt.model.trainable_part import TrainablePart
from unmelt.objective import Reconstruction, perceptual_distance
from unmelt.train import ObjectiveStep, Training

ROWS, MEASURED, SHOWN = 64, 4096, 8
"""Rows that are coded at a time, by which latents are measured at most, and that a picture shows."""


@final
class CodecModel(TrainablePart):
    """An autoencoder of images, trained and kept in a run folder. A recipe makes one; `um.load` reads one.

    Args:
        codec: The autoencoder.
        objective: The loss that training minimises.
        training: Steps, batch, learning rate and so on.
        modality: How images are shown and written. None: as images.
        source: The training images, in [0, 1].
        held_out: Held-out images, for evaluation.
        origin: Name and settings of the recipe that made it.
        notes: Notes on how the data were read.
        folder: Its run folder; None if it has none.
    """

    PARTS: ClassVar = ("modality", "codec", "objective", "training")
    REQUIRED: ClassVar = ("modality", "codec")
    MAIN: ClassVar = "codec"

    @checked("um.CodecModel")
    def __init__(
        self,
        *,
        codec: Autoencoder | QuantizedAutoencoder,
        objective: Reconstruction | None = None,
        training: Training | None = None,
        modality: Modality | None = None,
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        folder: str | Path | None = None,
    ) -> None:
        self.codec, self.objective, self.training = codec, objective, training
        self.modality: Modality = modality or Images()
        self.source, self.held_out = source, held_out
        self.origin, self.notes, self.classes = origin or {}, notes, ()
        self.folder = None if folder is None else Path(folder)
        self.steps_done, self.run, self.data = 0, "", None
        for module in self.modules().values():
            module.eval()

    def __repr__(self) -> str:
        recipe = self.origin.get("recipe")
        facts = [
            *([f"recipe {recipe}"] if recipe else []),
            repr(self.codec),
            f"{self.steps_done:,} training steps",
        ]
        return f"CodecModel({', '.join(facts)})"

    def modules(self) -> dict[str, nn.Module]:
        features = None if self.objective is None else self.objective.features
        return {"codec": self.codec, **({"features": features} if isinstance(features, nn.Module) else {})}

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> CodecModel:
        kinds: dict[str, Any] = {"codec": Autoencoder | QuantizedAutoencoder, "objective": Reconstruction | None}
        kinds |= {"training": Training | None}
        if odd := [name for name, kind in kinds.items() if not isinstance(parts[name], kind)]:
            raise TypeError(f"{parts[odd[0]]!r} as its {odd[0]}")
        if not hasattr(parts["modality"], "name"):
            raise TypeError(f"{parts['modality']!r} as its modality")
        return cls(**parts, origin=about["origin"], notes=about["notes"], folder=folder)

    def training_data(self, device: torch.device) -> TrainingData:
        assert self.source is not None
        return TrainingData(self.source, self.held_out, None)

    def save_preview(self, path: Path | None) -> Path | None:
        drawn = self.picture()
        if path is None:
            return None
        path = path.with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.save(path)
        return path

    def train_step(self) -> ObjectiveStep:
        if self.source is None or self.training is None or self.objective is None:
            raise UsageError(
                "an autoencoder without data to learn from",
                "one made by a recipe",
                'um.recipe.autoencoder(folder="faces").fit()',
            )
        constants = [module for name, module in self.modules().items() if name != self.MAIN]
        return ObjectiveStep(self.codec, self.objective, constants)

    def finish(self) -> None:
        """Measure the latents, which have mean 0 and deviation 1 from then on."""
        if isinstance(self.codec, Autoencoder):
            self.codec.normalize(*self._latent_moments(self.codec))
            if self.folder is not None:
                self.save(self.folder)

    @torch.no_grad()
    def _latent_moments(self, codec: Autoencoder) -> tuple[Float[Tensor, " latents"], Float[Tensor, " latents"]]:
        """Mean and standard deviation of each channel, the noise of the latents included."""
        assert self.source is not None
        found = [codec.latents(x) for x in self._chunks(collect_samples(self.source).x[:MEASURED])]
        mean, log_variance = (torch.cat(each).double() for each in zip(*found, strict=True))
        centre = mean.mean((0, 2, 3))
        spread = (mean - centre[:, None, None]).square() + log_variance.exp()
        return centre.float(), spread.mean((0, 2, 3)).sqrt().float()

    def _chunks(self, x: Tensor) -> Iterator[Tensor]:
        return (part.to(self.device) for part in x.split(ROWS))

    @checked("model.encode")
    @torch.no_grad()
    def encode(self, x: Float[Tensor, "rows channels h w"]) -> Tensor:
        """Encode images.

        Args:
            x: [rows, channels, height, width], in [0, 1].

        Returns:
            [rows, *latent_shape], on the CPU: numbers of about unit size, or tokens.

        Raises:
            UsageError: If the shape is not one that the autoencoder takes.
        """
        return torch.cat([self.codec.encode(part).cpu() for part in self._chunks(x)])

    @checked("model.decode")
    @torch.no_grad()
    def decode(self, z: Tensor) -> Float[Tensor, "rows channels h w"]:
        """Decode latents.

        Args:
            z: [rows, *latent_shape], as `encode` returns them.

        Returns:
            [rows, channels, height, width], in [0, 1], on the CPU.
        """
        return torch.cat([self.codec.decode(part).cpu() for part in self._chunks(z)])

    def reconstruct(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows channels h w"]:
        """Encode images and decode what comes of it.

        Args:
            x: [rows, channels, height, width], in [0, 1].

        Returns:
            The same shape.
        """
        return self.decode(self.encode(x))

    @checked("model.evaluate")
    def evaluate(self, *, samples: int | None = None) -> dict[str, Any]:
        """How good reconstructions of held-out images are.

        psnr             Peak signal to noise ratio, in decibels, of the mean squared error of all pixels.
        frechet          Fréchet distance of the reconstructions to the images, over averaged pixels.
        frechet_detail   The same over crops at full resolution; only of images of over 8 pixels.
        perceptual       Mean perceptual distance, in the features that training used; only if it used some.
        kl               Mean KL of the latents to N(0, 1), in nats an image; of tokens, `used`, the share of the
                         vocabulary that occurs.

        Args:
            samples: Images to judge by. None: all that are held out.

        Returns:
            Figures by name, and what was asked for.

        Raises:
            UsageError: If there are no held-out images.
        """
        if self.held_out is None:
            raise UsageError(
                "an autoencoder without held-out images",
                "one made by a recipe, or loaded with its data",
                'um.recipe.with_data("runs/faces-codec")',
            )
        note_other_data(self)
        x = collect_samples(self.held_out).x[:samples]
        made, pixels = self.reconstruct(x), Pixels()
        scores: dict[str, Any] = {
            "psnr": -10 * (made - x).square().mean().log10().item(),
            "features": pixels.name,
            "frechet": frechet_distance(pixels(made), pixels(x)),
        }
        if max(x.shape[-2:]) > pixels.size:
            scores["frechet_detail"] = frechet_distance(*(image_crops(each).flatten(1) for each in (made, x)))
        features = None if self.objective is None else self.objective.features
        with torch.no_grad():
            if features is not None:
                pairs = zip(self._chunks(made), self._chunks(x), strict=True)
                scores["perceptual"] = torch.cat([perceptual_distance(features, *pair) for pair in pairs]).mean().item()
            if isinstance(self.codec, Autoencoder):
                codec = self.codec
                scores["kl"] = torch.cat([codec.latents(part).kl() for part in self._chunks(x)]).mean().item()
            else:
                scores["used"] = len(self.encode(x).unique()) / self.codec.vocabulary
        return {**scores, "samples": len(x)}

    @checked("model.picture")
    def picture(self, path: str | Path | None = None) -> Any:
        """Held-out images, and below each its reconstruction.

        Args:
            path: Where the picture is written; None writes nothing.

        Returns:
            The picture.

        Raises:
            UsageError: If there are no images at hand.
        """
        shown = self.held_out or self.source
        if shown is None:
            raise UsageError(
                "a picture of an autoencoder without images",
                "one made by a recipe, or loaded with its data",
                'um.recipe.with_data("runs/faces-codec").picture()',
            )
        x = shown.batch(0, SHOWN)[0]
        drawn = picture.tiles(torch.cat([x, self.reconstruct(x)]), SHOWN, row_labels=("image", "decoded"))
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            drawn.save(path)
        return drawn

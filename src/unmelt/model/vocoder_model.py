"""The facade for vocoders: a codec of sounds that is trained, with its objective, recordings and run folder.

vocoder = um.recipe.vocoder(folder="recordings").fit(out="runs/vocoder")
z = vocoder.encode(x);  vocoder.decode(z)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked
from unmelt.codec import Vocoder
from unmelt.data import Excerpts, Recordings
from unmelt.errors import UsageError
from unmelt.modality import Modality, Sound
from unmelt.model.judging import note_other_data
from unmelt.model.stored import TrainingData
from unmelt.model.trainable_part import TrainablePart
from unmelt.objective import SpectralLoss, spectral_distance
from unmelt.train import ObjectiveStep, Training

SHOWN, JUDGED, SECONDS = 4, 64, 2.0
"""Recordings that a picture shows, that are judged, and seconds of each in a picture."""


@final
class VocoderModel(TrainablePart):
    """A vocoder, trained and kept in a run folder. A recipe makes one; `um.load` reads one.

    Args:
        codec: The vocoder.
        objective: The loss that training minimises.
        training: Steps, batch, learning rate and so on.
        modality: How sounds are shown and written. None: as sound of the vocoder's sample rate.
        excerpt: Samples of the excerpts that it learns from.
        source: The recordings to learn from.
        held_out: Held-out recordings, for evaluation.
        origin: Name and settings of the recipe that made it.
        notes: Notes on how the data were read.
        folder: Its run folder; None if it has none.
    """

    PARTS: ClassVar = ("modality", "codec", "objective", "training")
    REQUIRED: ClassVar = ("modality", "codec")
    MAIN: ClassVar = "codec"

    @checked("um.VocoderModel")
    def __init__(
        self,
        *,
        codec: Vocoder,
        objective: SpectralLoss | None = None,
        training: Training | None = None,
        modality: Modality | None = None,
        excerpt: int = 16_384,
        source: Recordings | None = None,
        held_out: Recordings | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        folder: str | Path | None = None,
    ) -> None:
        self.codec, self.objective, self.training, self.excerpt = codec, objective, training, excerpt
        self.modality: Modality = modality or Sound(codec.sample_rate)
        self.source: Any = source
        self.held_out: Any = held_out
        self.origin, self.notes, self.classes = origin or {}, notes, ()
        self.folder = None if folder is None else Path(folder)
        self.steps_done, self.run, self.data = 0, "", None
        codec.eval()

    def __repr__(self) -> str:
        recipe = self.origin.get("recipe")
        facts = [*([f"recipe {recipe}"] if recipe else []), repr(self.codec), f"{self.steps_done:,} training steps"]
        return f"VocoderModel({', '.join(facts)})"

    def modules(self) -> dict[str, nn.Module]:
        return {"codec": self.codec}

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> VocoderModel:
        kinds: dict[str, Any] = {"codec": Vocoder, "objective": SpectralLoss | None, "training": Training | None}
        if odd := [name for name, kind in kinds.items() if not isinstance(parts[name], kind)]:
            raise TypeError(f"{parts[odd[0]]!r} as its {odd[0]}")
        if not hasattr(parts["modality"], "name"):
            raise TypeError(f"{parts['modality']!r} as its modality")
        return cls(**parts, origin=about["origin"], notes=about["notes"], folder=folder)

    def training_data(self, device: torch.device) -> TrainingData:
        held_out = None if self.held_out is None else Excerpts(self.held_out, self.excerpt)
        return TrainingData(Excerpts(self.source, self.excerpt), held_out, None)

    def save_preview(self, path: Path | None) -> Path | None:
        shown = self.held_out or self.source
        x = Excerpts(shown, int(SECONDS * self.codec.sample_rate)).batch(0, SHOWN)[0]
        both = torch.stack([x[..., : (made := self.reconstruct(x)).shape[-1]], made], 1).flatten(0, 1)
        if path is None:
            return None
        path = path.with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.modality.draw(both).save(path)
        return path

    def train_step(self) -> ObjectiveStep:
        if self.source is None or self.training is None or self.objective is None:
            raise UsageError(
                "a vocoder without recordings to learn from",
                "one made by a recipe",
                'um.recipe.vocoder(folder="recordings").fit()',
            )
        return ObjectiveStep(self.codec, self.objective)

    @checked("model.encode")
    @torch.no_grad()
    def encode(self, x: Float[Tensor, "rows 1 samples"]) -> Float[Tensor, "rows frames bands"]:
        """Encode sounds.

        Args:
            x: [rows, 1, samples], in [-1, 1].

        Returns:
            [rows, frames, bands], mel frames of about unit size, on the CPU.
        """
        return self.codec.encode(x.to(self.device)).cpu()

    @checked("model.decode")
    @torch.no_grad()
    def decode(self, z: Float[Tensor, "rows frames bands"]) -> Float[Tensor, "rows 1 samples"]:
        """Decode mel frames.

        Args:
            z: [rows, frames, bands], as `encode` returns them.

        Returns:
            [rows, 1, samples], in [-1, 1], on the CPU.
        """
        return self.codec.decode(z.to(self.device)).cpu()

    def reconstruct(self, x: Float[Tensor, "rows 1 samples"]) -> Float[Tensor, "rows 1 fewer"]:
        """Encode sounds and decode what comes of it.

        Args:
            x: [rows, 1, samples], in [-1, 1].

        Returns:
            [rows, 1, samples], less what fills no hop.
        """
        return self.decode(self.encode(x))

    @checked("model.evaluate")
    def evaluate(self, *, samples: int | None = None) -> dict[str, Any]:
        """How near the vocoder's sounds are to held-out recordings, and Griffin-Lim's beside them.

        mel               Mean error of normalised mel frames.
        spectral          Multi-resolution distance of spectra (`objective.spectral_distance`).
        real_time_factor  Seconds of decoding for a second of sound.
        griffin_lim_...   The same three of `Mel.decode`.

        Args:
            samples: Recordings to judge by. None: all that are held out, and at most 64.

        Returns:
            Figures by name, and what was asked for.

        Raises:
            UsageError: If there are no held-out recordings.
        """
        if self.held_out is None:
            raise UsageError(
                "a vocoder without held-out recordings",
                "one made by a recipe, or loaded with its data",
                'um.recipe.with_data("runs/vocoder")',
            )
        note_other_data(self)
        count = min(len(self.held_out), samples or JUDGED)
        frames = (self.objective or SpectralLoss()).frames
        scores: dict[str, Any] = {}
        for name, codec in (("", self.codec), ("griffin_lim_", self.codec.mel)):
            mel, spectral, seconds, whole = 0.0, 0.0, 0.0, 0.0
            for item in range(count):
                x = self.held_out.sound(item)[None, None].to(self.device)
                with torch.no_grad():
                    z = codec.encode(x)
                    began = time.perf_counter()
                    made = codec.decode(z)
                    seconds += time.perf_counter() - began
                    real = x[..., : made.shape[-1]]
                    mel += (codec.encode(made) - codec.encode(real)).abs().mean().item() / count
                    spectral += spectral_distance(made[:, 0], real[:, 0], frames).item() / count
                    whole += made.shape[-1] / self.codec.sample_rate
            scores |= {f"{name}mel": mel, f"{name}spectral": spectral, f"{name}real_time_factor": seconds / whole}
        return {**scores, "samples": count}

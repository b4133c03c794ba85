"""A model as named parts: saved to a run folder, loaded, averaged after training, and shared."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final

import torch
from torch import nn

from unmelt import card, config, hub, run_folder
from unmelt.adapter import Adapter, LoRA
from unmelt.arguments import checked
from unmelt.arguments.methods import NotANetwork
from unmelt.codec import Codec, Tokenizer
from unmelt.data import Source
from unmelt.denoiser import Denoiser
from unmelt.device import device_named
from unmelt.encoder import TextEncoder
from unmelt.errors import UsageError
from unmelt.modality import Modality
from unmelt.model.part_kinds import check_kinds
from unmelt.objective import Objective
from unmelt.sampler import Grid, Sampler, Tuned
from unmelt.terminal import notify
from unmelt.train import Training, distributed, reconstruct_ema

M = TypeVar("M", bound="StoredModel")

ADAPTER = "adapter-"
"""Before the name of an adapter, the name of its module."""

REQUIRED = ("denoiser", "codec", "grid")
"""Parts that every model has."""


class StoredModel(NotANetwork, ABC):
    """Denoiser, codec, sampler, objective and training, together. A recipe returns one unfitted, `load` a fitted one.

    Args:
        denoiser: The network that is trained, and its process.
        codec: Maps data space to what the denoiser sees, and back. A codec that is a module is frozen; its weights are
            saved with the model.
        grid: The times that the sampler visits.
        modality: How data are shown, scored and written to disk. None: inferred from the shape of the data.
        sampler: The model's own sampler. None: the default sampler for the number of steps.
        objective: The loss that training minimises.
        training: Steps, batch, learning rate and so on.
        encoder: Turns captions into sequences to attend to. None: the model takes no captions.
        classes: Names of the labels; empty where there are none.
        source: The training data.
        held_out: Held-out data, for evaluation.
        origin: Name and settings of the recipe that made the model.
        notes: Notes on how the data were read, such as files that were skipped.
        tuned: Samplers that were tuned to this model, the newest last.
        folder: The model's run folder; None if it has none.

    Attributes:
        data: Identities of the training data and the held-out data of its run (`data.identity`); None if unknown.
        run: Identifier of its run, which checkpoints and snapshots carry; "" before training and in version 0.1.0.
        adapters: The model's adapters by name; see `add_adapter`.
        active_adapter: Name of the adapter for samples that ask for none; None for the base model.
    """

    PARTS: ClassVar = ("modality", "denoiser", "codec", "encoder", "sampler", "grid", "objective", "training")
    """Attributes that a run folder describes."""

    CODEC: ClassVar[type] = Codec
    """The interface of its codec."""

    @checked("um.Model")
    def __init__(
        self,
        *,
        denoiser: Denoiser,
        codec: Codec | Tokenizer,
        grid: Grid,
        modality: Modality | None = None,
        sampler: Sampler | None = None,
        objective: Objective | None = None,
        training: Training | None = None,
        encoder: TextEncoder | None = None,
        classes: Sequence[str] = (),
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        tuned: Sequence[Tuned] = (),
        folder: str | Path | None = None,
    ) -> None:
        self.denoiser: Any = denoiser
        self.codec: Any = codec
        self.sampler: Any = sampler
        self.grid, self.objective, self.training = grid, objective, training
        self.encoder = encoder
        self.modality = modality or self.default_modality()
        self.classes, self.source, self.held_out = tuple(classes), source, held_out
        self.origin, self.notes, self.tuned = origin or {}, notes, tuple(tuned)
        self.steps_done, self.folder = 0, None if folder is None else Path(folder)
        self.run: str = ""
        self.data: dict[str, Any] | None = None
        self.adapters: dict[str, Adapter] = {}
        self.active_adapter: str | None = None
        self.check_parts()
        for module in self.modules().values():
            module.eval()
        for name in ("codec", "encoder"):
            if isinstance(frozen := getattr(self, name), nn.Module):
                frozen.requires_grad_(False)

    @abstractmethod
    def add_adapter(self, name: str, config: LoRA, seed: int = 0) -> Adapter:
        """Give the model a new adapter, which changes nothing until it is trained.

        Args:
            name: Name of the adapter; samples select it by this name.
            config: Rank, scale and layers.
            seed: Seed of its initial weights.

        Returns:
            The adapter.

        Raises:
            UsageError: If the name is taken or not a word, or a target matches no layer.
        """

    def check_parts(self) -> None:
        """Refuse parts that do not fit one another.

        Raises:
            UsageError: If the encoder's width is not the one that the network was made for.
        """
        made_for = getattr(self.denoiser.backbone, "sequence_width", 0)
        if self.encoder is not None and self.encoder.width != made_for:
            raise UsageError(
                f"an encoder of width {self.encoder.width} for a network with sequence_width={made_for}",
                "the same number",
                f"sequence_width={self.encoder.width}",
            )

    @abstractmethod
    def default_modality(self) -> Modality:
        """The kind of data that a model has which does not say; run folders of version 0.1.0 do not."""

    def __repr__(self) -> str:
        recipe = self.origin.get("recipe")
        reversal_facts = [
            *([f"recipe {recipe}"] if recipe else []),
            f"{self.modality.name} of shape {' x '.join(map(str, self.denoiser.shape))}",
            *([f"{len(self.classes)} classes"] if self.classes else []),
            f"{sum(p.numel() for p in self.denoiser.parameters()):,} parameters",
            f"{self.steps_done:,} training steps",
        ]
        return f"{type(self).__name__}({', '.join(reversal_facts)})"

    @final
    def modules(self) -> dict[str, nn.Module]:
        """The parts that have weights, by name: the denoiser, codec and encoder if they are networks, each adapter."""
        parts = {name: getattr(self, name) for name in ("denoiser", "codec", "encoder")}
        parts |= {f"{ADAPTER}{name}": adapter for name, adapter in self.adapters.items()}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    @final
    @checked("model.to")
    def to(self: M, device: str | torch.device) -> M:
        """Move all weights to a device.

        Args:
            device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.

        Returns:
            The model itself.

        Raises:
            UsageError: If there is no such device.
        """
        for module in self.modules().values():
            module.to(device_named(device))
        return self

    @final
    def describe(self) -> dict[str, Any]:
        """Everything there is to say about this model in JSON: its origin, its parts, how far it was trained."""
        return {
            "facade": type(self).__name__,
            "origin": self.origin,
            "notes": self.notes,
            "classes": list(self.classes),
            "steps_done": self.steps_done,
            "run": self.run,
            "data": self.data,
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "model": {name: config.describe(getattr(self, name)) for name in self.PARTS},
            "tuned": config.describe(self.tuned),
            "adapters": {name: config.describe(adapter.config) for name, adapter in self.adapters.items()},
            "active_adapter": self.active_adapter,
        }

    @final
    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """The tensors of each module, by the module's name; whole, whatever they are spread over."""
        return {
            name: {key: distributed.full_tensor(value) for key, value in module.state_dict().items()}
            for name, module in self.modules().items()
        }

    @final
    @checked("model.save")
    def save(self, folder: str | Path) -> None:
        """Write a run folder, from which `um.load` builds the model again without its data.

        Args:
            folder: The run folder to write.

        Raises:
            UsageError: If the folder cannot be written to, or a part cannot be described.
        """
        weights = self.weights()
        if distributed.rank() == 0:
            run_folder.write_run(Path(folder), self.describe(), weights)

    @final
    @classmethod
    def load(cls: type[M], folder: str | Path, device: str | torch.device = "auto") -> M:
        """Load the model of a run folder.

        Args:
            folder: A folder that training or `save` wrote.
            device: The device for the weights; "auto" is a GPU where there is one.

        Returns:
            The model, without training data.

        Raises:
            UsageError: If the folder is damaged, of another kind, or not a run folder.
        """
        about, weights = run_folder.read_run(Path(folder))
        if about["facade"] != cls.__name__:
            raise UsageError(
                f"{folder}, which holds a {about['facade']}", f"a run of a {cls.__name__}", f"um.load({str(folder)!r})"
            )
        try:
            parts = {name: config.build(about["model"][name]) for name in REQUIRED}
            parts |= {name: config.build(about["model"].get(name)) for name in set(cls.PARTS) - set(REQUIRED)}
            check_kinds(parts, cls.CODEC)
            known = {name: about[name] for name in ("classes", "origin", "notes")}
            known |= {"tuned": config.build(about.get("tuned", [])), "folder": folder}
            adapters = {name: config.build(described) for name, described in about.get("adapters", {}).items()}
            if odd := [each for each in (*adapters.values(), *known["tuned"]) if not isinstance(each, LoRA | Tuned)]:
                raise TypeError(f"{odd[0]!r} among adapters and tuned samplers")
            model = cls(**parts, **known)
        except UsageError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UsageError(
                f"{folder} does not describe a model of this kind ({error!r})",
                "a folder that training wrote",
                f"um.load({str(folder)!r}), a copy of it, or training again",
            ) from None
        model.steps_done, model.run = about["steps_done"], about.get("run", "")
        model.data = about.get("data")
        for name, adapter in adapters.items():
            model.add_adapter(name, adapter)
        model.active_adapter = about.get("active_adapter")
        if model.active_adapter not in (None, *adapters):
            raise UsageError(f"{folder} with an active adapter that it does not hold", "one of its own", "a copy of it")
        for name, module in model.modules().items():
            run_folder.load_weights(Path(folder), name, module, weights.get(name, {}))
        return model.to(device)

    @final
    @checked("model.averaged")
    def averaged(self: M, ema_std: float, steps: int | None = None) -> M:
        """Make a copy of this model with another average of its weights (post-hoc EMA: Karras et al., 2024, section 3).

        Needs a run with `snapshot_every`. Tuned samplers are not copied, because they were fitted to other weights.

        Args:
            ema_std: Standard deviation of the averaging window, as a share of the run. 0.05 follows the last weights
                closely; 0.2 averages much of the run.
            steps: Average the run up to this step, which must be that of a snapshot. None: the last step.

        Returns:
            A new model with these weights.

        Raises:
            UsageError: If there are no snapshots, or none from which such an average can be made.
        """
        if self.folder is None:
            raise UsageError(
                "a model without a run folder", "the snapshots of one", 'um.load("runs/faces").averaged(0.1)'
            )
        found = reconstruct_ema(self.folder / run_folder.AVERAGES, ema_std, steps, notify, self.run)
        made = type(self).load(self.folder, self.device)
        weights = dict(made.denoiser.named_parameters())
        if found.tensors.keys() != weights.keys():
            raise UsageError(f"snapshots in {self.folder} of another network", "those of this run", "training again")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(found.tensors[name])
        made.folder, made.tuned, made.steps_done = None, (), found.steps
        note = f"EMA of width {ema_std:g} over {found.steps} steps (profile within {found.error:.1e})"
        made.notes = "; ".join(filter(None, (self.notes, note)))
        return made

    @final
    @checked("model.save_pretrained")
    def save_pretrained(self, folder: str | Path, *, license: str | None = None, name: str | None = None) -> None:
        """`save`, fit to be shared: with a model card, scores and a picture, and without paths of this machine.

        Args:
            folder: Where it goes; not the run's own folder.
            license: License of the weights, by its short name. None: that of an earlier card, else "unknown".
            name: The name to load it by, for the card. None: the folder's name.

        Raises:
            UsageError: If the folder is the run's own, or the licence is not a name.
        """
        card.check_license(license)
        folder = Path(folder)
        if self.folder is not None and folder.resolve() == self.folder.resolve():
            raise UsageError(f"{folder}, the run's own folder", "a folder to share", f"{folder}-shared")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as temporary:  # all of it is there, or nothing
            made = Path(temporary)
            run_folder.write_run(made, hub.public(self.describe()), self.weights())
            card.finish(made, folder, self.folder, name, license)
            run_folder.prepare(folder)
            for path in made.iterdir():
                path.replace(folder / path.name)

    @final
    @classmethod
    def from_pretrained(
        cls: type[M],
        name_or_folder: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        device: str | torch.device = "auto",
    ) -> M:
        """The model in a folder, or else the one that the Hub has under this name.

        Args:
            name_or_folder: A folder, or owner/name on the Hub.
            revision: Branch, tag or commit on the Hub.
            token: For private or gated models.
            cache_dir: Where the Hub's files are kept.
            device: Where its weights go.

        Returns:
            The model.

        Raises:
            UsageError: If there is no such folder or model, or it is damaged.
        """
        if Path(name_or_folder).exists() or not hub.is_remote(str(name_or_folder)):
            return cls.load(name_or_folder, device)
        model = cls.load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
        model.folder = None  # the cache is not ours to write to
        return model

    @final
    @checked("model.push_to_hub")
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        license: str | None = None,
    ) -> str:
        """Put the model onto the Hub, in a repository that is made if there is none.

        Args:
            repo_id: owner/name.
            private: Whether a new repository is private.
            token: That may write there.
            commit_message: The commit message.
            license: License of the weights, by its short name.

        Returns:
            The repository's address.

        Raises:
            UsageError: If the Hub cannot be reached or refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, license=license, name=repo_id)
            return hub.publish(Path(folder), repo_id, private, token, commit_message)

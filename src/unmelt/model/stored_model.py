"""A model as named parts: a denoiser and all that it needs to be trained and sampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final

import torch
from torch import nn

from unmelt import config, run_folder
from unmelt.adapter import Adapter, LoRA
from unmelt.arguments import checked
from unmelt.codec import Codec, Tokenizer
from unmelt.control import Control
from unmelt.data import Source
from unmelt.denoiser import Denoiser
from unmelt.encoder import TextEncoder
from unmelt.errors import UsageError
from unmelt.modality import Modality
from unmelt.model.part_kinds import check_kinds
from unmelt.model.stored import Stored
from unmelt.objective import Objective
from unmelt.planner import Planner
from unmelt.sampler import Grid, Sampler, Tuned
from unmelt.terminal import notify
from unmelt.train import Training, reconstruct_ema

M = TypeVar("M", bound="StoredModel")

ADAPTER, CONTROL = "adapter-", "control-"
"""Before the name of an adapter or a control network, the name of its module."""


class StoredModel(Stored, ABC):
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
        planner: Turns prompts into plans of scenes, where samples ask for them.
        control: Computes the control pictures that the network is trained to read, as its context. None: it reads none.
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
        controls: Control networks in addition to the model's own, by name; see `add_control`.
        active_adapter: Name of the adapter for samples that ask for none; None for the base model.
    """

    PARTS: ClassVar = (
        "modality",
        "denoiser",
        "codec",
        "encoder",
        "planner",
        "control",
        "sampler",
        "grid",
        "objective",
        "training",
    )
    REQUIRED: ClassVar = ("denoiser", "codec", "grid")
    MAIN: ClassVar = "denoiser"

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
        planner: Planner | None = None,
        control: Control | None = None,
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
        self.encoder, self.planner, self.control = encoder, planner, control
        self.modality = modality or self.default_modality()
        self.classes, self.source, self.held_out = tuple(classes), source, held_out
        self.origin, self.notes, self.tuned = origin or {}, notes, tuple(tuned)
        self.steps_done, self.folder = 0, None if folder is None else Path(folder)
        self.run: str = ""
        self.data: dict[str, Any] | None = None
        self.adapters: dict[str, Adapter] = {}
        self.active_adapter: str | None = None
        self.controls: dict[str, Any] = {}
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

    @abstractmethod
    def add_control(self, name: str, control: str | Path | nn.Module) -> nn.Module:
        """Add a control network to the model's own: rows may then have a control picture of this name.

        Args:
            name: Name of the control; samples select it by this name.
            control: The folder of a ControlNet or a T2I-adapter that diffusers saved; or a part that was read.

        Returns:
            The control network.

        Raises:
            UsageError: If the name is taken or not a word, the model's network takes no control, or the folder's is of
                another kind, damaged or a pickle.
        """

    def check_parts(self) -> None:
        """Refuse parts that do not fit one another.

        Raises:
            UsageError: If the encoder's width or the control's channels are not those that the network was made for, or
                there is a control and a codec with weights.
        """
        if not hasattr(self.denoiser, "backbone"):
            raise UsageError(
                f"a model with a {type(self.denoiser).__name__}, which has no network",
                "a denoiser with a network; others are sampled as they are",
                "um.sample(denoiser, rows=16, sampler=um.sampler.DPMpp(order=2), grid=um.grid.balanced(20))",
            )
        if self.control is not None:
            channels = getattr(self.denoiser.backbone, "context_channels", 0)
            if channels != self.control.channels or isinstance(self.codec, nn.Module):
                raise UsageError(
                    f"a control of {self.control.channels} channels for a network with context_channels={channels} and"
                    f" a codec {type(self.codec).__name__}",
                    "as many channels, and a codec without weights",
                    f"context_channels={self.control.channels}",
                )
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
        facts = [
            *([f"recipe {recipe}"] if recipe else []),
            f"{self.modality.name} of shape {' x '.join(map(str, self.denoiser.shape))}",
            *([f"{len(self.classes)} classes"] if self.classes else []),
            f"{sum(p.numel() for p in self.denoiser.parameters()):,} parameters",
            f"{self.steps_done:,} training steps",
        ]
        return f"{type(self).__name__}({', '.join(facts)})"

    @final
    def modules(self) -> dict[str, nn.Module]:
        parts = {name: getattr(self, name) for name in ("denoiser", "codec", "encoder")}
        parts |= {f"{ADAPTER}{name}": adapter for name, adapter in self.adapters.items()}
        parts |= {f"{CONTROL}{name}": control for name, control in self.controls.items()}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    @final
    def about(self) -> dict[str, Any]:
        return {
            "tuned": config.describe(self.tuned),
            "adapters": {name: config.describe(adapter.config) for name, adapter in self.adapters.items()},
            "active_adapter": self.active_adapter,
            **(
                {"controls": {name: config.describe(each) for name, each in self.controls.items()}}
                if self.controls
                else {}
            ),
        }

    @final
    def keep_fitted(self, about: Mapping[str, Any]) -> None:
        self.tuned = config.build(about.get("tuned", []))

    @final
    @classmethod
    def of_parts(cls: type[M], parts: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> M:
        check_kinds(parts, cls.CODEC)
        known = {name: about[name] for name in ("classes", "origin", "notes")}
        known |= {"tuned": config.build(about.get("tuned", [])), "folder": folder}
        adapters = {name: config.build(described) for name, described in about.get("adapters", {}).items()}
        if odd := [each for each in (*adapters.values(), *known["tuned"]) if not isinstance(each, LoRA | Tuned)]:
            raise TypeError(f"{odd[0]!r} among adapters and tuned samplers")
        model = cls(**parts, **known)
        for name, adapter in adapters.items():
            model.add_adapter(name, adapter)
        for name, described in about.get("controls", {}).items():
            model.add_control(name, config.build(described))
        model.active_adapter = about.get("active_adapter")
        if model.active_adapter not in (None, *adapters):
            raise UsageError(f"{folder} with an active adapter that it does not hold", "one of its own", "a copy of it")
        return model

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

"""What every model is, whatever its data: parts that are fitted together, kept, described and shared."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final

import torch
from rich.console import Console
from torch import nn

from unmelt import card, config, hub, run
from unmelt.codec import Codec
from unmelt.data import Source
from unmelt.device import device_named
from unmelt.errors import UsageError
from unmelt.model import fitting
from unmelt.objective import Objective
from unmelt.sampler import Grid, Sampler, Tuned
from unmelt.train import Execution, Logger, Training, averaged, processes

M = TypeVar("M", bound="Trained")

MOST_ROWS = 1_000_000


def check_rows(rows: int) -> None:
    """Refuse a number of rows that nobody can mean."""
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise UsageError(f"rows={rows!r}", f"a whole number from 1 to {MOST_ROWS:,}", "rows=16")


class Trained(ABC):
    """Denoiser, sampler, objective and training, together; a recipe returns one unfitted, `load` one without data.

    classes    names of the labels; empty where there are none
    source     what to learn from; held_out is what to be judged by
    origin     the name and the settings of the recipe, for the record
    notes      what became of the data on the way in
    tuned      samplers that were learned for this model, the newest last
    folder     the run folder that it lives in, if it lives in one
    """

    PARTS: ClassVar[tuple[str, ...]]
    """What it is made of, and a run folder describes."""

    def __init__(
        self,
        denoiser: nn.Module,
        sampler: Sampler | None,
        grid: Grid,
        objective: Objective | None,
        training: Training | None,
        classes: Sequence[str],
        source: Source | None,
        held_out: Source | None,
        origin: dict[str, Any] | None,
        notes: str,
        tuned: Sequence[Tuned],
        folder: str | Path | None,
    ) -> None:
        self.denoiser: Any = denoiser
        self.sampler: Any = sampler
        self.grid, self.objective, self.training = grid, objective, training
        self.classes, self.source, self.held_out = tuple(classes), source, held_out
        self.origin, self.notes, self.tuned = origin or {}, notes, tuple(tuned)
        self.steps_done, self.folder = 0, None if folder is None else Path(folder)
        self.denoiser.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    @abstractmethod
    def learning_codec(self) -> Codec | None:
        """From the source's data to what the denoiser sees; None where they are the same."""

    @abstractmethod
    def show(self, path: Path | None) -> Path | None:
        """Samples, written where a person can look at them: at the path, with a suffix of its own, which is returned.
        None writes nothing."""

    # Learning

    @final
    def fit(
        self: M,
        out: str | Path | None = None,
        device: str | torch.device = "auto",
        quiet: bool = False,
        execution: Execution | None = None,
        log_to: str | Sequence[Logger] = "none",
    ) -> M:
        """Train to the end, or go on from where an interrupted run in `out` stopped. Returns itself, fitted.

        engine   how it is computed: compiled, in parts, sharded
        log_to    who else is told: "tensorboard", "wandb", "trackio", several with commas, or "auto"; or each a `Watch`

        Started by torchrun or `accelerate launch`, every process works on its share of each batch.
        """
        if self.source is None or self.objective is None or self.training is None:
            raise UsageError("a model without data to learn from", "one made by a recipe", "um.recipe.digits().fit()")
        self.folder = None if out is None else Path(out)
        self.tuned = ()  # which were learned for weights that are no longer there
        fitting.fit(self, device_named(device), execution, quiet, log_to)
        return self

    # Keeping

    @final
    def describe(self) -> dict[str, Any]:
        """Everything there is to say about this model in JSON: its origin, its parts, how far it was trained."""
        return {
            "origin": self.origin,
            "notes": self.notes,
            "classes": list(self.classes),
            "steps_done": self.steps_done,
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "model": {name: config.describe(getattr(self, name)) for name in self.PARTS},
            "tuned": config.describe(self.tuned),
        }

    @final
    def save(self, folder: str | Path) -> None:
        """Write a run folder that `load` needs nothing else than."""
        weights = {name: processes.whole(value) for name, value in self.denoiser.state_dict().items()}
        if processes.rank() == 0:
            run.write_run(Path(folder), self.describe(), weights)

    @final
    @classmethod
    def load(cls: type[M], folder: str | Path, device: str | torch.device = "auto") -> M:
        """The model that a run folder holds; a damaged or foreign folder is a `UsageError`."""
        about, weights = run.read_run(Path(folder))
        try:
            parts = {name: config.build(about["model"][name]) for name in cls.PARTS}
            known = {name: about[name] for name in ("classes", "origin", "notes")}
            known |= {"tuned": config.build(about.get("tuned", [])), "folder": folder}
            done = int(about["steps_done"])
            model = cls(**parts, **known)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{folder} does not describe a model of this kind ({error!r})",
                "a folder that training wrote",
                f"um.load({str(folder)!r}), a copy of it, or training again",
            ) from None
        model.steps_done = done
        try:
            model.denoiser.load_state_dict(weights)
        except RuntimeError as error:
            raise UsageError(
                f"the weights in {folder} do not fit the network it describes ({str(error).splitlines()[0]})",
                "both files as they were saved together",
                "a copy of them, or training again",
            ) from None
        model.denoiser.to(device_named(device)).eval()
        return model

    @final
    def averaged(self: M, length: float, steps: int | None = None) -> M:
        """This model with another average of its weights, made from the snapshots that its run kept.

        length   of the average, as a share of the run: 0.05 follows the last weights closely, 0.2 hardly
        steps    up to which it averages, those of a snapshot; to the last if not given

        Needs a run with `snapshot_every`. Samplers that were tuned are left out, being fitted to other weights.
        """
        if self.folder is None:
            raise UsageError(
                "a model without a run folder", "the snapshots of one", 'um.load("runs/faces").averaged(0.1)'
            )
        found = averaged(self.folder / run.AVERAGES, length, steps, warn=Console(stderr=True).print)
        made = type(self).load(self.folder, self.device)
        weights = dict(made.denoiser.named_parameters())
        if found.tensors.keys() != weights.keys():
            raise UsageError(f"snapshots in {self.folder} of another network", "those of this run", "training again")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(found.tensors[name])
        made.folder, made.tuned, made.steps_done = None, (), found.steps
        said = f"weights averaged with length {length:g} over {found.steps} steps (profile within {found.error:.1e})"
        made.notes = "; ".join(filter(None, (self.notes, said)))
        return made

    # Sharing

    @final
    def save_pretrained(self, folder: str | Path, *, license: str | None = None, name: str | None = None) -> None:
        """`save`, made fit to be shared: with a model card, scores and a picture, without paths of this machine.

        license   of the weights, by its short name; if not given, what an earlier card said, or else "unknown"
        name      by which the card says it is loaded; that of the folder if not given
        """
        card.check_license(license)
        folder = Path(folder)
        if self.folder is not None and folder.resolve() == self.folder.resolve():
            raise UsageError(f"{folder}, the run's own folder", "a folder to share", f"{folder}-shared")
        run.write_run(folder, hub.public(self.describe()), self.denoiser.state_dict())
        card.finish(folder, self.folder, name, license)

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
        """The model in a folder, or else the one that the Hub has under this name (owner/name)."""
        if Path(name_or_folder).exists() or not hub.is_name(str(name_or_folder)):
            return cls.load(name_or_folder, device)
        model = cls.load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
        model.folder = None  # the cache is not ours to write to
        return model

    @final
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        license: str | None = None,
    ) -> str:
        """Put the model onto the Hub as owner/name, made if there is none, and return its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, license=license, name=repo_id)
            return hub.publish(Path(folder), repo_id, private, token, commit_message)

"""The facade: one object that is fitted, sampled, judged, saved and loaded.

It owns no mathematics. Each verb hands its parts to the rooms that do the work.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from unmelt import config, metric, picture, run
from unmelt.codec import Codec
from unmelt.condition import Condition
from unmelt.data import Source
from unmelt.denoiser import Network
from unmelt.errors import UsageError, nearest
from unmelt.guidance import CFG
from unmelt.objective import Objective
from unmelt.rng import fold
from unmelt.sampler import Grid, Sampler, trajectory
from unmelt.train import Record, Trainer, Training, read_metrics

CHUNK = 512
"""Rows sampled at a time: enough to keep a processor busy, few enough to fit."""

MOST_ROWS = 1_000_000

ACROSS, MANY_POINTS = 8, 2000
"""How much a picture of samples shows: images of each class, points in all."""


class Frame(NamedTuple):
    """One moment of a trajectory, in data space.

    x    the rows as they are at time t
    x0   what the model believes they will become
    """

    x: Float[Tensor, "rows *shape"]
    t: float
    x0: Float[Tensor, "rows *shape"]


def device_named(name: str | torch.device) -> torch.device:
    """A device to compute on; "auto" is a GPU where there is one."""
    known = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    name = str(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in known and not (name == "cuda" and torch.cuda.is_available()):
        raise UsageError(f"device {name!r}", f"one of {', '.join(known)}", "--device cpu")
    return torch.device(name)


class Model:
    """Data, codec, denoiser, objective, sampler and training, together: a whole configuration.

    A recipe returns one unfitted. `load` returns one without data, ready to sample.

    classes    names of the labels; empty where there are none
    source     what to learn from; held_out is what to be judged by
    origin     the name and the settings of the recipe, for the record
    notes      what became of the data on the way in
    """

    def __init__(
        self,
        *,
        denoiser: Network,
        codec: Codec,
        sampler: Sampler,
        grid: Grid,
        objective: Objective | None = None,
        training: Training | None = None,
        classes: Sequence[str] = (),
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
    ) -> None:
        self.denoiser, self.codec, self.sampler, self.grid = denoiser, codec, sampler, grid
        self.objective, self.training = objective, training
        self.classes, self.source, self.held_out = tuple(classes), source, held_out
        self.origin, self.notes = origin or {}, notes
        self.steps_done = 0

    # Learning

    def fit(self, out: str | Path | None = None, device: str | torch.device = "auto", quiet: bool = False) -> Model:
        """Train to the end, or go on from where an interrupted run in `out` stopped. Returns itself, fitted."""
        if self.source is None or self.objective is None or self.training is None:
            raise UsageError("a model without data to learn from", "one made by a recipe", "um.recipe.digits().fit()")
        folder = None if out is None else Path(out)
        trainer = Trainer(self.denoiser, self.source, self.codec, self.objective, self.training, device_named(device))
        if folder is not None:
            run.prepare(folder)
            self._resume(folder, trainer)
        record = Record(folder and folder / run.METRICS, trainer.done, self.training.steps, self.training.batch, quiet)

        def save() -> None:
            if folder is not None:
                trainer.checkpoint.save(folder / run.CHECKPOINT, trainer.done)
                self.steps_done = trainer.done
                with trainer.averaged():
                    self.save(folder)

        def look(step: int) -> None:
            if folder is not None:
                self.picture(folder / "samples" / f"{step:06d}.png")

        trainer.run(record, save, look)
        self.steps_done = trainer.done
        if folder is not None:
            self._draw_loss(folder)
        return self

    def _resume(self, folder: Path, trainer: Trainer) -> None:
        if not (folder / run.CONFIG).exists():
            return
        before = run.read_about(folder)["model"]
        mine = self.describe()["model"]
        before["training"]["steps"] = mine["training"]["steps"]  # a run may be made longer
        differs = [name for name in mine if mine[name] != before.get(name)]
        if differs:
            raise UsageError(
                f"{folder} holds a run with another {', another '.join(differs)}",
                "the settings it was started with, or an empty folder",
                f"--out {folder}-new",
            )
        trainer.done = trainer.checkpoint.load(folder / run.CHECKPOINT)

    def _draw_loss(self, folder: Path) -> None:
        lines = read_metrics(folder / run.METRICS)
        if lines:
            picture.curve({"training": ([x["step"] for x in lines], [x["loss"] for x in lines])}, folder / "loss.png")

    # Generating

    def condition(self, rows: int, label: int | str | Sequence[int] | Tensor | None) -> Condition | None:
        """The condition for a label, a class name or a label for each row; null where there is none to give."""
        if label is None:
            return None
        if not self.classes:
            raise UsageError(f"label={label!r} for a model without classes", "no label", "model.sample(16)")
        if isinstance(label, str):
            if label not in self.classes:
                raise UsageError(
                    f"there is no class {label!r}",
                    f"one of {', '.join(self.classes)}",
                    f"label={nearest(label, self.classes)!r}",
                )
            label = self.classes.index(label)
        labels = torch.as_tensor(label, dtype=torch.int64)
        if labels.ndim and labels.shape != (rows,):
            raise UsageError(f"{labels.numel()} labels for {rows} rows", "one label, or one for each row", "label=3")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            wrong = labels[(labels < 0) | (labels >= len(self.classes))].flatten()[0].item() if labels.ndim else label
            raise UsageError(
                f"there is no class {wrong}",
                f"a class from 0 to {len(self.classes) - 1}",
                f"label={len(self.classes) - 1}",
            )
        return Condition(label=labels.expand(rows))

    def guided(self, guidance: float, interval: tuple[float, float] = (0.0, 1.0)) -> Network | CFG:
        """The denoiser, with classifier-free guidance unless the scale is 1."""
        return self.denoiser if guidance == 1 else CFG(self.denoiser, guidance, interval)

    def _grid(self, steps: int | None) -> Grid:
        return self.grid if steps is None else dataclasses.replace(self.grid, steps=steps)

    def trajectory(
        self,
        rows: int = 16,
        *,
        label: int | str | Sequence[int] | Tensor | None = None,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Iterator[Frame]:
        """Yield a `Frame` for every time of the grid: pure noise first, data last. Arguments as for `sample`."""
        self._check_rows(rows)
        condition = self.condition(rows, label)
        if condition is None and guidance != 1:
            raise UsageError(
                f"guidance={guidance} without a label",
                "something to guide towards",
                "model.sample(16, label=3, guidance=2.0)",
            )
        states = trajectory(
            self.guided(guidance, interval),
            rows=rows,
            sampler=sampler or self.sampler,
            grid=grid or self._grid(steps),
            seed=seed,
            condition=condition,
            device=next(self.denoiser.parameters()).device,
        )
        was_training = self.denoiser.training
        self.denoiser.eval()
        for state in states:
            yield Frame(self.codec.decode(state.x).cpu(), state.t[0].item(), self.codec.decode(state.x0).cpu())
        self.denoiser.train(was_training)

    def sample(
        self,
        rows: int = 16,
        *,
        label: int | str | Sequence[int] | Tensor | None = None,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """New data, in data space.

        label      a class by number or by name, or one number for each row; none for the null condition
        guidance   scale of classifier-free guidance, within `interval` of t; 1 is none
        steps      of the model's own grid; `grid` replaces it, `sampler` the algorithm
        seed       one for all, or one for each row; the same seed gives the same row in any batch
        """
        self._check_rows(rows)
        self.condition(rows, label)  # a wrong label is said at once, not in the middle
        seeds = [fold(seed, row) for row in range(rows)] if isinstance(seed, int) else list(seed)
        many = label is not None and not isinstance(label, int | str) and torch.as_tensor(label).ndim > 0
        parts = []
        for first in range(0, rows, CHUNK):
            chunk = slice(first, min(first + CHUNK, rows))
            frames = self.trajectory(
                chunk.stop - first,
                label=torch.as_tensor(label)[chunk] if many else label,
                guidance=guidance,
                interval=interval,
                steps=steps,
                seed=seeds[chunk],
                sampler=sampler,
                grid=grid,
            )
            parts.append(deque(frames, maxlen=1).pop().x)
        return torch.cat(parts)

    def _check_rows(self, rows: int) -> None:
        if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
            raise UsageError(f"{rows!r} rows", f"a whole number of rows from 1 to {MOST_ROWS:,}", "model.sample(16)")

    # Judging

    def evaluate(self, *, steps: int | None = None, guidance: float = 1.0, seed: int = 0) -> dict[str, Any]:
        """How good samples are beside held-out data, with the same figures of real training data as a floor."""
        if self.source is None or self.held_out is None:
            raise UsageError("a model without data to be judged by", "one made by a recipe", "unmelt eval runs/digits")
        real, held_out = metric.sheet(self.source), metric.sheet(self.held_out)
        label = real.labels if self.classes else None
        made = metric.Sheet(self.sample(len(real.x), label=label, steps=steps, guidance=guidance, seed=seed), label)
        scores = metric.score(made, real, held_out)
        return {**scores, "samples": len(made.x), "steps": self._grid(steps).steps, "guidance": guidance, "seed": seed}

    def picture(self, path: str | Path | None = None, *, steps: int | None = None, seed: int = 0) -> Image:
        """Samples of every class as a person would want to see them: rows of images, or a cloud of points."""
        rows = ACROSS * max(1, len(self.classes)) if len(self.denoiser.shape) == 3 else MANY_POINTS
        label = torch.arange(rows) * len(self.classes) // rows if self.classes else None
        return self.draw(self.sample(rows, label=label, steps=steps, seed=seed), label, path)

    def draw(self, x: Tensor, label: Sequence[int] | Tensor | None = None, path: str | Path | None = None) -> Image:
        """These samples as a picture: images in a grid, points beside the data where there are some at hand."""
        labels = None if label is None else torch.as_tensor(label)
        if x.ndim == 4:
            if labels is not None:
                order = labels.argsort(stable=True)
                x, labels = x[order], labels[order]
            by_class = labels is not None and len(x) == ACROSS * len(self.classes)
            return picture.tiles(x, ACROSS if by_class else None, self.classes if by_class else (), path=path)
        panels = [picture.Panel("samples", x, labels)]
        if self.source is not None:
            real, known = self.source.batch(0, len(x))
            panels.insert(0, picture.Panel("data", real, None if known is None else known.label))
        return picture.scatter(panels, self.classes if labels is not None else (), path)

    # Keeping

    def describe(self) -> dict[str, Any]:
        """Everything there is to say about this model in JSON: its origin, its parts, how far it was trained."""
        parts = ("denoiser", "codec", "sampler", "grid", "objective", "training")
        return {
            "origin": self.origin,
            "notes": self.notes,
            "classes": list(self.classes),
            "steps_done": self.steps_done,
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "model": {name: config.describe(getattr(self, name)) for name in parts},
        }

    def save(self, folder: str | Path) -> None:
        """Write a run folder that `load` needs nothing else than."""
        run.write_run(Path(folder), self.describe(), self.denoiser.state_dict())

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "auto") -> Model:
        """The model that a run folder holds; a damaged or foreign folder is a `UsageError`."""
        about, weights = run.read_run(Path(folder))
        parts = {name: config.build(value) for name, value in about["model"].items()}
        model = cls(**parts, classes=about["classes"], origin=about["origin"], notes=about["notes"])
        model.steps_done = about["steps_done"]
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

"""The facade: one object that is fitted, sampled, judged, saved and loaded.

It owns no mathematics. Each verb hands its parts to the rooms that do the work.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from PIL.Image import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from unmelt import config, metric, picture, run
from unmelt.codec import Codec
from unmelt.data import Source
from unmelt.denoiser import Network, Refined
from unmelt.errors import UsageError, nearest
from unmelt.guidance import CFG
from unmelt.objective import Objective
from unmelt.process.gaussian import over
from unmelt.rng import fold
from unmelt.sampler import Grid, Sampler, State, trajectory
from unmelt.train import Record, Trainer, Training, read_metrics

CHUNK = 512
"""Rows sampled at a time: enough to keep a processor busy, few enough to fit."""

FEW_SAMPLES = 10_000
"""Fewer images than this say more about the draw than about the model."""

MOST_ROWS = 1_000_000

ACROSS, MOST_TILES, MANY_POINTS = 8, 128, 2000
"""How much a picture of samples shows: images of each class, images in all, points in all."""

PARTS = ("denoiser", "codec", "sampler", "grid", "objective", "training")
"""What a model is made of, and a run folder describes."""

FREE = ("steps", "save_every", "picture_every")
"""What may change when a run goes on: how far it goes, how often it is saved and shown."""

Label: TypeAlias = int | str | Sequence[int] | Sequence[str] | Tensor
"""A class by its number or its name, or one for each row."""


class Frame(NamedTuple):
    """One moment of a trajectory, in data space.

    x    the rows as they are at time t, brought to the size of data so that they can be looked at
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


def check_rows(rows: int) -> None:
    """Refuse a number of rows that nobody can mean."""
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise UsageError(f"rows={rows!r}", f"a whole number from 1 to {MOST_ROWS:,}", "rows=16")


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
        denoiser: Network | Refined,
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
        self.denoiser.eval()

    # Learning

    def fit(self, out: str | Path | None = None, device: str | torch.device = "auto", quiet: bool = False) -> Model:
        """Train to the end, or go on from where an interrupted run in `out` stopped. Returns itself, fitted."""
        if self.source is None or self.objective is None or self.training is None:
            raise UsageError("a model without data to learn from", "one made by a recipe", "um.recipe.digits().fit()")
        folder = None if out is None else Path(out)
        trainer = Trainer(self.denoiser, self.source, self.codec, self.objective, self.training, device_named(device))
        if folder is not None:
            mine = self.describe()  # before anything else: what cannot be described could not be saved
            run.prepare(folder)
            if (folder / run.CONFIG).exists():
                _check_same(folder, mine)
                trainer.done = trainer.checkpoint.load(folder / run.CHECKPOINT)
                if trainer.done > self.training.steps:
                    raise UsageError(
                        f"steps={self.training.steps} for the run in {folder}, which has taken {trainer.done}",
                        "as many or more",
                        f"steps={trainer.done}",
                    )
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

    def _draw_loss(self, folder: Path) -> None:
        lines = read_metrics(folder / run.METRICS)
        if lines:
            picture.curve({"training": ([x["step"] for x in lines], [x["loss"] for x in lines])}, folder / "loss.png")

    # Generating

    def _labels(self, rows: int, label: Label | None) -> Int64[Tensor, " rows"] | None:
        """The class of each row; None where there is none to give."""
        if label is None:
            return None
        if not self.classes:
            raise UsageError(f"label={label!r} for a model without classes", "no label", "model.sample(16)")
        each = label.tolist() if hasattr(label, "tolist") else label  # of torch or numpy
        if isinstance(each, str) or not isinstance(each, Sequence):
            return torch.tensor(self._number(each)).expand(rows)
        if len(each) != rows:
            raise UsageError(f"{len(each)} labels for {rows} rows", "one label, or one for each row", "label=3")
        return torch.tensor([self._number(one) for one in each])

    def _number(self, label: int | str) -> int:
        """The number of a class, given by number or by name."""
        if isinstance(label, str):
            if label in self.classes:
                return self.classes.index(label)
            needed, meant = f"one of {', '.join(self.classes)}", nearest(label, self.classes)
            raise UsageError(f"there is no class {label!r}", needed, f"label={meant!r}")
        try:
            number = operator.index(label)
        except TypeError:
            raise UsageError(f"label={label!r}", "the number or the name of a class", "label=3") from None
        if not 0 <= number < len(self.classes):
            last = len(self.classes) - 1
            raise UsageError(f"there is no class {number}", f"a class from 0 to {last}", f"label={last}")
        return number

    def guided(self, guidance: float, interval: tuple[float, float] = (0.0, 1.0)) -> Network | Refined | CFG:
        """The denoiser, with classifier-free guidance unless the scale is 1."""
        return self.denoiser if guidance == 1 else CFG(self.denoiser, guidance, interval)

    def _grid(self, steps: int | None) -> Grid:
        return self.grid if steps is None else dataclasses.replace(self.grid, steps=steps)

    def trajectory(
        self,
        rows: int = 16,
        *,
        label: Label | None = None,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Iterator[Frame]:
        """Yield a `Frame` for every time of the grid: pure noise first, data last. Arguments as for `sample`."""
        states = self._states(rows, self._labels(rows, label), guidance, interval, steps, seed, sampler, grid)
        return (self._frame(state) for state in states)

    def _frame(self, state: State) -> Frame:
        alpha, sigma = self.denoiser.process.level(state.t)
        size = over(torch.sqrt(alpha**2 + (sigma / self.denoiser.data_sd) ** 2), state.x)
        decode = self.codec.decode
        return Frame(decode(state.x / size).cpu(), state.t[0].item(), decode(state.x0).cpu())

    def _states(
        self,
        rows: int,
        labels: Tensor | None,
        guidance: float,
        interval: tuple[float, float],
        steps: int | None,
        seed: int | Sequence[int],
        sampler: Sampler | None,
        grid: Grid | None,
    ) -> Iterator[State]:
        check_rows(rows)
        if labels is None and guidance != 1:
            raise UsageError(
                f"guidance={guidance} without a label",
                "something to guide towards",
                "model.sample(16, label=3, guidance=2.0)",
            )
        return trajectory(
            self.guided(guidance, interval),
            rows=rows,
            sampler=sampler or self.sampler,
            grid=grid or self._grid(steps),
            seed=seed,
            label=labels,
            device=next(self.denoiser.parameters()).device,
        )

    def sample(
        self,
        rows: int = 16,
        *,
        label: Label | None = None,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """New data, in data space.

        label      a class by number or by name, or one for each row; none for the null condition
        guidance   scale of classifier-free guidance, within `interval` of t; 1 is none
        steps      of the model's own grid; `grid` replaces it, `sampler` the algorithm
        seed       one for all, or one for each row; the same seed gives the same row in any batch
        """
        check_rows(rows)
        labels = self._labels(rows, label)
        seeds = [fold(seed, row) for row in range(rows)] if isinstance(seed, int) else list(seed)
        if len(seeds) != rows:
            raise UsageError(f"{len(seeds)} seeds for {rows} rows", "one seed, or one for each row", "seed=0")
        parts = []
        chunks = range(0, rows, CHUNK)
        bar = Console(stderr=True)
        for first in track(
            chunks, "sampling", console=bar, transient=True, disable=len(chunks) == 1 or not bar.is_terminal
        ):
            chunk = slice(first, min(first + CHUNK, rows))
            labelled = None if labels is None else labels[chunk]
            states = self._states(chunk.stop - first, labelled, guidance, interval, steps, seeds[chunk], sampler, grid)
            parts.append(self.codec.decode(deque(states, maxlen=1).pop().x).cpu())
        return torch.cat(parts)

    # Judging

    def evaluate(
        self, *, samples: int | None = None, steps: int | None = None, guidance: float = 1.0, seed: int = 0
    ) -> dict[str, Any]:
        """How good samples are beside held-out data, with the same figures of real training data as a floor.

        samples   how many to make, their classes as in the training data; if not given, that data's own number,
                  several times over for images if they are few
        """
        if self.source is None or self.held_out is None:
            raise UsageError("a model without data to be judged by", "one made by a recipe", "unmelt eval runs/digits")
        real, held_out = metric.sheet(self.source), metric.sheet(self.held_out)
        if samples is None:
            times = math.ceil(FEW_SAMPLES / len(real.x)) if real.x.ndim == 4 else 1
            samples = times * len(real.x)
        check_rows(samples)
        label = None
        if real.labels is not None:
            label = real.labels.repeat(math.ceil(samples / len(real.x)))[:samples]
        made = metric.Sheet(self.sample(samples, label=label, steps=steps, guidance=guidance, seed=seed), label)
        scores = metric.score(made, real, held_out)
        return {**scores, "samples": samples, "steps": self._grid(steps).steps, "guidance": guidance, "seed": seed}

    def picture(self, path: str | Path | None = None, *, steps: int | None = None, seed: int = 0) -> Image:
        """Samples of every class as a person would want to see them: rows of images, or a cloud of points."""
        tiles = min(ACROSS * max(1, len(self.classes)), MOST_TILES)
        rows = tiles if len(self.denoiser.shape) == 3 else MANY_POINTS
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
        return {
            "origin": self.origin,
            "notes": self.notes,
            "classes": list(self.classes),
            "steps_done": self.steps_done,
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "model": {name: config.describe(getattr(self, name)) for name in PARTS},
        }

    def save(self, folder: str | Path) -> None:
        """Write a run folder that `load` needs nothing else than."""
        run.write_run(Path(folder), self.describe(), self.denoiser.state_dict())

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "auto") -> Model:
        """The model that a run folder holds; a damaged or foreign folder is a `UsageError`."""
        about, weights = run.read_run(Path(folder))
        try:
            parts = {name: config.build(about["model"][name]) for name in PARTS}
            known = {name: about[name] for name in ("classes", "origin", "notes")}
            done = int(about["steps_done"])
            model = cls(**parts, **known)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{folder} does not describe a model ({error!r})",
                "a folder that training wrote",
                "a copy of it, or training again",
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


def _check_same(folder: Path, mine: dict[str, Any]) -> None:
    """Refuse to go on with a run that learns from other data, or in another way, than it began with."""
    before = run.read_about(folder)
    differs = _differences(before["origin"], mine["origin"])
    for part in ("denoiser", "codec", "objective", "training"):
        if not differs:
            differs = _differences(before["model"][part], mine["model"][part], part)
    if differs:
        raise UsageError(
            f"{folder} holds another run: {'; '.join(differs[:5])}",
            "the settings it was started with, or an empty folder",
            f"--out {folder}-new",
        )


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Every value that is not the same, as "name is this there, that here"."""
    if isinstance(before, dict) and isinstance(now, dict) and before.get("part") == now.get("part"):
        names = [key for key in {**before, **now} if key not in FREE]
        return [line for key in names for line in _differences(before.get(key), now.get(key), f"{name}.{key}")]
    name = name.removeprefix(".").removeprefix("settings.")
    return [] if before == now else [f"{name} is {_brief(before)} there, {_brief(now)} here"]


def _brief(value: Any) -> str:
    return str(value["part"]) if isinstance(value, dict) and "part" in value else repr(value)

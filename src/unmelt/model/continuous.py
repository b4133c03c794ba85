"""The facade: one object that is fitted, sampled, judged, saved and loaded.

It owns no mathematics. Each verb hands its parts to the rooms that do the work.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from rich.console import Console
from torch import Tensor

from unmelt import metric, picture
from unmelt.codec import Affine, Codec
from unmelt.condition import Condition
from unmelt.data import Source
from unmelt.denoiser import Denoiser, Network, ResidualDenoiser
from unmelt.encoder import HashedCaptionEncoder
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.label import Label, labels_of
from unmelt.likelihood import Estimate, Exact, Hutchinson, log_likelihood
from unmelt.modality import modality_of
from unmelt.model.map_chunks import map_chunks
from unmelt.model.trained import Trained, check_rows
from unmelt.objective import Objective
from unmelt.process.gaussian import expand_like
from unmelt.rng import Rows, fold
from unmelt.sampler import Grid, Sampler, State, Tuned, TuneResult, adams, default_sampler, edit, trajectory, tune
from unmelt.train import Training, processes

CHUNK = 512
"""Rows sampled at a time: enough to keep a processor busy, few enough to fit."""

FEW_SAMPLES = 20_000
"""Fewer images than this say more about the draw than about the model."""

ACROSS, MOST_TILES, MANY_POINTS = 8, 128, 2000
"""How much a picture of samples shows: images of each class, images in all, points in all."""

FEW_DIMENSIONS = 16
"""Rows of up to this many numbers have their divergence worked out exactly; longer ones, by probes."""

Guide: TypeAlias = float | Callable[[Denoiser], Denoiser]
"""A scale of classifier-free guidance, or any wrapping of a denoiser: `lambda d: um.guidance.APG(d, 4.0)`."""


class SampleFrame(NamedTuple):
    """One moment of a trajectory, in data space.

    x    the rows as they are at time t, brought to the size of data so that they can be looked at
    x0   what the model believes they will become
    """

    x: Float[Tensor, "rows *shape"]
    t: float
    x0: Float[Tensor, "rows *shape"]


@final
class Model(Trained):
    """Codec, denoiser, objective, sampler and training, together; see `Trained` for the rest.

    codec     from data to what the denoiser sees, and back
    sampler   its own; None for what is in stock for as many steps as its grid has
    """

    PARTS = ("denoiser", "codec", "sampler", "grid", "objective", "training")

    def __init__(
        self,
        *,
        denoiser: Network | ResidualDenoiser,
        codec: Codec,
        grid: Grid,
        sampler: Sampler | None = None,
        objective: Objective | None = None,
        training: Training | None = None,
        classes: Sequence[str] = (),
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        tuned: Sequence[Tuned] = (),
        folder: str | Path | None = None,
    ) -> None:
        told = (sampler, grid, objective, training, classes, source, held_out, origin, notes, tuned, folder)
        super().__init__(denoiser, *told)
        self.codec = codec

    def learning_codec(self) -> Codec:
        return self.codec

    def show(self, path: Path | None) -> Path | None:
        path = None if path is None else path.with_suffix(".png")
        self.picture(path)
        return path

    # Generating

    def known(
        self, rows: int, label: Label | None = None, caption: str | Sequence[str] | None = None
    ) -> Condition | None:
        """What is known of so many rows, said as people say it; None where that is nothing."""
        labels = labels_of(rows, label, self.classes)
        if caption is None:
            return None if labels is None else Condition(label=labels.to(self.device))
        if getattr(self.denoiser.backbone, "sequence_width", 0) != HashedCaptionEncoder().width:
            raise UsageError(
                f"caption={caption!r} for a model that learned none",
                "one that was trained with captions",
                'um.recipe.images(folder="faces", caption="auto").fit(out="runs/faces")',
            )
        captions = [caption] * rows if isinstance(caption, str) else list(caption)
        if len(captions) != rows:
            raise UsageError(f"{len(captions)} captions for {rows} rows", "one, or one for each row", 'caption="a cat"')
        sequence, mask = HashedCaptionEncoder()(captions)
        return Condition(label=labels, sequence=sequence, sequence_mask=mask).to(self.device)

    def guided(self, guidance: Guide, interval: tuple[float, float] = (0.0, 1.0)) -> Denoiser:
        """The denoiser, wrapped as asked; with classifier-free guidance of that scale unless it is 1."""
        if callable(guidance):
            return guidance(self.denoiser)
        return self.denoiser if guidance == 1 else CFG(self.denoiser, guidance, interval)

    def default_sampler(self, steps: int | None = None, guidance: Guide | None = 1.0) -> tuple[Sampler, Grid]:
        """What samples when nothing else is said: what was tuned for this, the model's own, or what is in stock.

        Without a number of steps the newest tuned sampler for this guidance counts, if there is one. Without a
        guidance, which is to say for anything but the plain way from noise to data, nothing that was learned counts.
        """
        for one in reversed(self.tuned):
            if one.guidance == guidance and steps in (None, one.steps):
                return one, one.grid
        grid = self.grid if steps is None else dataclasses.replace(self.grid, steps=steps)
        if self.sampler is not None:
            return self.sampler, grid
        return adams(grid.steps) if guidance is None else default_sampler(grid.steps)

    def trajectory(
        self,
        rows: int = 16,
        *,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        guidance: Guide = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Iterator[SampleFrame]:
        """Yield a `SampleFrame` for every time of the grid: pure noise first, data last. Arguments as for `sample`."""
        check_rows(rows)
        known = self.known(rows, label, caption)
        states = self._states(rows, known, guidance, interval, steps, seed, sampler, grid)
        return (self.frame(state) for state in states)

    def frame(self, state: State) -> SampleFrame:
        """A sampler's state in data space."""
        alpha, sigma = self.denoiser.process.level(state.t)
        size = expand_like(torch.sqrt(alpha**2 + (sigma / self.denoiser.data_sd) ** 2), state.x)
        decode = self.codec.decode
        return SampleFrame(decode(state.x / size).cpu(), state.t[0].item(), decode(state.x0).cpu())

    def _states(
        self,
        rows: int,
        known: Condition | None,
        guidance: Guide,
        interval: tuple[float, float],
        steps: int | None,
        seed: int | Sequence[int],
        sampler: Sampler | None,
        grid: Grid | None,
    ) -> Iterator[State]:
        if known is None and guidance != 1:
            raise UsageError(
                f"guidance={guidance} without a label or a caption",
                "something to guide towards",
                "model.sample(16, label=3, guidance=2.0)",
            )
        plain = sampler is None and grid is None and (guidance == 1 or tuple(interval) == (0, 1))
        own_sampler, own_grid = self.default_sampler(steps, guidance if plain else None)
        return trajectory(
            self.guided(guidance, interval),
            rows=rows,
            sampler=sampler or own_sampler,
            grid=grid or own_grid,
            seed=seed,
            condition=known,
            device=self.device,
        )

    def sample(
        self,
        rows: int = 16,
        *,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        guidance: Guide = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """New data, in data space. Several processes (`train.processes.joined`) make a share each, and all get all.

        label      a class by number or by name, or one for each row; none for the null condition
        caption    what it should show, in words, or one for each row; for models that learned captions
        guidance   scale of classifier-free guidance, within `interval` of t; 1 is none. Or any wrapping of a denoiser
        steps      of what was tuned for that many, or else of the model's own grid; `grid` and `sampler` replace both
        seed       one for all, or one for each row; the same seed gives the same row in any batch
        """
        check_rows(rows)
        known = self.known(rows, label, caption)
        seeds = [fold(seed, row) for row in range(rows)] if isinstance(seed, int) else list(seed)
        if len(seeds) != rows:
            raise UsageError(f"{len(seeds)} seeds for {rows} rows", "one seed, or one for each row", "seed=0")

        def make(chunk: slice) -> Tensor:
            of, each = None if known is None else known[chunk], seeds[chunk]
            states = self._states(len(each), of, guidance, interval, steps, each, sampler, grid)
            return self.codec.decode(deque(states, maxlen=1).pop().x).cpu()

        return map_chunks(rows, CHUNK, make, independent=not processes.sharded(self.denoiser))

    def edit(
        self,
        x: Float[Tensor, "rows *shape"],
        *,
        strength: float,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        guidance: Guide = 1.0,
        steps: int | None = None,
        seed: int | Sequence[int] = 0,
    ) -> Float[Tensor, "rows *shape"]:
        """Data melted to t = strength and walked back: what is finer than the noise is made anew (SDEdit)."""
        x0, condition = self._encoded(x), self.known(len(x), label, caption)
        sampler, grid = self.default_sampler(steps, None)
        settings = {"sampler": sampler, "grid": grid, "seed": seed, "condition": condition}
        states = edit(self.guided(guidance), x0, strength=strength, **settings)  # type: ignore[arg-type]
        return self.codec.decode(deque(states, maxlen=1).pop().x).cpu()

    def tune(
        self,
        steps: int = 5,
        *,
        guidance: float = 1.0,
        rows: int = 512,
        rounds: int = 12,
        seed: int = 0,
        quiet: bool = False,
    ) -> TuneResult:
        """Learn to sample in few steps: times and coefficients fitted to the model's own accurate paths.

        From then on `sample` uses what was learned, with this many steps or with none given, and the run folder keeps
        it. Classes are learned in turn.

        rows     of noise, a quarter of which judges
        rounds   of learning
        """
        check_rows(rows)
        if guidance != 1 and not self.classes:
            raise UsageError(f"guidance={guidance} for a model without classes", "no guidance", "model.tune(steps=5)")
        device = self.device
        noise = self.denoiser.process.prior((rows, *self.denoiser.shape), Rows.of(fold(seed, 1), rows), device=device)
        condition = None
        if self.classes:
            condition = Condition(label=torch.arange(rows, device=device) % len(self.classes))
        with Console(stderr=True, quiet=quiet).status(f"tuning {steps} steps") as status:
            lesson = tune(
                self.guided(guidance),
                steps,
                noise,
                condition,
                rounds,
                progress=lambda error: status.update(f"tuning {steps} steps: error {error:.4f}"),
            )
        learned = dataclasses.replace(lesson.sampler, guidance=guidance)
        others = [one for one in self.tuned if (one.steps, one.guidance) != (steps, guidance)]
        self.tuned = (*others, learned)
        if self.folder is not None:
            self.save(self.folder)
        return lesson._replace(sampler=learned)

    def _encoded(self, x: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        """Data in model space, where the denoiser is."""
        if tuple(x.shape[1:]) != self.denoiser.shape:
            raise UsageError(
                f"data of shape {tuple(x.shape)}",
                f"rows of shape {self.denoiser.shape}",
                f"torch.rand(16, {', '.join(map(str, self.denoiser.shape))})",
            )
        return self.codec.encode(x.to(self.device))

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
        real, held_out = metric.collect(self.source), metric.collect(self.held_out)
        if samples is None:
            times = math.ceil(FEW_SAMPLES / len(real.x)) if real.x.ndim == 4 else 1
            samples = times * len(real.x)
        check_rows(samples)
        label = None
        if real.labels is not None:
            label = real.labels.repeat(math.ceil(samples / len(real.x)))[:samples]
        made = metric.SampleSet(self.sample(samples, label=label, steps=steps, guidance=guidance, seed=seed), label)
        scores = processes.from_first(lambda: modality_of(self.denoiser.shape).score(made, real, held_out))
        taken = self.default_sampler(steps, guidance)[1].steps
        return {**scores, "samples": samples, "steps": taken, "guidance": guidance, "seed": seed}

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Float[Tensor, "rows *shape"],
        *,
        label: Label | None = None,
        caption: str | Sequence[str] | None = None,
        probes: int = 8,
        seed: int = 0,
    ) -> Estimate:
        """log p(x) of each row in nats, by the probability-flow ODE, as densities in data space; with standard errors.

        Exact in the divergence for rows of few numbers, by `probes` random directions for longer ones.
        """
        if not isinstance(self.codec, Affine):
            raise UsageError(
                f"a likelihood through a {type(self.codec).__name__}",
                "a codec that is a shift and a scale",
                "unmelt.likelihood.log_likelihood(model.denoiser, z) in model space",
            )
        z, condition = self._encoded(x), self.known(len(x), label, caption)
        size = math.prod(self.denoiser.shape)
        divergence = Exact() if size <= FEW_DIMENSIONS else Hutchinson(Rows.of(seed, len(z)), probes)
        found = log_likelihood(self.denoiser, z, condition, divergence=divergence)
        return found._replace(value=found.value + self.codec.log_det(size))

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

"""A request for samples: one value behind `sample`, `trajectory`, `edit`, `infill`, the command line and a server.

A request describes rows in model terms (conditions, seeds, times). A facade makes it from user arguments (a label by
name, a caption, a prompt). It can be sliced by rows, so that rows are sampled in chunks or by several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.arguments.values import MISMATCH, converted, shown
from unmelt.class_labels import Label
from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance import CFG
from unmelt.guidance.guidance import check_scale
from unmelt.model.control_rows import ControlPictures, ControlScales
from unmelt.model.planned_captions import Plan, Words
from unmelt.model.text_canvas import Texts
from unmelt.rng import Seed, fresh_seed, seed_of_rows
from unmelt.sampler import Grid, Sampler
from unmelt.train import distributed

MOST_ROWS = 1_000_000

WRAPPING = "lambda denoiser: um.guidance.APG(denoiser, 4.0)"
"""What a guidance function looks like."""

DenoiserTransform: TypeAlias = Callable[[Any], Denoiser]

Guide: TypeAlias = float | Sequence[float] | Tensor | DenoiserTransform
"""Scale of classifier-free guidance, one for all rows or one for each; or any wrapping of a denoiser:
`lambda denoiser: um.guidance.APG(denoiser, 4.0)`."""


Rule: TypeAlias = Tensor | Callable[[Tensor], Tensor]
"""Which tokens may be written: booleans, or a function of x_t."""


Size: TypeAlias = int | Sequence[int] | None
"""Height and width of pictures in pixels, or one number for a square; None for the model's own."""


CONDITIONS = ("label", "caption", "prompt", "plan", "negative", "control", "control_scale", "condition")
"""Arguments of `Model.sample` that say what is known of rows."""


class SampleSettings(TypedDict, total=False):
    """Arguments of `Model.sample`."""

    label: Label | None
    caption: Words
    prompt: Words
    plan: Plan
    negative: Words
    control: ControlPictures
    control_scale: ControlScales | None
    condition: Condition | None
    guidance: Guide
    interval: tuple[float, float]
    size: Size
    steps: int | None
    seed: Seed
    sampler: Sampler | None
    grid: Grid | None
    adapter: str | Sequence[str | None] | None


class TextSettings(TypedDict, total=False):
    """Arguments of `TextModel.sample`."""

    prompt: Texts
    suffix: Texts
    length: int | None
    label: Label | None
    condition: Condition | None
    guidance: Guide
    steps: int | None
    temperature: float
    top_p: float
    allowed: Rule | None
    cache_block: int
    seed: Seed
    sampler: Sampler | None
    grid: Grid | None
    adapter: str | Sequence[str | None] | None


def guided(denoiser: Any, guidance: Guide, interval: tuple[float, float] = (0.0, 1.0)) -> Denoiser:
    """A denoiser under guidance that is the same for all rows.

    Args:
        denoiser: The denoiser.
        guidance: Scale of classifier-free guidance, 1 for none; or a function that wraps the denoiser.
        interval: (low, high), times in [0, 1] between which a scale acts.

    Returns:
        The guided denoiser: `denoiser` itself at scale 1.

    Raises:
        UsageError: If the function returns no denoiser.
    """
    if callable(guidance):
        wrapped = guidance(denoiser)
        if not isinstance(wrapped, Denoiser):
            raise UsageError(
                f"a guidance function that returns a {type(wrapped).__name__}",
                "the denoiser, wrapped",
                f"guidance={WRAPPING}",
            )
        return wrapped
    return denoiser if guidance == 1 else CFG(denoiser, float(guidance), interval)  # type: ignore[arg-type]


def check_rows(rows: int, name: str = "rows") -> None:
    """Refuse a number of rows that is not sensible.

    Args:
        rows: How many rows are asked for.
        name: What the argument is called.

    Raises:
        UsageError: If it is not a whole number from 1 to a million.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        instead = "texts=['some text']" if name == "texts" else f"{name}=16"
        raise UsageError(f"{name}={rows!r}", f"a whole number from 1 to {MOST_ROWS:,}", instead)


def as_guide(guidance: Any) -> Guide:
    """Guidance as a request keeps it: numbers as Python's own, anything that is neither scale nor function refused.

    Args:
        guidance: What was given.

    Returns:
        A float, a list of floats, or the function.

    Raises:
        UsageError: If it is something else, or a scale is not a finite number of sensible size.
    """
    if isinstance(guidance, type | Denoiser):
        name = guidance.__name__ if isinstance(guidance, type) else type(guidance).__name__
        instead = f"guidance=lambda denoiser: um.guidance.{name}(denoiser, 2.0)"
        raise UsageError(f"guidance={name}, which wraps no denoiser yet", "a function that wraps one", instead)
    if callable(guidance):
        return guidance
    scales = converted(float, guidance)
    scales = converted(Sequence[float], guidance) if scales is MISMATCH else scales
    if scales is MISMATCH:
        needed = "a number, a number for each row, or a function that wraps a denoiser"
        instead = "guidance=2.0" if not isinstance(guidance, str) or guidance[:1].isdigit() else f"guidance={WRAPPING}"
        raise UsageError(f"guidance={shown(guidance)}", needed, instead)
    for scale in scales if isinstance(scales, Sequence) else [scales]:
        check_scale(scale)
    return scales


@final
@dataclass(frozen=True, kw_only=True)
class Start:
    """Data to begin with in place of noise (SDEdit).

    Args:
        x: [rows, *shape], in data space.
        strength: The time t, above 0 and at most 1, to which the data are noised before they are denoised again.
    """

    x: Shaped[Tensor, "rows *shape"]
    strength: float


def given_seed(seed: Seed) -> Seed:
    """A seed that was given, or a fresh one, which all processes share.

    Args:
        seed: One for all rows or one for each; None for a fresh one.

    Returns:
        The seed.
    """
    return distributed.broadcast_from_main(fresh_seed) if seed is None else seed


@final
@checked_init("um.SampleRequest")
@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Rows to be generated.

    Args:
        rows: How many.
        condition: What is known of each row; None for nothing. Given here for one row, it holds for all.
        guidance: Scale of classifier-free guidance (1 is none), one for all rows or one for each; or a function that
            wraps the denoiser.
        interval: (low, high), times in [0, 1] between which a scale acts.
        transforms: Functions that wrap the guided denoiser, the first one innermost (temperature, allowed tokens).
        cache_block: Tokens per block of the approximate block cache; 0 for none.
        steps: Number of sampling steps. None: the model's own.
        seed: One for all rows (row i of a larger batch is row i of a smaller one), or one for each. None draws a fresh
            one, which is then the request's `seed`.
        sampler: Replaces the model's sampler.
        grid: Replaces the model's grid of times; with `steps`, only its spacing.
        start: Data to begin with in place of noise.
        shape: Shape of a row in model space, for networks that take any size. None: the model's own.
        adapter: Name of the model's adapter to use, or a name or None (the base model) for each row. None: the model's
            active adapter.

    Raises:
        UsageError: If rows, steps, seeds, scales or the condition do not fit one another.
    """

    rows: int = 16
    condition: Condition | None = None
    guidance: Guide = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    transforms: tuple[DenoiserTransform, ...] = ()
    cache_block: int = 0
    steps: int | None = None
    seed: Seed = 0
    sampler: Sampler | None = None
    grid: Grid | None = None
    start: Start | None = None
    shape: tuple[int, ...] | None = None
    adapter: str | Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        check_rows(self.rows)
        steps = self.steps
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise UsageError(f"steps={steps!r}", "a whole number of at least 1", "steps=20")
        object.__setattr__(self, "seed", given_seed(self.seed))
        seed_of_rows(self.seed, self.rows)
        if self.condition is not None and len(self.condition) not in (0, self.rows):
            if len(self.condition) != 1:
                raise UsageError(
                    f"a condition of {len(self.condition)} rows for {self.rows} rows",
                    "one row for all, or one for each",
                    f"Condition(label=torch.full(({self.rows},), 3))",
                )
            everyone = torch.zeros(self.rows, dtype=torch.int64)
            object.__setattr__(self, "condition", self.condition[everyone])
        self._check_guidance()
        low, high = self.interval
        if not 0 <= low < high <= 1:
            needed = "two times with 0 <= low < high <= 1"
            raise UsageError(f"a guidance interval of {self.interval}", needed, "interval=(0.2, 0.8)")
        if self.start is not None and len(self.start.x) != self.rows:
            raise UsageError(f"{len(self.start.x)} rows to begin with for {self.rows} rows", "as many of each", "rows")

    def _check_guidance(self) -> None:
        object.__setattr__(self, "guidance", as_guide(self.guidance))
        scales = self.scales
        if scales is not None and len(scales) != self.rows:
            raise UsageError(
                f"{len(scales)} guidance scales for {self.rows} rows", "one scale, or one for each row", "guidance=2.0"
            )
        if (scales is not None or self.guidance != 1) and not callable(self.guidance) and not self.is_conditional:
            raise UsageError(
                f"guidance={self.guidance} without a label or a caption",
                "something to guide towards",
                "model.sample(16, label=3, guidance=2.0)",
            )

    @property
    def is_conditional(self) -> bool:
        """Whether there is something that guidance can move towards."""
        known = self.condition
        return known is not None and known.is_droppable

    @property
    def scales(self) -> Float[Tensor, " rows"] | None:
        """The guidance scale of each row; None where all rows share one, or guidance is a wrapping."""
        if callable(self.guidance) or isinstance(self.guidance, int | float):
            return None
        scales = torch.as_tensor(self.guidance, dtype=torch.float64)
        return scales if scales.ndim else None

    @property
    def seeds(self) -> list[int]:
        """The seed of each row."""
        return seed_of_rows(self.seed, self.rows)

    @property
    def row_condition(self) -> Condition | None:
        """The condition of each row, the scales of rows that have their own among it."""
        if self.scales is None:
            return self.condition
        return replace(self.condition or Condition(), guidance_scale=self.scales)

    def steer(self, denoiser: Any) -> Denoiser:
        """Wrap a denoiser in the guidance and the transforms that are asked for.

        Args:
            denoiser: The model's denoiser.

        Returns:
            The denoiser to sample with: `denoiser` itself where nothing is asked for.
        """
        if self.scales is None:
            denoiser = guided(denoiser, self.guidance, self.interval)
        else:
            denoiser = CFG(denoiser, 1.0, self.interval)  # whose scales are in the condition
        for transform in self.transforms:
            denoiser = transform(denoiser)
        return denoiser

    def for_flow_map(self, flow_map: Any) -> SampleRequest:
        """The same request for a flow map, which reads guidance scales as an input and is wrapped in no guidance.

        Args:
            flow_map: The model's denoiser, which jumps.

        Returns:
            The request, its scales in the condition.

        Raises:
            UsageError: If the flow map has not learned such scales.
        """
        if callable(self.guidance) or (self.scales is None and self.guidance == 1):
            return self
        learned = getattr(flow_map, "guidance_range", None)
        if learned is None:
            raise UsageError(
                f"guidance={self.guidance} for a student that learned no guidance",
                "guidance=1.0, or a student that was distilled with a range of scales",
                "model.distill(..., guidance_range=(1.0, 4.0))",
            )
        scales = torch.full((self.rows,), float(self.guidance)) if self.scales is None else self.scales  # type: ignore[arg-type]
        low, high = learned
        if not ((scales >= low) & (scales <= high)).all() or tuple(self.interval) != (0, 1):
            raise UsageError(
                f"guidance={self.guidance}, interval={self.interval} for a student that learned guidance as an input",
                f"a scale from {low} to {high}, and no interval",
                f"guidance={high}",
            )
        known = replace(self.condition or Condition(), guidance_scale=scales)
        return replace(self, condition=known, guidance=1.0)

    def __getitem__(self, rows: slice) -> SampleRequest:
        """The same request for some of its rows."""
        seeds = self.seeds[rows]
        return replace(
            self,
            rows=len(seeds),
            seed=seeds,
            condition=None if self.condition is None else self.condition[rows],
            guidance=self.guidance if self.scales is None else self.scales[rows],
            start=None if self.start is None else replace(self.start, x=self.start.x[rows]),
            adapter=self.adapter if self.adapter is None or isinstance(self.adapter, str) else self.adapter[rows],
        )

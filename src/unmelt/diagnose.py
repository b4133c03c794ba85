"""Diagnostics for choosing a sampler: quality against network evaluations, trajectories, straightness of paths."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmelt import metric, picture
from unmelt.errors import UsageError
from unmelt.model import Model, check_rows
from unmelt.model.request import guided
from unmelt.progress import Progress
from unmelt.public_names import publish
from unmelt.rng import fold
from unmelt.sampler import Adams, DPMpp, Euler, Grid, Sampler, State, default_sampler, grid, trajectory

__all__ = ["ACCURATE", "MOMENTS", "STEPS", "Curve", "curve"]


ACCURATE = 160
"""Steps of the reference paths."""

STEPS = (4, 6, 8, 10, 15, 20, 40)
"""Numbers of sampling steps on a curve of quality."""

MOMENTS = 9
"""Times of a trajectory that are drawn."""


@dataclass(frozen=True)
class Curve:
    """Errors and distances by sampler and number of network evaluations.

    Args:
        rows: Number of samples, from the same noise for every sampler.
        measure: Name of the distance; empty without data.
        error: Root mean square distance of end points from those of the reference paths, in model space.
        distance: Distance of the samples to held-out data, such as the Fréchet distance of images; empty without data.
        floor: The distance of as many training rows; None without data.
        straightness: S of the reference paths; 0 is straight (`metric.straightness`).
        detour: Excess length of the reference paths over their chords, as a share of the chords.
        bend: Distance of the reference paths from their chords, by u from 0 (data) to 1 (noise).
    """

    rows: int
    measure: str
    error: dict[str, dict[int, float]]
    distance: dict[str, dict[int, float]]
    floor: float | None
    straightness: float
    detour: float
    bend: dict[float, float]


def curve(
    model: Model,
    steps: Sequence[int] = STEPS,
    *,
    rows: int = 256,
    guidance: float = 1.0,
    seed: int = 0,
    out: str | Path | None = None,
) -> Curve:
    """Measure errors and distances of several samplers, and how straight the model's paths are.

    Args:
        model: The model.
        steps: Numbers of network evaluations to try.
        rows: Number of samples, from the same noise for every sampler. Their classes are in the training data's
            proportions.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        seed: Seed of the noise.
        out: Folder for curve.png, quality.png (with data), straightness.png and trajectory.png; None draws nothing.

    Returns:
        What was measured.

    Raises:
        UsageError: If there are fewer than two rows.
    """
    check_rows(rows)
    if rows < 2:
        raise UsageError(f"rows={rows}", "at least two", "rows=256")
    samplers = {(name, n): pair for n in sorted(set(steps)) for name, pair in _samplers(model, n, guidance).items()}
    labels = _labels(model, rows)
    denoiser, device = guided(model.denoiser, guidance), model.device
    settings: Any = {"rows": rows, "seed": fold(seed, 0), "label": labels, "device": device}
    progress = Progress("curve: network evaluations", ACCURATE + sum(n for _, n in samplers))
    paths = []
    for state in trajectory(denoiser, sampler=Adams(3), grid=grid.balanced(ACCURATE), **settings):
        paths.append(state)
        progress.advance(len(paths) > 1)
    accurate = paths[-1].x
    measure, distance_of, floor = _distance(model, rows)
    error: dict[str, dict[int, float]] = {}
    distance: dict[str, dict[int, float]] = {}
    for (name, n), (sampler, on) in samplers.items():
        x = deque(trajectory(denoiser, sampler=sampler, grid=on, **settings), maxlen=1).pop().x
        progress.advance(n)
        error.setdefault(name, {})[n] = (x - accurate).double().square().mean().sqrt().item()
        if distance_of is not None:
            distance.setdefault(name, {})[n] = distance_of(model.decode(x).cpu())
    straight = metric.straightness(paths, model.denoiser.process)
    bend = dict(zip(straight.u.tolist(), straight.bend.tolist(), strict=True))
    found = Curve(rows, measure, error, distance, floor, straight.s, straight.detour, bend)
    if out is not None:
        _draw(found, model, paths, labels, Path(out))
    return found


def _samplers(model: Model, steps: int, guidance: float) -> dict[str, tuple[Sampler, Grid]]:
    """The samplers to compare at this number of evaluations."""
    samplers: dict[str, tuple[Sampler, Grid]] = {
        "Euler": (Euler(), grid.balanced(steps)),
        "DPM-Solver++(2M)": (DPMpp(2), grid.karras(steps)),
        "default": default_sampler(steps),
    }
    for one in model.tuned:
        if one.steps == steps and one.guidance == guidance:
            samplers["tuned"] = one, one.grid
    return samplers


def _labels(model: Model, rows: int) -> Tensor | None:
    """Classes in the training data's proportions; without data, every class in turn."""
    if not model.classes:
        return None
    real = None if model.source is None else metric.collect_samples(model.source).labels
    return torch.arange(rows) % len(model.classes) if real is None else real.repeat(-(-rows // len(real)))[:rows]


def _distance(model: Model, rows: int) -> tuple[str, Any, float | None]:
    """The name of a distance to held-out data, the distance, and that of as many training rows."""
    if model.source is None or model.held_out is None:
        return "", None, None
    real, held_out = metric.collect_samples(model.source).x[:rows], metric.collect_samples(model.held_out).x
    found = model.modality.distance(real, held_out)
    return found.name, found.measure, found.floor


def _draw(found: Curve, model: Model, paths: Sequence[State], labels: Tensor | None, out: Path) -> None:
    def lines(values: dict[str, dict[int, float]]) -> dict[str, Any]:
        return {name: (list(each), list(each.values())) for name, each in values.items()}

    title = f"{found.rows} rows, the same noise for all"
    picture.curve(lines(found.error), out / "curve.png", title, "end-point error", "evaluations")
    if found.distance:
        shown = lines(found.distance)
        steps = sorted({n for each in found.distance.values() for n in each})
        shown["training data"] = (steps, [found.floor] * len(steps))
        picture.curve(shown, out / "quality.png", title, found.measure, "evaluations")
    bent = {"accurate paths": (list(found.bend), list(found.bend.values()))}
    title = f"S = {found.straightness:.3f}, detour {100 * found.detour:.1f} %"
    picture.curve(bent, out / "straightness.png", title, "distance from the chord", "u: data 0, noise 1")
    moments = [paths[round(k * (len(paths) - 1) / (MOMENTS - 1))] for k in range(MOMENTS)]
    frames = [model.frame(state) for state in moments]
    strip = model.modality.strip([frame.x for frame in frames], [frame.t for frame in frames], labels, model.classes)
    strip.save(out / "trajectory.png")


publish(__name__)

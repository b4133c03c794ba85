"""Clouds of points side by side: what the data look like, and what each sampler made.

Points in the plane are drawn as dots, points on a line as a histogram. All panels have the same axes: the range of the
first panel, where real data belong, and some room. Points outside are counted in the corner: a sampler that fails
neither shrinks the other panels to a dot nor hides its failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.picture.style import FAINT, INK, colours, figure, finish, plot_name, quiet

_ROOM = 0.2  # of the first panel's range, on every side
_BINS = 80


@dataclass(frozen=True)
class Panel:
    """One cloud of points.

    Args:
        title: What stands above it.
        points: The points [n, 1] or [n, 2].
        labels: The class of each point, by which it is coloured; None for one colour.
    """

    title: str
    points: Float[Tensor, "n d"]
    labels: Int64[Tensor, " n"] | None = None

    def groups(self) -> dict[int | None, np.ndarray]:
        """Group the finite points by class, in the order of classes; under None where there are no labels."""
        points = self.points.detach().cpu().double().numpy()
        fine = np.isfinite(points).all(1)
        if self.labels is None:
            return {None: points[fine]}
        labels = self.labels.cpu().numpy()
        return {int(k): points[fine & (labels == k)] for k in np.unique(labels)}


def scatter(panels: Sequence[Panel], classes: Sequence[str] = (), path: str | Path | None = None) -> Image.Image:
    """Draw clouds of points in one row of panels with the same axes.

    Args:
        panels: The clouds; the first sets the axes.
        classes: The names of the labels, for a legend; empty for no legend.
        path: Where the picture is written as PNG; None writes nothing.

    Returns:
        The picture.

    Raises:
        UsageError: If panels are not all [n, 1] or all [n, 2], or the first has no finite points.
    """
    dims = {panel.points.shape[1] for panel in panels}
    if len(dims) != 1 or not dims <= {1, 2}:
        raise UsageError(
            f"scatter was given {len(panels)} panels, of dimension {sorted(dims)}",
            "panels that are all [n, 1] or all [n, 2]",
            'scatter([Panel("data", x), Panel("samples", y)])',
        )
    flat = dims == {1}
    if not any(len(points) for points in panels[0].groups().values()):
        raise UsageError("the first panel has no finite points", "some, to set the axes by", "the data, first")
    count = max([len(classes), *(int(p.labels.max()) + 1 for p in panels if p.labels is not None and len(p.labels))])
    # Grey where only other panels have classes: no point should seem to belong to a class that it was not given.
    ink: dict[int | None, str] = dict(enumerate(colours(count)))
    ink[None] = FAINT if count else colours(1)[0]

    legend = 0.3 if classes else 0.0
    drawn = figure(2.8 * len(panels) + 0.3, (2.4 if flat else 3.1) + legend)
    axes = drawn.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    low, high = _limits(panels[0])
    for axis, panel in zip(axes, panels, strict=True):
        quiet(axis, plot_name(panel.title))
        (_histogram if flat else _dots)(axis, panel, ink, low, high)
        _count_outside(axis, panel, low, high)
    if classes:
        dots = [axes[0].plot([], [], "o", color=ink[k], markersize=5)[0] for k in range(len(classes))]
        across = min(len(classes), 3 * len(panels))
        drawn.legend(
            dots,
            [plot_name(each) for each in classes],
            loc="outside lower center",
            ncols=across,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            handletextpad=0.1,
        )
    return finish(drawn, path)


def _limits(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """A square around the panel's points, and some room."""
    points = np.concatenate(list(panel.groups().values()))
    middle = (points.min(0) + points.max(0)) / 2
    reach = max((0.5 + _ROOM) * float(np.ptp(points, axis=0).max()), 1e-9)
    return middle - reach, middle + reach


def _dots(axis: Axes, panel: Panel, ink: dict[int | None, str], low: np.ndarray, high: np.ndarray) -> None:
    groups = panel.groups()
    points = np.concatenate(list(groups.values()))
    colour = np.concatenate([[ink[label]] * len(group) for label, group in groups.items()])
    # Drawn in one mixed order, so that no class lies on top of another; the more points, the finer.
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(6000 / max(len(points), 1), 1.0, 14.0))
    axis.scatter(points[order, 0], points[order, 1], c=list(colour[order]), s=size, alpha=0.6, linewidths=0)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=1)


def _histogram(axis: Axes, panel: Panel, ink: dict[int | None, str], low: np.ndarray, high: np.ndarray) -> None:
    edges = np.linspace(low[0], high[0], _BINS + 1)
    groups = panel.groups()
    total = max(sum(len(group) for group in groups.values()), 1)
    base = np.zeros(_BINS)
    for label, group in groups.items():
        height = np.histogram(group[:, 0], edges)[0] / (total * np.diff(edges))
        axis.stairs(base + height, edges, baseline=base, fill=True, color=ink[label], alpha=0.85)
        base = base + height
    axis.set(xlim=(low[0], high[0]))


def _count_outside(axis: Axes, panel: Panel, low: np.ndarray, high: np.ndarray) -> None:
    points = panel.points.detach().cpu().double().numpy()
    outside = int((~((points >= low) & (points <= high)).all(1)).sum())
    if outside:
        axis.text(
            0.98,
            0.98,
            f"{outside:,} outside",
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=7,
            color=FAINT,
        )

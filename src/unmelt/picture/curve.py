"""Curves of losses: every value faintly, and a smooth line through them.

    smooth(x) = sum_i w_i(x) y_i / sum_i w_i(x),    w_i(x) = exp(-(x_i - x)^2 / 2 h^2)        Nadaraya; Watson, 1964

The width h is 1 % of the axis, so that the line is equally smooth on runs of a minute and of a week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from unmelt.errors import UsageError
from unmelt.picture.style import INK, colours, figure, finish, plot_name, quiet

Numbers = Sequence[int | float] | np.ndarray

_WIDTH = 0.01  # of the axis
_FEW = 40  # up to so many points are joined and dotted in place of smoothed: a held-out loss is measured rarely


def curve(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    path: str | Path | None = None,
    title: str = "",
    quantity: str = "loss",
    along: str = "step",
) -> Image.Image:
    """Draw losses against steps.

    The vertical axis is logarithmic where values are positive and span more than a factor of 10. Values that are not
    finite are left out.

    Args:
        lines: Name -> (steps, values): {"training": (steps, losses), "held out": (steps, losses)}.
        path: Where the picture is written as PNG; None writes nothing.
        title: The title.
        quantity: What the values are, for the vertical axis.
        along: What they are against, for the horizontal axis.

    Returns:
        The picture.

    Raises:
        UsageError: If there are no finite values, or a line has not one value for each step.
    """
    data = {name: _clean(name, steps, values) for name, (steps, values) in lines.items()}
    if not any(len(x) for x, _ in data.values()):
        raise UsageError("curve was given no finite values", "at least one", 'curve({"training": (steps, losses)})')

    drawn = figure(6.4, 3.6)
    axis = drawn.subplots()
    quiet(axis, plot_name(title, most=80))
    for (name, (x, y)), colour in zip(data.items(), colours(len(data)), strict=True):
        _line(axis, name, x, y, colour)
    _choose_scale(axis, np.concatenate([y for _, y in data.values()]))
    axis.set_xlabel(along, fontsize=9, color=INK)
    axis.set_ylabel(quantity, fontsize=9, color=INK)
    axis.grid(True, which="major", axis="y", color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    if max(x.max(initial=0) for x, _ in data.values()) >= 1000:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(data) > 1:  # outside of the axes, where it covers no line
        across = min(len(data), 4 if max(map(len, data)) < 20 else 2)
        drawn.legend(loc="outside lower center", ncols=across, frameon=False, fontsize=8, labelcolor=INK)
    return finish(drawn, path)


def _clean(name: str, steps: Numbers, values: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """The finite values, in the order of steps: a run that was resumed may have written some twice."""
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise UsageError(
            f"the line {name!r} has {x.size} steps and {y.size} values", "one value for each step", "(steps, losses)"
        )
    fine = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[fine], kind="stable")
    return x[fine][order], y[fine][order]


def _choose_scale(axis: Axes, values: np.ndarray) -> None:
    low, high = values.min(), values.max()
    if low > 0 and high > 10 * low:
        axis.set_yscale("log")
        # Plain numbers: 0.05, 0.1, 0.2; only the powers of ten where there are many of those.
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _line(axis: Axes, name: str, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    if len(x) <= _FEW:
        axis.plot(x, y, "o-", color=colour, linewidth=1.4, markersize=3.5, label=plot_name(name, most=48))
        return
    axis.plot(x, y, color=colour, linewidth=0.6, alpha=0.25)
    at = x[np.unique(np.linspace(0, len(x) - 1, 400).astype(int))]
    axis.plot(at, _smooth(x, y, at), color=colour, linewidth=1.8, label=plot_name(name, most=48))


def _smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The weighted mean of y around each place of `at`, which are places of x: some weight is always 1."""
    width = max(_WIDTH * float(np.ptp(x)), 1e-12)
    out = []
    for place in at:
        distance = ((x - place) / width) ** 2
        weight = np.exp(-distance / 2)
        out.append(weight @ y / weight.sum())
    return np.array(out)

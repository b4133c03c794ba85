"""How training went: every loss faintly, and a smooth line through them.

    smooth(x) = sum_i w_i(x) y_i / sum_i w_i(x),    w_i(x) = exp(-(x_i - x)^2 / 2 h^2)          Nadaraya and Watson, 1964

The width h is a fraction of the axis, so that the line is as smooth on a run of a minute as on one of a week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, NullFormatter
from PIL import Image

from unmelt.errors import UsageError
from unmelt.picture.look import INK, colours, figure, finish, quiet

_WIDTH = 0.012  # of the axis
_FEW = (
    40  # points that are so few are joined and dotted, not smoothed: a held-out loss, measured now and then
)


def curve(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | Path | None = None,
    title: str = "",
    quantity: str = "loss",
) -> Image.Image:
    """Losses against steps, written to `path` (PNG) where one is given.

    lines      name -> (steps, values): {"training": (steps, losses), "held out": (steps, losses)}
    quantity   what the values are, for the axis

    The vertical axis is logarithmic where values span more than a factor of 10, the horizontal one where steps span more
    than 1000. Values that are not finite are gaps.
    """
    data = {name: _clean(name, steps, values) for name, (steps, values) in lines.items()}
    if not any(len(x) for x, _ in data.values()):
        raise UsageError(
            "curve was given no finite values", "at least one", 'curve({"training": (steps, losses)})'
        )
    log_x = _spans(np.concatenate([x for x, _ in data.values()]), 1000)
    log_y = _spans(np.concatenate([y for _, y in data.values()]), 10)

    drawn = figure(6.4, 3.6)
    axis = drawn.subplots()
    quiet(axis, title)
    axis.set_xscale("log" if log_x else "linear")
    axis.set_yscale("log" if log_y else "linear")
    for (name, (x, y)), colour in zip(data.items(), colours(len(data)), strict=True):
        _line(axis, name, x, y, colour, log_x)
    axis.set_xlabel("step", fontsize=9, color=INK)
    axis.set_ylabel(quantity, fontsize=9, color=INK)
    axis.grid(True, which="major", axis="y", color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if len(data) > 1:
        axis.legend(frameon=False, fontsize=8, labelcolor=INK)
    return finish(drawn, path)


def _clean(name: str, steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise UsageError(
            f"the line {name!r} has {x.size} steps and {y.size} values",
            "one value for each step",
            "(steps, losses)",
        )
    fine = np.isfinite(x) & np.isfinite(y)
    return x[fine], y[fine]


def _spans(values: np.ndarray, factor: float) -> bool:
    return bool(values.min() > 0 and values.max() > factor * values.min())


def _line(axis: Axes, name: str, x: np.ndarray, y: np.ndarray, colour: str, log_x: bool) -> None:
    if len(x) <= _FEW:
        axis.plot(x, y, "o-", color=colour, linewidth=1.4, markersize=3.5, label=name)
        return
    axis.plot(x, y, color=colour, linewidth=0.6, alpha=0.25)
    place = np.log(x) if log_x else x
    at = np.linspace(place.min(), place.max(), 400)
    axis.plot(np.exp(at) if log_x else at, _smooth(place, y, at), color=colour, linewidth=1.8, label=name)


def _smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The weighted mean of y around each place of `at`."""
    width = max(_WIDTH * float(np.ptp(x)), 1e-12)
    exponent = -0.5 * ((at[:, None] - x) / width) ** 2
    # The nearest point has weight 1 at every place, so that none is left without any.
    weights = np.exp(exponent - exponent.max(1, keepdims=True))
    return weights @ y / weights.sum(1)

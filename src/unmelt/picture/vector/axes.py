"""The part of the plane that is shown, and what stands around it: title, border, axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import final

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from torch import Tensor

from unmelt.errors import UsageError

Number = int | float
Numbers = Sequence[Number] | np.ndarray | Tensor

INK = "currentColor"
"""The colour of the page's text."""
LEFT, RIGHT, TOP, BOTTOM, TITLE, LABEL = 44, 12, 8, 24, 22, 18
"""Units around the data, and the height of a title and of an axis' name."""

SMALL, LETTER = 12.5, 7.0
"""Height of letters, and a width that most letters stay below."""


def numbers(values: Numbers) -> np.ndarray:
    """Convert to a float64 array.

    Args:
        values: A sequence, an array or a tensor.

    Returns:
        The array.
    """
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)


@final
@dataclass(frozen=True, kw_only=True)
class Axes:
    """The part of the plane that a picture shows, and its axes.

    Args:
        x: (lowest, highest) x of the data that are shown; data outside are cut off.
        y: (lowest, highest) y.
        width: Width of the picture, in units that are pixels where there is room for them.
        height: Height of the picture.
        title: What stands above.
        x_name: The name of the x axis.
        y_name: The name of the y axis.
        x_log: Whether the x axis is logarithmic.
        y_log: Whether the y axis is logarithmic.
        y_words: Labels at 0, 1, 2, ... of the y axis, in place of numbers.
        axes: Whether axes are drawn with numbers; otherwise there is only a border.

    Raises:
        UsageError: If a range is empty, not finite, or not positive on a logarithmic axis.
    """

    x: tuple[Number, Number] = (-4.0, 4.0)
    y: tuple[Number, Number] = (-4.0, 4.0)
    width: int = 420
    height: int = 396
    title: str = ""
    x_name: str = ""
    y_name: str = ""
    x_log: bool = False
    y_log: bool = False
    y_words: tuple[str, ...] = ()
    axes: bool = True

    def __post_init__(self) -> None:
        for name, (low, high), log in (("x", self.x, self.x_log), ("y", self.y, self.y_log)):
            if not (low < high and np.isfinite([low, high]).all() and (low > 0 or not log)):
                raise UsageError(
                    f"axes with {name}=({low}, {high})",
                    "the lowest and the highest number shown, above 0 on a logarithmic axis",
                    f"Axes({name}=(-4.0, 4.0))",
                )

    @property
    def area(self) -> tuple[Number, Number, Number, Number]:
        """(left, top, width, height) of the area in which data are drawn."""
        left, bottom = (LEFT, BOTTOM) if self.axes else (1, 1)
        right, top = (RIGHT, TOP) if self.axes else (1, 1)
        if self.y_words:
            left = 12 + round(LETTER * max(map(len, self.y_words)))
        left, bottom = left + LABEL * bool(self.y_name), bottom + LABEL * bool(self.x_name)
        top += TITLE * bool(self.title)
        return left, top, self.width - left - right, self.height - top - bottom

    def across(self, x: Numbers) -> np.ndarray:
        """Convert x to units from the left of the area.

        Args:
            x: Values of x.

        Returns:
            The units, as an array.
        """
        return self._share(x, self.x, self.x_log) * self.area[2]

    def down(self, y: Numbers) -> np.ndarray:
        """Convert y to units from the top of the area.

        Args:
            y: Values of y.

        Returns:
            The units, as an array.
        """
        return (1 - self._share(y, self.y, self.y_log)) * self.area[3]

    @staticmethod
    def _share(values: Numbers, limits: tuple[Number, Number], log: bool) -> np.ndarray:
        found, (low, high) = numbers(values), limits
        if log:
            with np.errstate(divide="ignore", invalid="ignore"):
                found, low, high = np.log(found), np.log(low), np.log(high)
        return (found - low) / (high - low)


def around(axes: Axes) -> str:
    """Write what stands around the data: title, border or axes, numbers and names.

    Args:
        axes: The axes.

    Returns:
        SVG elements.
    """
    left, top, width, height = axes.area
    parts = []
    if axes.title:
        middle = left + width / 2
        parts.append(f'<text x="{middle}" y="16" text-anchor="middle" fill="{INK}">{escape(axes.title)}</text>')
    if not axes.axes:
        border = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="{INK}"'
        return "".join([*parts, f'{border} opacity=".25"/>'])
    bottom = top + height
    lines, words = [f"M{left} {top}V{bottom}H{left + width}"], []
    for value in _ticks(axes.x, axes.x_log):
        at = left + float(axes.across([value])[0])
        lines.append(f"M{at:.1f} {bottom}v4")
        words.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_said(value)}</text>')
    values = [float(k) for k in range(len(axes.y_words))] or _ticks(axes.y, axes.y_log)
    for value, word in zip(values, axes.y_words or map(_said, values), strict=True):
        at = top + float(axes.down([value])[0])
        lines.append(f"M{left} {at:.1f}h-4")
        words.append(f'<text x="{left - 7}" y="{at + 4:.1f}" text-anchor="end">{escape(word)}</text>')
    if axes.x_name:
        at = left + width / 2
        words.append(f'<text x="{at}" y="{bottom + 35}" text-anchor="middle">{escape(axes.x_name)}</text>')
    if axes.y_name:
        at = top + height / 2
        turned = f'transform="rotate(-90 13 {at})" text-anchor="middle"'
        words.append(f'<text x="13" y="{at}" {turned}>{escape(axes.y_name)}</text>')
    ticks = f'<path d="{"".join(lines)}" fill="none" stroke="{INK}" opacity=".45"/>'
    return "".join([*parts, ticks, f'<g fill="{INK}" opacity=".85">', *words, "</g>"])


def _ticks(limits: tuple[Number, Number], log: bool) -> list[float]:
    low, high = limits
    if log:
        few = LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0), numticks=8).tick_values(low, high)
    else:
        few = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    room = 1e-9 * (high - low)
    return [float(value) for value in few if low - room <= value <= high + room]


def _said(value: float) -> str:
    """A number as short as it goes, with a real minus sign."""
    if value == 0 or 0.99e-4 < abs(value) < 1e5:  # 1e-4 itself may have come as a little less
        return f"{value:.10g}".replace("-", "\u2212")
    return f"{value:.0e}".replace("-0", "-").replace("+0", "").replace("-", "\u2212")

"""Pictures as vectors: points, lines, arrows and steps in SVG, light enough to be drawn anew at every move of a slider.

A picture is a frame, which says what part of the plane is shown, and layers, of which later ones lie on top. All points
of one layer are one path of strokes without length and with round ends, so that 2,000 of them are about 20 KB and one
element for a browser to replace. Axes and words are drawn in the ink of the page around them, so that a picture reads
on light paper and on dark; what it shows is also said in words, for those who cannot see it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import LogLocator, MaxNLocator
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.picture.look import colours

Number = int | float
Numbers = Sequence[Number] | np.ndarray | Tensor

_DEEP, ORANGE, GREEN, RED, PINK, _SKY = colours(6)
BLUE = f"light-dark({_DEEP}, {_SKY})"
"""Those that read on light and on dark paper; blue is the deep one on light, and the one of the sky on dark."""

INK = "currentColor"
LEFT, RIGHT, TOP, BOTTOM, TITLE, LABEL = 44, 12, 8, 24, 22, 18
"""Units around the data, and what a title and an axis' name take."""

SMALL, LETTER = 12.5, 7.0
"""Height of letters, and a width that few words have more of for each."""


def _numbers(values: Numbers) -> np.ndarray:
    """As float64 numbers."""
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)


@final
@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is shown, and how large: `width` and `height` in units that are pixels where there is room for them.

    x, y             (lowest, highest) of the data that are shown; what lies outside is cut off
    x_name, y_name   what the axes say
    x_log, y_log     logarithmic axes
    y_words          what stands at 0, 1, 2, ... of the y axis, in place of numbers
    axes             whether there are numbers on the axes; without, a border alone
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
                    f"a frame with {name}=({low}, {high})",
                    "the lowest and the highest number shown, above 0 on a logarithmic axis",
                    f"Frame({name}=(-4.0, 4.0))",
                )

    @property
    def area(self) -> tuple[Number, Number, Number, Number]:
        """(left, top, width, height) of where data are."""
        left, bottom = (LEFT, BOTTOM) if self.axes else (1, 1)
        right, top = (RIGHT, TOP) if self.axes else (1, 1)
        if self.y_words:
            left = 12 + round(LETTER * max(map(len, self.y_words)))
        left, bottom = left + LABEL * bool(self.y_name), bottom + LABEL * bool(self.x_name)
        top += TITLE * bool(self.title)
        return left, top, self.width - left - right, self.height - top - bottom

    def across(self, x: Numbers) -> np.ndarray:
        """Units from the left of the area."""
        return self._share(x, self.x, self.x_log) * self.area[2]

    def down(self, y: Numbers) -> np.ndarray:
        """Units from the top of the area."""
        return (1 - self._share(y, self.y, self.y_log)) * self.area[3]

    @staticmethod
    def _share(values: Numbers, limits: tuple[Number, Number], log: bool) -> np.ndarray:
        found, (low, high) = _numbers(values), limits
        if log:
            with np.errstate(divide="ignore", invalid="ignore"):
                found, low, high = np.log(found), np.log(low), np.log(high)
        return (found - low) / (high - low)


class Layer(ABC):
    """Something to draw. `name` puts it into the legend."""

    name: str
    colour: str
    key: ClassVar[str] = "line"
    """How the legend shows it."""

    @abstractmethod
    def svg(self, frame: Frame) -> str:
        """In units of the frame's area."""


def _moves(frame: Frame, points: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Points [..., 2] in units of the area; what is far outside stays outside, within what a browser can draw."""
    found = _numbers(points)
    return frame.across(found[..., 0]).clip(-2000, 4000), frame.down(found[..., 1]).clip(-2000, 4000)


def _track(x: np.ndarray, y: np.ndarray) -> str:
    """One line through points; it is interrupted where a number is not finite."""
    fine, pen, path = np.isfinite(x) & np.isfinite(y), "M", []
    for a, b, shown in zip(x.tolist(), y.tolist(), fine.tolist(), strict=True):
        path.append(f"{pen}{a:.1f} {b:.1f}" if shown else "")
        pen = "L" if shown else "M"
    return "".join(path)


def _path(layer: Layer, d: str, style: str) -> str:
    named = f' data-name="{escape(layer.name)}"' if layer.name else ""
    return f'<path d="{d}"{named} {style}/>'


@final
@dataclass(frozen=True)
class Dots(Layer):
    """Points [n, 2]; those outside the frame, and those that are not finite, are left out."""

    points: Float[Tensor, "n 2"] | np.ndarray
    colour: str = BLUE
    size: float = 3.2
    opacity: float = 0.65
    name: str = ""
    key: ClassVar[str] = "dot"

    def svg(self, frame: Frame) -> str:
        x, y = _moves(frame, self.points)
        _, _, width, height = frame.area
        shown = np.isfinite(x) & np.isfinite(y) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
        d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[shown].tolist(), y[shown].tolist(), strict=True))
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.size}" stroke-linecap="round"'
        return _path(self, d, f'{style} opacity="{self.opacity}"')


@final
@dataclass(frozen=True)
class Line(Layer):
    """A line through (x, y); `dots` also marks the points."""

    x: Numbers
    y: Numbers
    colour: str = BLUE
    width: float = 2.0
    dashed: bool = False
    dots: bool = False
    name: str = ""

    def svg(self, frame: Frame) -> str:
        x, y = frame.across(self.x), frame.down(self.y)
        dashes = ' stroke-dasharray="5 4"' if self.dashed else ""
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.width}" stroke-linejoin="round"{dashes}'
        line = _path(self, _track(x, y), style)
        if not self.dots:
            return line
        points = np.stack([_numbers(self.x), _numbers(self.y)], 1)
        return line + Dots(points, self.colour, 6.0, 1.0).svg(frame)


@final
@dataclass(frozen=True)
class Paths(Layer):
    """Many lines, [rows, times, 2]."""

    points: Float[Tensor, "rows times 2"]
    colour: str = INK
    width: float = 1.0
    opacity: float = 0.5
    name: str = ""

    def svg(self, frame: Frame) -> str:
        x, y = _moves(frame, self.points)
        d = "".join(_track(a, b) for a, b in zip(x, y, strict=True))
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.width}" opacity="{self.opacity}"'
        return _path(self, d, style)


@final
@dataclass(frozen=True)
class Arrows(Layer):
    """A field: from each point [n, 2] a vector [n, 2], of which length 1 is `unit` of the data's own."""

    points: Float[Tensor, "n 2"]
    vectors: Float[Tensor, "n 2"]
    colour: str = BLUE
    unit: float = 1.0
    width: float = 1.4
    opacity: float = 0.9
    name: str = ""

    def svg(self, frame: Frame) -> str:
        start = _numbers(self.points)
        (x, y), (u, v) = _moves(frame, start), _moves(frame, start + self.unit * _numbers(self.vectors))
        length = np.hypot(u - x, v - y)
        head = np.minimum(0.35 * length, 4.5)  # units; a short arrow has a small head
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = np.where(length > 0, (u - x) / length, 0) * head, np.where(length > 0, (v - y) / length, 0) * head
        left, right = (u - a - 0.6 * b, v - b + 0.6 * a), (u - a + 0.6 * b, v - b - 0.6 * a)
        shown = np.isfinite(length)
        d = "".join(
            f"M{p:.1f} {q:.1f}L{r:.1f} {s:.1f}M{i:.1f} {j:.1f}L{r:.1f} {s:.1f}L{k:.1f} {m:.1f}"
            for p, q, r, s, i, j, k, m in np.stack([x, y, u, v, *left, *right], 1)[shown].tolist()
        )
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.width}" stroke-linecap="round"'
        return _path(self, d, f'{style} opacity="{self.opacity}"')


@final
@dataclass(frozen=True)
class Steps(Layer):
    """A histogram: heights [n] between edges [n + 1], filled down to 0."""

    edges: Numbers
    heights: Numbers
    colour: str = BLUE
    opacity: float = 0.55
    name: str = ""
    key: ClassVar[str] = "box"

    def svg(self, frame: Frame) -> str:
        x = np.repeat(frame.across(self.edges), 2)
        y = frame.down(np.concatenate([[0.0], np.repeat(_numbers(self.heights), 2), [0.0]]))
        return _path(self, _track(x, y) + "Z", f'fill="{self.colour}" opacity="{self.opacity}"')


@final
@dataclass(frozen=True)
class Mark(Layer):
    """A place to look at: a ring around (x, y)."""

    x: Number
    y: Number
    colour: str = INK
    radius: float = 6.0
    name: str = ""
    key: ClassVar[str] = "ring"

    def svg(self, frame: Frame) -> str:
        x, y, r = float(frame.across([self.x])[0]), float(frame.down([self.y])[0]), self.radius
        d = f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0"
        return _path(self, d, f'fill="none" stroke="{self.colour}" stroke-width="2"')


@final
@dataclass(frozen=True)
class Walkers(Layer):
    """Dots that walk along their paths [rows, times, 2] once, and stay at their ends."""

    points: Float[Tensor, "rows times 2"]
    colour: str = RED
    radius: float = 4.5
    seconds: float = 2.5
    name: str = ""
    key: ClassVar[str] = "dot"

    def svg(self, frame: Frame) -> str:
        walks = (_track(a, b) for a, b in zip(*_moves(frame, self.points), strict=True))
        named = f' data-name="{escape(self.name)}"' if self.name else ""
        return "".join(
            f'<circle r="{self.radius}" fill="{self.colour}"{named}>'
            f'<animateMotion dur="{self.seconds}s" begin="0s" fill="freeze" path="{walk}"/></circle>'
            for walk in walks
        )


@final
@dataclass(frozen=True)
class Rule(Layer):
    """An upright line at x."""

    x: Number
    colour: str = INK
    opacity: float = 0.6
    name: str = ""

    def svg(self, frame: Frame) -> str:
        at = float(frame.across([self.x])[0])
        style = f'stroke="{self.colour}" stroke-width="1.2" stroke-dasharray="3 3" opacity="{self.opacity}"'
        return _path(self, f"M{at:.1f} 0V{frame.area[3]:.1f}", style)


def draw(frame: Frame, layers: Sequence[Layer], alt: str) -> str:
    """The picture as HTML: a figure with the SVG and, for layers that have names, a legend.

    alt   what it shows, in words
    """
    if not alt.strip():
        raise UsageError(
            "a picture without words", "what it shows, for those who cannot see it", 'alt="a ring of dots"'
        )
    left, top, width, height = frame.area
    inner = "".join(layer.svg(frame) for layer in layers)
    least = min(frame.width, 260)
    return (
        f'<figure style="margin:0;flex:1 1 0;min-width:min(100%,{least}px);max-width:{frame.width}px">'
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(alt)}" '
        'style="width:100%;height:auto;display:block" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="{SMALL}" font-family="inherit">'
        + _around(frame)
        + f'<svg x="{left}" y="{top}" width="{width}" height="{height}" overflow="hidden">{inner}</svg></svg>'
        + _legend(layers)
        + "</figure>"
    )


def row(*pictures: str) -> str:
    """Pictures in one row, or below one another where the page is narrow."""
    return '<div style="display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start">' + "".join(pictures) + "</div>"


def _legend(layers: Sequence[Layer]) -> str:
    named = [layer for layer in layers if layer.name]
    if not named:
        return ""
    shapes = {
        "dot": '<circle cx="8" cy="5" r="3.5" fill="{0}"/>',
        "line": '<path d="M1 5h14" stroke="{0}" stroke-width="2.5"{1}/>',
        "box": '<rect x="3" y="0" width="10" height="10" fill="{0}" opacity=".6"/>',
        "ring": '<circle cx="8" cy="5" r="4" fill="none" stroke="{0}" stroke-width="2"/>',
    }
    entries = "".join(
        '<span style="white-space:nowrap"><svg width="16" height="10" aria-hidden="true" '
        'style="display:inline-block;vertical-align:baseline;margin-right:.3em">'
        + shapes[each.key].format(each.colour, ' stroke-dasharray="4 2"' if getattr(each, "dashed", False) else "")
        + f"</svg>{escape(each.name)}</span>"
        for each in named
    )
    style = "display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.8rem;margin:.2rem 0 0;justify-content:center"
    return f'<figcaption style="{style}">{entries}</figcaption>'


def _around(frame: Frame) -> str:
    """Title, border or axes, numbers and names."""
    left, top, width, height = frame.area
    parts = []
    if frame.title:
        middle = left + width / 2
        parts.append(f'<text x="{middle}" y="16" text-anchor="middle" fill="{INK}">{escape(frame.title)}</text>')
    if not frame.axes:
        border = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="{INK}"'
        return "".join([*parts, f'{border} opacity=".25"/>'])
    bottom = top + height
    lines, words = [f"M{left} {top}V{bottom}H{left + width}"], []
    for value in _ticks(frame.x, frame.x_log):
        at = left + float(frame.across([value])[0])
        lines.append(f"M{at:.1f} {bottom}v4")
        words.append(f'<text x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_said(value)}</text>')
    values = [float(k) for k in range(len(frame.y_words))] or _ticks(frame.y, frame.y_log)
    for value, word in zip(values, frame.y_words or map(_said, values), strict=True):
        at = top + float(frame.down([value])[0])
        lines.append(f"M{left} {at:.1f}h-4")
        words.append(f'<text x="{left - 7}" y="{at + 4:.1f}" text-anchor="end">{escape(word)}</text>')
    if frame.x_name:
        at = left + width / 2
        words.append(f'<text x="{at}" y="{bottom + 35}" text-anchor="middle">{escape(frame.x_name)}</text>')
    if frame.y_name:
        at = top + height / 2
        turned = f'transform="rotate(-90 13 {at})" text-anchor="middle"'
        words.append(f'<text x="13" y="{at}" {turned}>{escape(frame.y_name)}</text>')
    axes = f'<path d="{"".join(lines)}" fill="none" stroke="{INK}" opacity=".45"/>'
    return "".join([*parts, axes, f'<g fill="{INK}" opacity=".85">', *words, "</g>"])


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

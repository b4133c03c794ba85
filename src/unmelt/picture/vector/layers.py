"""The layers of a picture: dots, lines, paths, arrows, histograms, marks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from html import escape
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unmelt.picture.style import colours
from unmelt.picture.vector.axes import INK, Axes, Number, Numbers, numbers

_PALETTE = colours(6)

BLUE = f"light-dark({_PALETTE[0]}, {_PALETTE[5]})"
"""Blue, darker on light pages than on dark ones."""

ORANGE = _PALETTE[1]
"""Orange that is legible on light and on dark pages, as are the three colours below."""

GREEN = _PALETTE[2]
"""Green."""

RED = _PALETTE[3]
"""Red."""

PINK = _PALETTE[4]
"""Pink."""


class Layer(ABC):
    """Something to draw. A layer with a `name` is in the legend, as `key` says: a dot, line, box or ring."""

    name: str
    colour: str
    key: ClassVar[str] = "line"

    @abstractmethod
    def svg(self, axes: Axes) -> str:
        """Write the layer as SVG, in units of the area of the axes.

        Args:
            axes: What part of the plane is shown.

        Returns:
            SVG elements.
        """


def _moves(axes: Axes, points: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Points [..., 2] in units of the area; what is far outside stays outside, within what a browser can draw."""
    found = numbers(points)
    return axes.across(found[..., 0]).clip(-2000, 4000), axes.down(found[..., 1]).clip(-2000, 4000)


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
    """Points. Those outside the axes, and those that are not finite, are left out.

    Args:
        points: The points [n, 2].
        colour: Their colour.
        size: Their diameter, in units of the picture.
        opacity: From 0 (invisible) to 1.
        name: What the legend calls them; empty for no entry.
    """

    points: Float[Tensor, "n 2"] | np.ndarray
    colour: str = BLUE
    size: float = 3.2
    opacity: float = 0.65
    name: str = ""
    key: ClassVar[str] = "dot"

    def svg(self, axes: Axes) -> str:
        x, y = _moves(axes, self.points)
        _, _, width, height = axes.area
        shown = np.isfinite(x) & np.isfinite(y) & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
        d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[shown].tolist(), y[shown].tolist(), strict=True))
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.size}" stroke-linecap="round"'
        return _path(self, d, f'{style} opacity="{self.opacity}"')


@final
@dataclass(frozen=True)
class Line(Layer):
    """A line through points; it is interrupted where a number is not finite.

    Args:
        x: The points' x.
        y: The points' y.
        colour: The line's colour.
        width: Its width, in units of the picture.
        dashed: Whether it is dashed.
        dots: Whether the points are marked.
        name: What the legend calls it; empty for no entry.
    """

    x: Numbers
    y: Numbers
    colour: str = BLUE
    width: float = 2.0
    dashed: bool = False
    dots: bool = False
    name: str = ""

    def svg(self, axes: Axes) -> str:
        x, y = axes.across(self.x), axes.down(self.y)
        dashes = ' stroke-dasharray="5 4"' if self.dashed else ""
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.width}" stroke-linejoin="round"{dashes}'
        line = _path(self, _track(x, y), style)
        if not self.dots:
            return line
        points = np.stack([numbers(self.x), numbers(self.y)], 1)
        return line + Dots(points, self.colour, 6.0, 1.0).svg(axes)


@final
@dataclass(frozen=True)
class Paths(Layer):
    """Many lines of one colour.

    Args:
        points: The points of each line [rows, times, 2].
        colour: The lines' colour.
        width: Their width, in units of the picture.
        opacity: From 0 (invisible) to 1.
        name: What the legend calls them; empty for no entry.
    """

    points: Float[Tensor, "rows times 2"]
    colour: str = INK
    width: float = 1.0
    opacity: float = 0.5
    name: str = ""

    def svg(self, axes: Axes) -> str:
        x, y = _moves(axes, self.points)
        d = "".join(_track(a, b) for a, b in zip(x, y, strict=True))
        style = f'fill="none" stroke="{self.colour}" stroke-width="{self.width}" opacity="{self.opacity}"'
        return _path(self, d, style)


@final
@dataclass(frozen=True)
class Arrows(Layer):
    """A vector field.

    Args:
        points: Where the arrows begin [n, 2].
        vectors: The vectors [n, 2].
        colour: The arrows' colour.
        unit: Length, in the data's units, of an arrow whose vector has length 1.
        width: Width of the strokes, in units of the picture.
        opacity: From 0 (invisible) to 1.
        name: What the legend calls them; empty for no entry.
    """

    points: Float[Tensor, "n 2"]
    vectors: Float[Tensor, "n 2"]
    colour: str = BLUE
    unit: float = 1.0
    width: float = 1.4
    opacity: float = 0.9
    name: str = ""

    def svg(self, axes: Axes) -> str:
        start = numbers(self.points)
        (x, y), (u, v) = _moves(axes, start), _moves(axes, start + self.unit * numbers(self.vectors))
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
class Histogram(Layer):
    """A histogram, filled down to 0.

    Args:
        edges: The edges of the bins [n + 1].
        heights: The height of each bin [n].
        colour: The filling's colour.
        opacity: From 0 (invisible) to 1.
        name: What the legend calls it; empty for no entry.
    """

    edges: Numbers
    heights: Numbers
    colour: str = BLUE
    opacity: float = 0.55
    name: str = ""
    key: ClassVar[str] = "box"

    def svg(self, axes: Axes) -> str:
        x = np.repeat(axes.across(self.edges), 2)
        y = axes.down(np.concatenate([[0.0], np.repeat(numbers(self.heights), 2), [0.0]]))
        return _path(self, _track(x, y) + "Z", f'fill="{self.colour}" opacity="{self.opacity}"')


@final
@dataclass(frozen=True)
class Ring(Layer):
    """A ring around one point.

    Args:
        x: The point's x.
        y: The point's y.
        colour: The ring's colour.
        radius: Its radius, in units of the picture.
        name: What the legend calls it; empty for no entry.
    """

    x: Number
    y: Number
    colour: str = INK
    radius: float = 6.0
    name: str = ""
    key: ClassVar[str] = "ring"

    def svg(self, axes: Axes) -> str:
        x, y, r = float(axes.across([self.x])[0]), float(axes.down([self.y])[0]), self.radius
        d = f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0"
        return _path(self, d, f'fill="none" stroke="{self.colour}" stroke-width="2"')


@final
@dataclass(frozen=True)
class MovingDots(Layer):
    """Dots that move along paths once and stay at their ends.

    Args:
        points: The paths [rows, times, 2].
        colour: The dots' colour.
        radius: Their radius, in units of the picture.
        seconds: How long the movement takes.
        name: What the legend calls them; empty for no entry.
    """

    points: Float[Tensor, "rows times 2"]
    colour: str = RED
    radius: float = 4.5
    seconds: float = 2.5
    name: str = ""
    key: ClassVar[str] = "dot"

    def svg(self, axes: Axes) -> str:
        walks = (_track(a, b) for a, b in zip(*_moves(axes, self.points), strict=True))
        named = f' data-name="{escape(self.name)}"' if self.name else ""
        return "".join(
            f'<circle r="{self.radius}" fill="{self.colour}"{named}>'
            f'<animateMotion dur="{self.seconds}s" begin="0s" fill="freeze" path="{walk}"/></circle>'
            for walk in walks
        )


@final
@dataclass(frozen=True)
class VerticalLine(Layer):
    """A dashed vertical line.

    Args:
        x: Where it stands.
        colour: Its colour.
        opacity: From 0 (invisible) to 1.
        name: What the legend calls it; empty for no entry.
    """

    x: Number
    colour: str = INK
    opacity: float = 0.6
    name: str = ""

    def svg(self, axes: Axes) -> str:
        at = float(axes.across([self.x])[0])
        style = f'stroke="{self.colour}" stroke-width="1.2" stroke-dasharray="3 3" opacity="{self.opacity}"'
        return _path(self, f"M{at:.1f} 0V{axes.area[3]:.1f}", style)

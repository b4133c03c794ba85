"""Pictures as SVG: points, lines, arrows and histograms, small enough to be drawn again at every move of a slider.

A picture is `Axes`, which say what part of the plane is shown, and layers, of which later ones lie on top. All points
of a layer are one path of strokes without length and with round ends: 2,000 points take about 20 KB and are one element
for a browser to replace. Axes and labels have the text colour of the page around them, so that a picture is legible on
light and on dark pages. A description in words is required, for people who cannot see the picture.
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.picture.vector.axes import INK, Axes
    from unmelt.picture.vector.layers import (
        BLUE,
        GREEN,
        ORANGE,
        PINK,
        RED,
        Arrows,
        Dots,
        Histogram,
        Layer,
        Line,
        MovingDots,
        Paths,
        Ring,
        VerticalLine,
    )
    from unmelt.picture.vector.svg import draw, row

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PINK",
    "RED",
    "Arrows",
    "Axes",
    "Dots",
    "Histogram",
    "Layer",
    "Line",
    "MovingDots",
    "Paths",
    "Ring",
    "VerticalLine",
    "draw",
    "row",
]

publish(__name__)

"""Pictures as vectors: points, lines, arrows and steps in SVG, light enough to be drawn anew at every move of a slider.

A picture is a frame, which says what part of the plane is shown, and layers, of which later ones lie on top. All points
of one layer are one path of strokes without length and with round ends, so that 2,000 of them are about 20 KB and one
element for a browser to replace. Axes and words are drawn in the ink of the page around them, so that a picture reads
on light paper and on dark; what it shows is also said in words, for those who cannot see it.
"""

from unmelt.picture.vector.axes import INK, Axes
from unmelt.picture.vector.drawn import draw, row
from unmelt.picture.vector.layers import (
    BLUE,
    GREEN,
    ORANGE,
    PINK,
    RED,
    Arrows,
    Dots,
    Layer,
    Line,
    Mark,
    Paths,
    Rule,
    Steps,
    Walkers,
)

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
    "Layer",
    "Line",
    "Mark",
    "Paths",
    "Rule",
    "Steps",
    "Walkers",
    "draw",
    "row",
]

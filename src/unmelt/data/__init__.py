"""How files become batches."""

from unmelt.data.ahead import Ahead
from unmelt.data.digits import digits
from unmelt.data.images import Report, images
from unmelt.data.source import Arrays, Source
from unmelt.data.toy import Checkerboard, Moons, Ring, Spirals, Toy, TwoModes

__all__ = [
    "Ahead",
    "Arrays",
    "Checkerboard",
    "Moons",
    "Report",
    "Ring",
    "Source",
    "Spirals",
    "Toy",
    "TwoModes",
    "digits",
    "images",
]

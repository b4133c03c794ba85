"""How files become batches."""

from unmelt.data.digits import digits
from unmelt.data.folder import Report, folder
from unmelt.data.source import Arrays, Source
from unmelt.data.toy import Checkerboard, Moons, Ring, Spirals, Toy, TwoModes

__all__ = [
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
    "folder",
]

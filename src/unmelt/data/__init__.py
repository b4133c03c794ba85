"""How files become batches."""

from unmelt.data.ahead import Ahead
from unmelt.data.digits import digits
from unmelt.data.images import Report, images
from unmelt.data.python_source import python_source
from unmelt.data.source import Arrays, Source
from unmelt.data.text import Document, documents, packed, parted
from unmelt.data.toy import Checkerboard, Moons, Ring, Spirals, Toy, TwoModes

__all__ = [
    "Ahead",
    "Arrays",
    "Checkerboard",
    "Document",
    "Moons",
    "Report",
    "Ring",
    "Source",
    "Spirals",
    "Toy",
    "TwoModes",
    "digits",
    "documents",
    "images",
    "packed",
    "parted",
    "python_source",
]

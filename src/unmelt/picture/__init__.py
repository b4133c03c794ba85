"""Results people see: as images, as vectors, as text."""

from unmelt.picture import vector
from unmelt.picture.curve import curve
from unmelt.picture.inline import inline
from unmelt.picture.scatter import Panel, scatter
from unmelt.picture.texts import texts
from unmelt.picture.tiles import strip, tiles
from unmelt.picture.writing import writing

__all__ = ["Panel", "curve", "inline", "scatter", "strip", "texts", "tiles", "vector", "writing"]

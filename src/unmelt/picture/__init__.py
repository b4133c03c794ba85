"""Results people see."""

from unmelt.picture.curve import curve
from unmelt.picture.scatter import Panel, scatter
from unmelt.picture.tiles import strip, tiles

__all__ = ["Panel", "curve", "scatter", "strip", "tiles"]

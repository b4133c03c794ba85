"""Pictures of results, and none of the decisions which of them a kind of data gets (`unmelt.modality`).

Bitmaps   tiles and strip (images), scatter (points), curve (losses), texts
HTML      vector (SVG), writing (text on its way), inline (a bitmap in a page)
"""

from unmelt.picture import vector
from unmelt.picture.curve import curve
from unmelt.picture.inline import inline
from unmelt.picture.scatter import Panel, scatter
from unmelt.picture.text_html import writing
from unmelt.picture.texts import texts
from unmelt.picture.tiles import strip, tiles

__all__ = ["Panel", "curve", "inline", "scatter", "strip", "texts", "tiles", "vector", "writing"]

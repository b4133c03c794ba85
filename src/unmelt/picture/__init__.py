"""Pictures of results, and none of the decisions which of them a kind of data gets (`unmelt.modality`).

Bitmaps   tiles, by_class and strip (images), scatter (points), curve (losses), texts
HTML      vector (SVG), writing (text on its way), inline (a bitmap in a page)
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.picture import vector
    from unmelt.picture.curve import curve
    from unmelt.picture.inline import inline
    from unmelt.picture.scatter import Panel, scatter
    from unmelt.picture.text_html import text_html
    from unmelt.picture.texts import texts
    from unmelt.picture.tiles import by_class, strip, tiles

__all__ = ["Panel", "by_class", "curve", "inline", "scatter", "strip", "text_html", "texts", "tiles", "vector"]

publish(__name__)

"""The lab: interactive chapters on the ideas of diffusion.

A chapter is a marimo notebook in `chapters/`: text, sliders and pictures. It runs the library itself; this package adds
what a page and its reader need beside that.
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.lab.cache import finished, kept, learned, place
    from unmelt.lab.comparison_table import beside
    from unmelt.lab.contents import Chapter, chapters, opening
    from unmelt.lab.sticky_controls import stays

__all__ = ["Chapter", "beside", "chapters", "finished", "kept", "learned", "opening", "place", "stays"]

publish(__name__)

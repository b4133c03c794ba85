"""The lab: the book's ideas as pages that can be touched.

A chapter is a marimo notebook in `chapters/`: story, sliders and pictures. It runs the library itself; what it needs
beside that, for a page and a reader's hand, is in this room.
"""

from unmelt.lab.beside import beside
from unmelt.lab.cache import finished, folder, kept, learned, place
from unmelt.lab.contents import Chapter, chapters, opening
from unmelt.lab.stays import stays

__all__ = ["Chapter", "beside", "chapters", "finished", "folder", "kept", "learned", "opening", "place", "stays"]

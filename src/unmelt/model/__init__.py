"""The facades: one object that is fitted, sampled, judged, saved and loaded."""

from unmelt.model.continuous import Guide, Model, SampleFrame
from unmelt.model.load import from_pretrained, load
from unmelt.model.text import TextFrame, TextModel
from unmelt.model.trained import Trained, check_rows

__all__ = [
    "Guide",
    "Model",
    "SampleFrame",
    "TextFrame",
    "TextModel",
    "Trained",
    "check_rows",
    "from_pretrained",
    "load",
]

"""Kinds of data: how images, points, text, sound and actions are shown, scored and written to disk."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.modality.actions import Actions
    from unmelt.modality.chorales import Chorales
    from unmelt.modality.files import check_suffix
    from unmelt.modality.images import Images
    from unmelt.modality.infer import modality_of
    from unmelt.modality.modality import Distance, Modality
    from unmelt.modality.points import Points
    from unmelt.modality.sound import Sound
    from unmelt.modality.text import Text
    from unmelt.modality.video import Video

__all__ = [
    "Actions",
    "Chorales",
    "Distance",
    "Images",
    "Modality",
    "Points",
    "Sound",
    "Text",
    "Video",
    "check_suffix",
    "modality_of",
]

publish(__name__)

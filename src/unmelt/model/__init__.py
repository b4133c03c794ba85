"""The facades: one object that is fitted, sampled, judged, saved and loaded."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.model.adapter_files import read_adapter
    from unmelt.model.base import BaseModel
    from unmelt.model.chorale_filling import fill_chorale
    from unmelt.model.codec_model import CodecModel
    from unmelt.model.drafter_model import DrafterModel
    from unmelt.model.load import from_pretrained, load
    from unmelt.model.model import Model
    from unmelt.model.policy import Policy
    from unmelt.model.request import Guide, SampleRequest, Start, check_rows
    from unmelt.model.sample_frame import SampleFrame
    from unmelt.model.speech_model import SpeechModel
    from unmelt.model.text_model import TextFrame, TextModel
    from unmelt.model.vocoder_model import VocoderModel
    from unmelt.model.world import World

__all__ = [
    "BaseModel",
    "CodecModel",
    "DrafterModel",
    "Guide",
    "Model",
    "Policy",
    "SampleFrame",
    "SampleRequest",
    "SpeechModel",
    "Start",
    "TextFrame",
    "TextModel",
    "VocoderModel",
    "World",
    "check_rows",
    "fill_chorale",
    "from_pretrained",
    "load",
    "read_adapter",
]

publish(__name__)

"""Guidance: denoisers made of denoisers, which steer sampling."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.guidance.allowed import AllowedTokens
    from unmelt.guidance.apg import APG
    from unmelt.guidance.autoguidance import Autoguidance
    from unmelt.guidance.cfg import CFG
    from unmelt.guidance.cfg_plus_plus import CFGpp
    from unmelt.guidance.cfg_zero import CFGZero
    from unmelt.guidance.classifier import ClassifierGuidance
    from unmelt.guidance.composition import Composition
    from unmelt.guidance.guidance import Guidance
    from unmelt.guidance.nucleus import TopP
    from unmelt.guidance.rescale import Rescale
    from unmelt.guidance.temperature import Temperature
    from unmelt.guidance.zero_init import ZeroInit

__all__ = [
    "APG",
    "CFG",
    "AllowedTokens",
    "Autoguidance",
    "CFGZero",
    "CFGpp",
    "ClassifierGuidance",
    "Composition",
    "Guidance",
    "Rescale",
    "Temperature",
    "TopP",
    "ZeroInit",
]

publish(__name__)

"""Guidance: denoisers made of denoisers, which steer sampling."""

from unmelt.guidance.allowed import Allowed
from unmelt.guidance.autoguidance import Autoguidance
from unmelt.guidance.classifier import Classifier
from unmelt.guidance.classifier_free import CFG
from unmelt.guidance.composition import Composition
from unmelt.guidance.guidance import Guidance
from unmelt.guidance.manifold import CFGpp
from unmelt.guidance.nucleus import Nucleus
from unmelt.guidance.projected import APG
from unmelt.guidance.rescale import Rescale
from unmelt.guidance.temperature import Temperature
from unmelt.guidance.zero import CFGZero
from unmelt.guidance.zero_init import ZeroInit

__all__ = [
    "APG",
    "CFG",
    "Allowed",
    "Autoguidance",
    "CFGZero",
    "CFGpp",
    "Classifier",
    "Composition",
    "Guidance",
    "Nucleus",
    "Rescale",
    "Temperature",
    "ZeroInit",
]

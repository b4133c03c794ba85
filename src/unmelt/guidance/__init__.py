"""Steering: denoisers made of denoisers."""

from unmelt.guidance.autoguidance import Autoguidance
from unmelt.guidance.classifier import Classifier
from unmelt.guidance.classifier_free import CFG
from unmelt.guidance.composition import Composition
from unmelt.guidance.guidance import Guidance
from unmelt.guidance.manifold import CFGpp
from unmelt.guidance.projected import APG
from unmelt.guidance.rescale import Rescale
from unmelt.guidance.still import Still
from unmelt.guidance.zero import CFGZero

__all__ = [
    "APG",
    "CFG",
    "Autoguidance",
    "CFGZero",
    "CFGpp",
    "Classifier",
    "Composition",
    "Guidance",
    "Rescale",
    "Still",
]

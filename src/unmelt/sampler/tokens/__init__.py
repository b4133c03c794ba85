"""Samplers of tokens. `Ancestral` and `Restart` of the package above sample tokens too."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.sampler.tokens.first_hitting import FirstHitting
    from unmelt.sampler.tokens.order import Confidence, LeftToRight, Margin, NegativeEntropy, Order, Random
    from unmelt.sampler.tokens.pace import EntropyBound, Pace, Scheduled, Threshold
    from unmelt.sampler.tokens.predictor_corrector import PredictorCorrector
    from unmelt.sampler.tokens.remask import Remask
    from unmelt.sampler.tokens.unmask import Unmask

__all__ = [
    "Confidence",
    "EntropyBound",
    "FirstHitting",
    "LeftToRight",
    "Margin",
    "NegativeEntropy",
    "Order",
    "Pace",
    "PredictorCorrector",
    "Random",
    "Remask",
    "Scheduled",
    "Threshold",
    "Unmask",
]

publish(__name__)

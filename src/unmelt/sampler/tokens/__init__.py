"""The way back for tokens. `Ancestral` and `Restart` of the room above serve them too."""

from unmelt.sampler.tokens.first_hitting import FirstHitting
from unmelt.sampler.tokens.mended import Mended
from unmelt.sampler.tokens.order import Confidence, LeftToRight, Margin, Order, Random, Surety
from unmelt.sampler.tokens.pace import Bounded, Pace, Scheduled, Threshold
from unmelt.sampler.tokens.remask import Remask
from unmelt.sampler.tokens.unmask import Unmask

__all__ = [
    "Bounded",
    "Confidence",
    "FirstHitting",
    "LeftToRight",
    "Margin",
    "Mended",
    "Order",
    "Pace",
    "Random",
    "Remask",
    "Scheduled",
    "Surety",
    "Threshold",
    "Unmask",
]

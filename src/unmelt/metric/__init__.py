"""How good samples are."""

from unmelt.metric.energy import energy
from unmelt.metric.features import Features, Margins, Pixels
from unmelt.metric.frechet import endless, frechet
from unmelt.metric.judge import Judge
from unmelt.metric.nearest import Nearest, nearest
from unmelt.metric.paths import Straightness, straightness
from unmelt.metric.score import Sheet, score, sheet
from unmelt.metric.sliced import sliced

__all__ = [
    "Features",
    "Judge",
    "Margins",
    "Nearest",
    "Pixels",
    "Sheet",
    "Straightness",
    "endless",
    "energy",
    "frechet",
    "nearest",
    "score",
    "sheet",
    "sliced",
    "straightness",
]

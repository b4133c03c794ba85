"""How good samples are."""

from unmelt.metric.classifier import Classifier
from unmelt.metric.energy import energy
from unmelt.metric.features import Features, Margins, Pixels
from unmelt.metric.frechet import extrapolated, frechet
from unmelt.metric.nearest import Nearest, nearest
from unmelt.metric.paths import Straightness, straightness
from unmelt.metric.score import SampleSet, collect, score
from unmelt.metric.sliced import sliced

__all__ = [
    "Classifier",
    "Features",
    "Margins",
    "Nearest",
    "Pixels",
    "SampleSet",
    "Straightness",
    "collect",
    "energy",
    "extrapolated",
    "frechet",
    "nearest",
    "score",
    "sliced",
    "straightness",
]

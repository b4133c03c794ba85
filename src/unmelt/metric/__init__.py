"""How good samples are: distances between sets of samples, each with what real data get beside it.

Distances                frechet, extrapolated, energy, sliced, ngram_divergence
What they are taken in   Pixels, Margins, LogSpectrum
Copies and classes       nearest, Classifier, distinct_ngrams
Paths of a sampler       straightness
Data to compare with     SampleSet, collect

Which of them are reported for images, points, text and sound is decided by `unmelt.modality`.
"""

from unmelt.metric.classifier import Classifier
from unmelt.metric.energy import energy
from unmelt.metric.features import Features, Margins, Pixels
from unmelt.metric.frechet import extrapolated, frechet
from unmelt.metric.log_spectrum import LogSpectrum, decibels, spectrogram
from unmelt.metric.nearest import Nearest, nearest
from unmelt.metric.ngrams import distinct_ngrams, ngram_divergence
from unmelt.metric.paths import Straightness, straightness
from unmelt.metric.sample_set import SampleSet, collect
from unmelt.metric.sliced import sliced

__all__ = [
    "Classifier",
    "Features",
    "LogSpectrum",
    "Margins",
    "Nearest",
    "Pixels",
    "SampleSet",
    "Straightness",
    "collect",
    "decibels",
    "distinct_ngrams",
    "energy",
    "extrapolated",
    "frechet",
    "nearest",
    "ngram_divergence",
    "sliced",
    "spectrogram",
    "straightness",
]

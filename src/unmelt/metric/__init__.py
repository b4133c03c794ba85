"""How good samples are: distances between sets of samples, each with the score of real data.

Distances                frechet_distance, frechet_extrapolated, energy_distance, sliced_wasserstein, ngram_divergence
What they are taken in   Pixels, ClassifierMargins, image_crops, LogSpectrum
Copies and classes       nearest_neighbour, Classifier, distinct_ngrams
Paths of a sampler       straightness
What was asked for       control_agreement
Music                    rule_breaks
Data to compare with     SampleSet, collect_samples

Which of them are reported for images, points, text and sound is decided by `unmelt.modality`.
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.metric.agreement import control_agreement
    from unmelt.metric.classifier import Classifier, most_judged
    from unmelt.metric.crops import image_crops
    from unmelt.metric.energy import energy_distance
    from unmelt.metric.features import ClassifierMargins, Features, Pixels
    from unmelt.metric.frechet import frechet_distance, frechet_extrapolated
    from unmelt.metric.log_spectrum import LogSpectrum, decibels, spectrogram
    from unmelt.metric.nearest import NearestNeighbour, nearest_neighbour
    from unmelt.metric.ngrams import distinct_ngrams, ngram_divergence
    from unmelt.metric.paths import Straightness, straightness
    from unmelt.metric.sample_set import SampleSet, collect_samples
    from unmelt.metric.sliced import sliced_wasserstein
    from unmelt.metric.voice_leading import RuleBreaks, rule_breaks

__all__ = [
    "Classifier",
    "ClassifierMargins",
    "Features",
    "LogSpectrum",
    "NearestNeighbour",
    "Pixels",
    "RuleBreaks",
    "SampleSet",
    "Straightness",
    "collect_samples",
    "control_agreement",
    "decibels",
    "distinct_ngrams",
    "energy_distance",
    "frechet_distance",
    "frechet_extrapolated",
    "image_crops",
    "most_judged",
    "nearest_neighbour",
    "ngram_divergence",
    "rule_breaks",
    "sliced_wasserstein",
    "spectrogram",
    "straightness",
]

publish(__name__)

"""Every figure of every modality is its metric of the sets that its name says."""

import pytest
import torch

from unmelt.metric import (
    Classifier,
    LogSpectrum,
    Pixels,
    SampleSet,
    distinct_ngrams,
    energy_distance,
    frechet_distance,
    frechet_extrapolated,
    nearest_neighbour,
    ngram_divergence,
    sliced_wasserstein,
)
from unmelt.modality import Images, Points, Sound, Text
from unmelt.rng import Stream


def sets(shape, counts=(90, 30, 40), classes=0):
    """(made, real, held out): three densities, with different numbers of rows."""
    found = []
    for seed, (count, shift) in enumerate(zip(counts, (0.3, 0.0, 0.1), strict=True)):
        x = Stream(seed).uniform((count, *shape)) * 0.5 + shift
        labels = torch.arange(count) % classes if classes else None
        if classes:
            x = x + 0.1 * labels.view(-1, *(1,) * len(shape))
        found.append(SampleSet(x, labels))
    return found


def nearest(a, b):
    return nearest_neighbour(a, b).distance.median().item()


def test_figures_of_images():
    made, real, held_out = sets((1, 4, 4), classes=2)
    found, at, target = Images().score(made, real, held_out), Pixels(), Pixels()(held_out.x)
    judge = Classifier.fit(real.x, real.labels)
    assert found == {
        "features": "pixels8",
        "frechet": frechet_distance(at(made.x), target),
        "frechet_equal": frechet_distance(at(made.x[:30]), target),
        "frechet_extrapolated": frechet_extrapolated(at(made.x), target),
        "frechet_floor": frechet_distance(at(real.x), target),
        "nearest_train": nearest(made.x, real.x),
        "nearest_floor": nearest(held_out.x, real.x),
        "classifier_accuracy": judge.accuracy(made.x, made.labels),
        "classifier_floor": judge.accuracy(held_out.x, held_out.labels),
    }
    figures = [value for name, value in found.items() if name.startswith(("frechet", "nearest"))]
    assert len(set(figures)) == len(figures)
    assert found["frechet_extrapolated"] > 2 * found["frechet_floor"]


def test_figures_of_points():
    made, real, held_out = sets((2,))
    assert Points().score(made, real, held_out) == {
        "energy": energy_distance(made.x, held_out.x),
        "energy_floor": energy_distance(real.x, held_out.x),
        "sliced": sliced_wasserstein(made.x, held_out.x, Stream(0)),
        "sliced_floor": sliced_wasserstein(real.x, held_out.x, Stream(0)),
    }


def test_figures_of_sound():
    made, real, held_out = sets((1, 400), counts=(12, 8, 9))
    found, at = Sound(8000).score(made, real, held_out), LogSpectrum(8000)
    assert found["frechet"] == frechet_distance(at(made.x), at(held_out.x))
    assert found["frechet_floor"] == frechet_distance(at(real.x), at(held_out.x))
    assert found["nearest_train"] == nearest(made.x, real.x)
    assert found["nearest_floor"] == nearest(held_out.x, real.x)


def test_figures_of_text_are_of_as_many_characters_each():
    made, real = SampleSet(["abcabcabcabcab", "cabcabcab"]), SampleSet(["abcdeabcdefga", "xyzxyz"])
    held_out = SampleSet(["abcdefghijk", "lmnop"])
    cut = [["abcabcabcabcab", "ca"], ["abcdeabcdefga", "xyz"], ["abcdefghijk", "lmnop"]]  # of 16 characters each
    found = Text().score(made, real, held_out)
    assert found == {
        "characters": 16,
        "ngram_divergence": ngram_divergence(cut[0], cut[2], 3),
        "ngram_divergence_floor": ngram_divergence(cut[1], cut[2], 3),
        "distinct_ngrams": distinct_ngrams(cut[0], 8),
        "distinct_ngrams_floor": distinct_ngrams(cut[2], 8),
    }
    assert found["distinct_ngrams"] < found["distinct_ngrams_floor"] == 1


def test_the_extrapolated_distance_is_twice_that_of_all_less_the_mean_of_the_halves():
    made, real, _ = sets((5,))
    halves = [frechet_distance(half, real.x) for half in (made.x[:45], made.x[45:])]
    wanted = 2 * frechet_distance(made.x, real.x) - sum(halves) / 2
    assert frechet_extrapolated(made.x, real.x) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("kind", "real", "wanted"), [(Images, 1500, 21_000), (Images, 30_000, 30_000), (Points, 7, 7)])
def test_as_many_samples_are_scored_as_the_kind_of_data_needs(kind, real, wanted):
    assert kind().samples_to_score(real) == wanted

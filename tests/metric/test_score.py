"""The score card: real data score as real data do, and each way of being wrong shows in the figure that is for it."""

import pytest
import torch

from unmelt import data
from unmelt.metric import SampleSet, collect, score
from unmelt.metric.score import FRESH
from unmelt.rng import Stream


@pytest.fixture(scope="module")
def digits():
    real = data.digits()
    half = torch.arange(len(real)) % 2 == 0
    x, labels = real.all()
    return SampleSet(x[half], labels[half]), SampleSet(x[~half], labels[~half]), collect(data.digits(held_out=True))


def test_a_sheet_is_all_of_what_ends_and_some_of_what_does_not():
    arrays = data.Arrays(torch.rand(7, 2), [0, 1, 0, 1, 0, 1, 1])
    assert torch.equal(collect(arrays).x, arrays.values)
    assert collect(arrays).labels.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert len(collect(data.Ring()).x) == len(collect(data.Ring()).labels) == FRESH
    assert collect(data.Checkerboard()).labels is None


def test_real_images_score_as_the_floor(digits):
    made, real, held_out = digits
    found = score(made, real, held_out)
    assert found["features"] == "pixels8"
    assert found["frechet"] == pytest.approx(found["frechet_floor"], rel=0.25)
    assert found["nearest_train"] == pytest.approx(found["nearest_floor"], rel=0.1)
    assert found["classifier_accuracy"] == pytest.approx(found["classifier_floor"], abs=0.02)
    assert found["classifier_floor"] > 0.97


def test_noise_copies_and_wrong_labels_are_seen(digits):
    made, real, held_out = digits
    floor = score(made, real, held_out)
    noise = SampleSet(torch.from_numpy(Stream(0).uniform(made.x.shape).numpy()), made.labels)
    assert score(noise, real, held_out)["frechet"] > 20 * floor["frechet"]
    copies = score(real, real, held_out)
    assert copies["nearest_train"] == 0
    assert copies["frechet"] == copies["frechet_floor"]
    wrong = score(SampleSet(made.x, (made.labels + 1) % 10), real, held_out)
    assert wrong["classifier_accuracy"] < 0.05
    assert wrong["frechet"] == floor["frechet"]


def test_without_labels_there_is_no_judge(digits):
    made, real, held_out = digits
    found = score(SampleSet(made.x[:50]), real, held_out)
    assert "classifier_accuracy" not in found
    assert all(f"{name.split('_')[0]}_floor" in found for name in ("frechet", "nearest_train"))


def test_points(digits):
    real, held_out = collect(data.Ring(seed=0)), collect(data.Ring(seed=1))
    good = score(collect(data.Ring(seed=2)), real, held_out)
    assert set(good) == {"energy", "energy_floor", "sliced", "sliced_floor"}
    assert abs(good["energy"]) < 0.005
    assert abs(good["energy_floor"]) < 0.005
    assert good["sliced"] < 3 * good["sliced_floor"]
    for wrong in (data.Ring(radius=1.8, seed=2), data.Ring(modes=5, seed=2), data.Ring(sd=0.3, seed=2)):
        bad = score(collect(wrong), real, held_out)
        assert bad["energy"] > abs(good["energy"])
        assert bad["sliced"] > 1.3 * good["sliced"]
    assert score(collect(data.Ring(seed=2)), real, held_out) == good

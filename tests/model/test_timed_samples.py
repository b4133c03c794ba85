"""Evaluation makes as many samples as the time allows, and says how many."""

import pytest
import torch

import unmelt as um
from unmelt.model import timed_samples


@pytest.fixture(scope="module")
def model():
    return um.recipe.ring(width=8, depth=1, steps=3, batch=8)


@pytest.mark.parametrize(
    ("each", "minutes", "made"), [(0.03, 1.0, 2000), (0.04, 1.0, 1500), (3.0, 1.0, 1000), (0.03, 0.001, 1000)]
)
def test_samples_fit_into_the_time_and_are_enough(model, monkeypatch, capsys, each, minutes, made):
    """Each sample takes so many seconds; the ring has 2000 rows to be judged by."""
    now = [0.0]
    monkeypatch.setattr(timed_samples.time, "monotonic", lambda: now[0])

    def sample(self, request):
        now[0] += each * request.rows
        return torch.zeros(request.rows, 2)

    monkeypatch.setattr(um.Model, "sample_request", sample)
    assert model.evaluate(minutes=minutes)["samples"] == made
    assert ("samples are made" in capsys.readouterr().err) == (made < 2000)
    assert model.evaluate(samples=30, minutes=minutes)["samples"] == 30


def test_the_rows_are_those_of_one_request(model):
    """Rows do not depend on the parts in which they are sampled."""
    request = model.request(200, label=torch.arange(200) % 3, steps=3, seed=5)
    torch.testing.assert_close(timed_samples.sample_for(model, request, None), model.sample_request(request))


def test_any_number_of_labels_has_the_proportions_of_the_data():
    labels = timed_samples.labels_in_proportion(torch.arange(10).repeat_interleave(500), 7000)
    assert labels[:5000].bincount().tolist() == [500] * 10
    assert labels[:1000].bincount().min() > 70


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(model, minutes):
    with pytest.raises(um.UsageError, match="minutes="):
        model.evaluate(minutes=minutes)

"""Classifier-free guidance of few rows: one network call gives both beliefs, and they are those of two calls."""

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.condition import Condition
from unmelt.guidance import CFG


class Reads(nn.Module):
    """A network of points that reads a label, 0 for none, and remembers how many rows it was given."""

    def __init__(self):
        super().__init__()
        self.table, self.mix = nn.Embedding(4, 5), nn.Linear(6, 5)
        self.rows = []

    def forward(self, x, level, condition=None):
        self.rows.append(len(x))
        label = torch.zeros(len(x), dtype=torch.int64)
        if condition is not None and condition.label is not None:
            given = condition.is_given("label")
            label = 1 + condition.label if given is None else torch.where(given, 1 + condition.label, label)
        return torch.tanh(self.mix(torch.cat([x, level[:, None].to(x)], 1)) + self.table(label))


@pytest.fixture
def denoiser():
    with um.rng.seeded(0):
        network = Reads()
    process = um.process.Gaussian(um.schedule.Cosine())
    return um.denoiser.NetworkDenoiser(network, process, um.prediction.V(), (5,), data_sd=0.5)


def beliefs(denoiser, scale, rows, t, scales=None):
    """(means at once, rows of each call), (the same of two calls)."""
    x = torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))
    known = Condition(label=torch.arange(rows) % 3, guidance_scale=scales)
    found = []
    for settings in ({}, {"at_once": 0}):
        denoiser.backbone.rows.clear()
        with torch.no_grad():
            found.append((CFG(denoiser, scale, (0.2, 0.8), **settings)(x, t, known).mean, list(denoiser.backbone.rows)))
    return found


@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_both_beliefs_of_few_rows_come_from_one_call(denoiser, scale):
    t = torch.linspace(0.3, 0.7, 6, dtype=torch.float64)
    (once, calls), (twice, two_calls) = beliefs(denoiser, scale, 6, t)
    assert (calls, two_calls) == ([12], [6, 6])
    torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-6)


def test_rows_that_are_not_guided_have_no_second_part(denoiser):
    t = torch.tensor([0.5, 0.1, 0.5, 0.9, 0.5, 0.4], dtype=torch.float64)  # the second and the fourth are outside
    scales = torch.tensor([1.0, 3.0, 2.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    (once, calls), (twice, _) = beliefs(denoiser, 1.0, 6, t, scales)
    assert calls == [8]
    torch.testing.assert_close(once, twice, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
        plain = denoiser(x, t, Condition(label=torch.arange(6) % 3)).mean
    torch.testing.assert_close(once[[0, 1, 3, 5]], plain[[0, 1, 3, 5]], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(once[[2, 4]], plain[[2, 4]], atol=1e-3)


def test_of_many_rows_they_come_from_two_calls(denoiser):
    t = torch.full((17,), 0.5, dtype=torch.float64)
    (_, calls), _ = beliefs(denoiser, 2.0, 17, t)
    assert calls == [17, 17]


def test_a_denoiser_that_may_hold_a_value_for_each_row_is_given_its_rows_alone(denoiser):
    class Holds:
        process, shape, seen = denoiser.process, (5,), []

        def __call__(self, x_t, t, condition=None):
            self.seen.append(len(x_t))
            return denoiser(x_t, t, condition)

    held = Holds()
    with torch.no_grad():
        CFG(held, 2.0)(torch.zeros(3, 5), torch.full((3,), 0.5, dtype=torch.float64), Condition(label=torch.arange(3)))
    assert held.seen == [3, 3]

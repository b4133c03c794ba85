"""The belief from the other positions times the likelihood of a position's own token is the exact belief."""

import pytest
import torch
from torch import nn
from truth.enumeration import L, V, law, times

from unmelt.denoiser import Table, TokenNetwork
from unmelt.process import Blend, Mask, Uniform


@pytest.fixture(autouse=True)
def no_rounding(monkeypatch):
    """Beliefs are rounded to float32 on their way out of a network; here they are not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


class ByTheOthers(nn.Module):
    """log p(x0 at a position | x_t at all others) under an exact law, up to a constant for each position."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, x_t, t, condition=None, where=None):
        seen, all_of_them, places = self.table.process.likelihood(x_t, t), self.table.sequences, []
        for place in range(L):
            joint = self.table.law.flatten().expand(len(x_t), -1)
            for other in set(range(L)) - {place}:
                joint = joint * seen[:, other, all_of_them[:, other]]
            places.append(torch.stack([joint[:, all_of_them[:, place] == v].sum(1) for v in range(V)], 1))
        logits = torch.stack(places, 1).log() + torch.arange(L)[:, None]
        return logits if where is None else logits[where]


@pytest.mark.parametrize("t", [0.02, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("process", [Uniform(V), Blend(V, masks=0.6)], ids=str)
def test_a_network_that_predicts_from_the_other_positions_gives_the_exact_belief(process, t):
    table = Table(law(), process)
    x_t = torch.cartesian_prod(*[torch.arange(process.symbols)] * L)
    model, at = TokenNetwork(ByTheOthers(table), process, (L,)), times(t).expand(len(x_t))
    torch.testing.assert_close(model(x_t, at).probabilities, table(x_t, at).probabilities, rtol=0, atol=1e-12)
    where = torch.rand(x_t.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    torch.testing.assert_close(model.logits_at(x_t, where, at).logits, model(x_t, at).logits[where], rtol=0, atol=0)


@pytest.mark.parametrize("process", [Uniform(V), Blend(V, masks=0.6)], ids=str)
def test_evidence_is_the_ratio_of_likelihoods(process):
    x_t, t = torch.arange(process.symbols)[None], times(0.3)
    seen = process.likelihood(x_t, t)[0]
    for place in range(process.symbols):
        own, other = (place, (place + 1) % V) if place < V else (0, 1)
        expected = (seen[place, own] / seen[place, other]).log()
        torch.testing.assert_close(process.evidence(x_t, t)[0, place], expected, rtol=0, atol=1e-12)


def test_beliefs_at_time_zero_are_certain():
    model = TokenNetwork(ByTheOthers(Table(law(), Uniform(V))), Uniform(V), (L,))
    x_t = torch.tensor([[0, 1, 2, 0]])
    belief = model(x_t, times(0.0)).probabilities
    assert belief.isfinite().all()
    torch.testing.assert_close(belief, nn.functional.one_hot(x_t, V).double(), rtol=0, atol=1e-9)


def test_a_mask_adds_no_evidence():
    model = TokenNetwork(ByTheOthers(Table(law(), Mask(V))), Mask(V), (L,))
    x_t, t = torch.tensor([[0, V, 2, V]]), times(0.5)
    assert torch.equal(model(x_t, t).logits, model.backbone(x_t, t))

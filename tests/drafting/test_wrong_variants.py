"""What looks like verification and is not: by how much each variant leaves the verifier's law, by enumeration."""

import drafting.tables as tables
import pytest
import torch
from drafting.tables import (
    TableDrafter,
    TableVerifier,
    branches,
    far,
    law_of_text,
    marginal_drafts,
    own_law,
    random_logits,
)

from unmelt.drafting import acceptance, residual

V = tables.V


def plain(logits):
    return logits.softmax(-1)


def redrawn_from_p(p, tokens, q):
    """A rejected token is drawn anew from all of p."""
    for chance, accepted, law in branches(p, tokens, q):
        yield chance, accepted, law if len(accepted) == len(tokens) else p[len(accepted)]


def accepted_by_threshold(p, tokens, q, least=0.2):
    """A token is accepted if the verifier finds it likely enough."""
    for place, token in enumerate(tokens):
        if p[place, token] < least:
            yield 1.0, tokens[:place], residual(p[place], q[place])
            return
    yield 1.0, tokens, p[len(tokens)]


def with_shared_noise(p, tokens, q):
    """The quantile that drew a token also accepts it: given the token, it lies in the token's own interval."""
    reached = 1.0
    for place, token in enumerate(tokens):
        begin, end = q[place].cumsum(0)[token].item() - q[place, token].item(), q[place].cumsum(0)[token].item()
        ratio = acceptance(p[place, token], q[place, token]).item()
        chance = min(1.0, max(0.0, (ratio - begin) / (end - begin)))
        if chance < 1:
            yield reached * (1 - chance), tokens[:place], residual(p[place], q[place])
        reached *= chance
        if reached == 0:
            return
    yield reached, tokens, p[len(tokens)]


@pytest.mark.parametrize("variant", [redrawn_from_p, accepted_by_threshold, with_shared_noise])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_variant_has_another_law(monkeypatch, variant, seed):
    verifier, drafter = TableVerifier(seed), TableDrafter(seed + 10)
    truth = own_law(verifier, plain)
    assert far(law_of_text(verifier, plain, marginal_drafts(drafter, 2)), truth) < 1e-12
    monkeypatch.setattr(tables, "branches", variant)
    found = law_of_text(verifier, plain, marginal_drafts(drafter, 2))
    assert sum(found.values()) == pytest.approx(1)
    assert 0.04 < far(found, truth) < 0.6


def test_the_noise_of_a_shared_quantile_is_what_sampling_with_it_gives():
    p, q = random_logits(V, seed=3).softmax(-1), random_logits(V, seed=4).softmax(-1)
    u = torch.rand(200_000, dtype=torch.float64, generator=tables.generator(0))
    drawn = torch.bucketize(u, q.cumsum(0), right=True).clamp_max(V - 1)
    accepted = u < (p / q)[drawn]
    for token in range(V):
        ends = [each for each in with_shared_noise(p[None].expand(2, V), (token,), q[None]) if len(each[1]) == 1]
        share = ends[0][0] if ends else 0.0
        found = accepted[drawn == token].double().mean().item()
        assert found == pytest.approx(share, abs=0.01)

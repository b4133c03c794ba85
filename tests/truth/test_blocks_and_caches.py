"""One transformer, three ways to read: what blocks are worth, and that an exact cache changes nothing; in float64."""

import itertools

import pytest
import torch

import unmelt as um
from unmelt.backbone import Transformer
from unmelt.backbone.rotary import Past, beside, read
from unmelt.denoiser import ApproximateBlockCache, Autoregressive, Blockwise, TokenNetwork
from unmelt.guidance import Allowed, Nucleus, Temperature
from unmelt.process import Mask
from unmelt.rng import Rows, Stream, seeded
from unmelt.sampler import State
from unmelt.sampler import tokens as way

V, L = 3, 4
SEQUENCES = torch.cartesian_prod(*[torch.arange(V)] * L)


def network(block=None, length=L, vocabulary=V, **more):
    with seeded(3):
        made = Transformer(
            symbols=vocabulary + 1,
            vocabulary=vocabulary,
            length=length,
            width=16,
            depth=2,
            heads=2,
            block=block,
            **more,
        )
        for parameter in made.parameters():  # far from the zeros that training begins with
            torch.nn.init.normal_(parameter, std=0.5)
    return made.double().eval()


@pytest.fixture(autouse=True)
def no_rounding(monkeypatch):
    """Beliefs are rounded to float32 on their way out of a network; here they are not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def zeros(rows):
    return torch.zeros(rows, dtype=torch.float64)


@torch.no_grad()
def test_a_causal_network_is_a_law_over_sequences():
    model = Autoregressive(network(1), Mask(V), (L,))
    log_p = -um.objective.NextToken()(model, SEQUENCES, None, Stream(0)).double() * L
    assert log_p.exp().sum() == pytest.approx(1, abs=1e-12)
    chain = torch.zeros(len(SEQUENCES), dtype=torch.float64)
    for place in range(L):  # of each token in view of those before it, all others being masks
        x = torch.where(torch.arange(L) < place, SEQUENCES, V)
        chain += model(x, zeros(len(x))).log_probabilities[torch.arange(len(x)), place, SEQUENCES[:, place]]
    torch.testing.assert_close(log_p, chain, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 2, 3, L])
def test_who_reads_from_whom(block):
    model, x = network(block), SEQUENCES[20:21]
    base = model(x, zeros(1))
    for changed in range(L):
        other = x.clone()
        other[0, changed] = (other[0, changed] + 1) % V
        moved = (model(other, zeros(1)) - base).abs().amax(-1)[0] > 1e-12
        assert moved.tolist() == [place // block >= changed // block for place in range(L)]


@torch.no_grad()
def test_of_coordinates_only_distances_count_axis_by_axis():
    x, square = SEQUENCES[[5, 50]], [(0, 0), (0, 1), (1, 0), (1, 1)]
    plain, numbered = network(), network(coordinates=[(k,) for k in range(L)])
    assert torch.equal(plain(x, zeros(2)), numbered(x, zeros(2)))
    moved = [(row + 7, column + 2) for row, column in square]
    laid, elsewhere, turned = (network(coordinates=each) for each in (square, moved, [each[::-1] for each in square]))
    torch.testing.assert_close(laid(x, zeros(2)), elsewhere(x, zeros(2)), rtol=0, atol=1e-12)
    for other in (turned, plain):
        assert (laid(x, zeros(2)) - other(x, zeros(2))).abs().max() > 1e-3
    assert "at" not in laid.state_dict()
    for wrong in (square[:3], [(0, 0), (1,), (2, 2), (3, 3)], [(0,) * 5] * 4, [()] * 4):
        with pytest.raises(um.errors.UsageError, match="coordinates of"):
            network(coordinates=wrong)


def any_order_of_blocks(model, block):
    """By listing the orders within every block, all earlier blocks being clean."""
    nll = torch.zeros(len(SEQUENCES), dtype=torch.float64)
    for first in range(0, L, block):
        orders = list(itertools.permutations(range(first, min(first + block, L))))
        for order in orders:
            x = torch.full_like(SEQUENCES, V)
            x[:, :first] = SEQUENCES[:, :first]
            for place in order:
                belief = model(x, zeros(len(x))).log_probabilities
                nll -= belief[torch.arange(len(x)), place, SEQUENCES[:, place]] / len(orders)
                x = x.clone()
                x[:, place] = SEQUENCES[:, place]
    return nll


@torch.no_grad()
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, L])
def test_the_objective_of_blocks_is_its_closed_form_from_autoregression_to_full_diffusion(block, twice):
    model, number, rows = Blockwise(network(block), Mask(V), (L,)), 50, 30_000
    expected, loss = any_order_of_blocks(model, block)[number], um.objective.AnyOrder(antithetic_masks=twice)
    found = loss(model, SEQUENCES[number].expand(rows, L), None, Stream(1)).double() * L
    if block == 1:
        assert (found - expected).abs().max() < 1e-12
    assert abs(found.mean() - expected) < 5 * found.std() / rows**0.5 + 1e-12
    if block == L:
        whole = TokenNetwork(model.backbone, Mask(V), (L,))
        apart = (um.objective.AnyOrder()(each, SEQUENCES, None, Stream(2)) for each in (whole, model))
        torch.testing.assert_close(*apart, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("even", [False, True])
def test_melting_rows_twice_is_the_same_loss_with_less_noise(even):
    model, rows = Blockwise(network(2), Mask(V), (L,)), 20_000
    once, twice = (
        um.objective.AnyOrder(token_mean=even, antithetic_masks=each)(
            model, SEQUENCES[50].expand(rows, L), None, Stream(1)
        ).double()
        for each in (False, True)
    )
    assert abs(once.mean() - twice.mean()) < 5 * (once.var() + twice.var()).sqrt() / rows**0.5
    assert twice.var() < 0.5 * once.var()


@torch.no_grad()
def test_melted_twice_every_token_is_learned_and_one_of_a_block_twice():
    model = Blockwise(network(2), Mask(V), (L,))
    seen = []
    told, model.informed = (
        model.informed,
        lambda x_t, x0, where, *rest: (seen.append(where), told(x_t, x0, where, *rest))[1],
    )
    um.objective.AnyOrder(antithetic_masks=True)(model, SEQUENCES, None, Stream(3))
    (where,) = seen
    times = where.view(len(SEQUENCES), 2, L).sum(1)  # of the two, how often each place was a mask
    assert (times >= 1).all()
    assert (times.view(-1, 2, 2).sum(-1) == 3).all()


@pytest.mark.parametrize(("n", "block"), [(12, 1), (12, 4), (12, 5), (12, 12), (10, 3)])
@pytest.mark.parametrize("copies", [1, 3])
def test_melted_rows_beside_the_clean_one_are_attention_under_its_mask(n, block, copies):
    draws = Stream(0)
    query, key, value = (draws.normal((2, 2, (1 + copies) * n, 8), torch.float64).requires_grad_() for _ in range(3))
    at = torch.arange(n) // block
    earlier, own = at[None] < at[:, None], at[None] == at[:, None]
    melted = torch.block_diag(*[own] * copies).bool()
    nothing = torch.zeros(n, copies * n, dtype=torch.bool)
    mask = torch.cat([torch.cat([earlier | own, nothing], 1), torch.cat([earlier.repeat(copies, 1), melted], 1)])
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    for found in (beside(query, key, value, n, block), read(query, key, value, mask)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        slopes = (
            torch.autograd.grad(each.sin().sum(), (query, key, value), retain_graph=True) for each in (found, expected)
        )
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


@torch.no_grad()
def test_what_is_asked_for_in_some_places_is_what_would_be_believed_in_all():
    x0, x_t = SEQUENCES[[7, 50]], SEQUENCES[[9, 50]]
    where = torch.tensor([[True, False, True, False], [False, False, False, True]])
    whole, blocks = TokenNetwork(network(), Mask(V), (L,)), Blockwise(network(2), Mask(V), (L,), bidirectional=True)
    for each in (whole, blocks.as_bidirectional):
        torch.testing.assert_close(
            each.at(x_t, where, zeros(2)).logits, each(x_t, zeros(2)).logits[where], rtol=0, atol=1e-12
        )
    unblocked = TokenNetwork(network(), Mask(V), (L,))
    unblocked.load_state_dict(blocks.state_dict())
    torch.testing.assert_close(
        blocks.as_bidirectional(x_t, zeros(2)).logits, unblocked(x_t, zeros(2)).logits, rtol=0, atol=1e-12
    )
    told = blocks.informed(x_t, x0, where, zeros(2)).logits
    first, second = x_t.clone(), x_t.clone()
    second[:, :2] = x0[:, :2]  # what the second block sees of the first
    expected = torch.cat([blocks(first, zeros(2)).logits[:, :2], blocks(second, zeros(2)).logits[:, 2:]], 1)[where]
    torch.testing.assert_close(told, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_past_changes_nothing():
    for block, cut in ((1, 5), (3, 6)):
        model = network(block, length=12)
        x = torch.randint(V, (2, 12), generator=torch.Generator().manual_seed(0))
        past = Past()
        first = model(x[:, :cut], zeros(2), past=past)
        rest = model(x[:, cut:], zeros(2), past=Past(past.grown()), edges=(x[:, cut - 1], None))
        torch.testing.assert_close(torch.cat([first, rest], 1), model(x, zeros(2)), rtol=0, atol=1e-12)


def finished(model, sampler, rows=5, length=12, steps=6, prompt=2):
    rng = Rows.of(7, rows)
    x = model.process.prior((rows, length), rng)
    x[:, :prompt] = torch.arange(rows)[:, None] % V
    state = sampler.init(model, x, zeros(rows) + 1, rng.advance())
    states = [state]
    for k in range(steps - 1, -1, -1):
        states.append(sampler.step(model, states[-1], zeros(rows) + k / steps))
    return states


EXACT = [
    Autoregressive(network(1, length=12), Mask(V), (12,)),
    Blockwise(network(1, length=12), Mask(V), (12,)),
    Blockwise(network(4, length=12), Mask(V), (12,)),
    Blockwise(network(5, length=12), Mask(V), (12,)),
]


@torch.no_grad()
@pytest.mark.parametrize("model", EXACT, ids=lambda m: f"{type(m).__name__}{m.block}")
@pytest.mark.parametrize("pace", [way.Scheduled(), way.Threshold(0.5)], ids=str)
def test_an_exact_cache_changes_nothing(model, pace):
    kept = finished(model, way.Unmask(pace=pace, cache=True))
    anew = finished(model, way.Unmask(pace=pace, block=model.block))
    assert all(torch.equal(a.x, b.x) for a, b in zip(kept, anew, strict=True))
    wrapped = Nucleus(Temperature(model, 0.8), 0.9)
    kept, anew = (finished(wrapped, way.Unmask(pace=pace, **how)) for how in ({"cache": True}, {"block": model.block}))
    assert torch.equal(kept[-1].x, anew[-1].x)


@torch.no_grad()
def test_rows_with_caches_at_other_stages_are_rows_alone():
    model, sampler = EXACT[2], way.Unmask(cache=True)
    states = finished(model, sampler)
    order = torch.tensor([4, 0, 2, 1, 3])
    mixed = State.join([states[1][order[:2]], states[3][order[2:]]])  # two at t = 5/6, three at 1/2
    for s in (0.5, 0.2, 0.0):
        mixed = um.sampler.advance(model, sampler, mixed, zeros(5) + s)
    assert (mixed.x < V).all()
    alone = []
    for place, row in enumerate(order.tolist()):
        state = states[1 if place < 2 else 3][row : row + 1]
        for s in (0.5, 0.2, 0.0):
            state = um.sampler.advance(model, sampler, state, zeros(1) + s)
        alone.append(state.x)
    assert torch.equal(mixed.x, torch.cat(alone))


@torch.no_grad()
def test_the_approximate_cache_is_exact_where_nothing_outside_matters_and_says_that_it_is_not():
    whole = TokenNetwork(network(None, length=12), Mask(V), (12,))
    cache_block = ApproximateBlockCache(whole, block=12)
    assert not cache_block.exact
    kept, anew = finished(cache_block, way.Unmask(cache=True)), finished(whole, way.Unmask(block=12))
    assert torch.equal(kept[-1].x, anew[-1].x)
    apart = finished(ApproximateBlockCache(whole, block=4), way.Unmask(cache=True))
    assert (apart[-1].x < V).all()
    # the first pass over a block sees everything as it is
    x = torch.full((1, 12), V)
    belief, seen = ApproximateBlockCache(whole, block=4).decode_step(x, 4, None, None)
    torch.testing.assert_close(belief.logits, whole(x, zeros(1)).logits[:, 4:8], rtol=0, atol=1e-12)
    again, _ = ApproximateBlockCache(whole, block=4).decode_step(x, 4, seen, None)
    torch.testing.assert_close(again.logits, belief.logits, rtol=0, atol=1e-12)


@torch.no_grad()
def test_after_an_end_nothing_more_is_asked_for():
    model = EXACT[0]
    last = finished(model, way.Unmask(way.LeftToRight(), cache=True, end=1), rows=40, steps=12)[-1].x
    plain = finished(model, way.Unmask(way.LeftToRight(), cache=True), rows=40, steps=12)[-1].x
    for row, free in zip(last.tolist(), plain.tolist(), strict=True):
        ended = row.index(1) if 1 in row else len(row)
        assert set(row[ended:]) <= {1}
        assert row[: ended + 1] == free[: ended + 1]


@torch.no_grad()
def test_beliefs_reshaped_token_by_token():
    model, x = TokenNetwork(network(), Mask(V), (L,)), torch.tensor([[0, V, V, 2]])
    p = model(x, zeros(1)).probabilities
    sharp = Temperature(model, 0.5)(x, zeros(1)).probabilities
    torch.testing.assert_close(sharp, p**2 / (p**2).sum(-1, keepdim=True))
    some = Nucleus(model, 0.6)(x, zeros(1)).probabilities
    for place in range(L):
        order = p[0, place].argsort(descending=True)
        kept = order[: int((p[0, place][order].cumsum(0) < 0.6).sum()) + 1]
        assert set(some[0, place].nonzero()[:, 0].tolist()) == set(kept.tolist())
    may = torch.tensor([True, False, True])
    only = Allowed(model, may)(x, zeros(1)).probabilities
    torch.testing.assert_close(only, p * may / (p * may).sum(-1, keepdim=True))
    by_place = Allowed(model, lambda x_t: (x_t[..., None] != 0) | may)(x, zeros(1)).probabilities
    assert by_place[0, 0, 1] == 0
    assert torch.equal(by_place[0, 1], p[0, 1])
    with pytest.raises(um.errors.UsageError, match="no token"):
        Allowed(model, torch.zeros(V, dtype=torch.bool))(x, zeros(1))
    with pytest.raises(um.errors.UsageError, match="temperature"):
        Temperature(model, 0.0)
    with pytest.raises(um.errors.UsageError, match="top_p"):
        Nucleus(model, 1.5)


def test_mistakes_are_told():
    with pytest.raises(um.errors.UsageError, match="at most 4"):
        network()(torch.zeros(1, 5, dtype=torch.int64), zeros(1))
    with pytest.raises(um.errors.UsageError, match="block=1"):
        Autoregressive(network(2), Mask(V), (L,))
    with pytest.raises(um.errors.UsageError, match="Unmask\\(cache=False\\)"):
        finished(TokenNetwork(network(None, 12), Mask(V), (12,)), way.Unmask(cache=True))

"""The transformer under each attention mask, and block diffusion by enumeration; in float64."""

import itertools

import pytest
import torch
from truth.small_transformer import L, V, network, zeros

import unmelt as um
from unmelt.backbone.rotary import attention, block_diffusion_attention
from unmelt.denoiser import Autoregressive, Blockwise, TokenDenoiser
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.process import Mask
from unmelt.rng import Stream

SEQUENCES = torch.cartesian_prod(*[torch.arange(V)] * L)


@pytest.fixture(autouse=True)
def no_rounding(monkeypatch):
    """Denoisers round logits to float32; here they do not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@torch.no_grad()
def test_autoregressive_probabilities_sum_to_one_and_match_the_chain_rule():
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
def test_a_position_attends_to_its_own_and_earlier_blocks_only(block):
    model, x = network(block), SEQUENCES[20:21]
    base = model(x, zeros(1))
    for changed in range(L):
        other = x.clone()
        other[0, changed] = (other[0, changed] + 1) % V
        moved = (model(other, zeros(1)) - base).abs().amax(-1)[0] > 1e-12
        assert moved.tolist() == [place // block >= changed // block for place in range(L)]


@torch.no_grad()
def test_logits_depend_on_coordinate_differences_per_axis_only():
    x, square = SEQUENCES[[5, 50]], [(0, 0), (0, 1), (1, 0), (1, 1)]
    plain, numbered = network(), network(coordinates=[(k,) for k in range(L)])
    assert torch.equal(plain(x, zeros(2)), numbered(x, zeros(2)))
    moved = [(row + 7, column + 2) for row, column in square]
    laid, elsewhere, turned = (network(coordinates=each) for each in (square, moved, [each[::-1] for each in square]))
    torch.testing.assert_close(laid(x, zeros(2)), elsewhere(x, zeros(2)), rtol=0, atol=1e-12)
    for other in (turned, plain):
        assert (laid(x, zeros(2)) - other(x, zeros(2))).abs().max() > 1e-3
    assert laid.state_dict().keys() == plain.state_dict().keys()
    for wrong in (square[:3], [(0, 0), (1,), (2, 2), (3, 3)], [(0,) * 5] * 4, [()] * 4):
        with pytest.raises(um.errors.UsageError, match="coordinates of"):
            network(coordinates=wrong)


def any_order_of_blocks(model, block):
    """The loss by enumeration of the orders within every block, given clean earlier blocks."""
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
@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, L])
def test_any_order_loss_of_blocks_matches_enumeration_from_autoregression_to_full_diffusion(block, antithetic):
    model, number, rows = Blockwise(network(block), Mask(V), (L,)), 50, 30_000
    expected, loss = any_order_of_blocks(model, block)[number], um.objective.AnyOrder(antithetic_masks=antithetic)
    found = loss(model, SEQUENCES[number].expand(rows, L), None, Stream(1)).double() * L
    if block == 1:
        assert (found - expected).abs().max() < 1e-12
    assert abs(found.mean() - expected) < 5 * found.std() / rows**0.5 + 1e-12
    if block == L:
        whole = TokenDenoiser(model.backbone, Mask(V), (L,))
        apart = (um.objective.AnyOrder()(each, SEQUENCES, None, Stream(2)) for each in (whole, model))
        torch.testing.assert_close(*apart, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("equal_token_weights", [False, True])
def test_antithetic_masks_keep_the_expected_loss_and_lower_its_variance(equal_token_weights):
    model, rows = Blockwise(network(2), Mask(V), (L,)), 20_000
    once, twice = (
        um.objective.AnyOrder(equal_token_weights=equal_token_weights, antithetic_masks=each)(
            model, SEQUENCES[50].expand(rows, L), None, Stream(1)
        ).double()
        for each in (False, True)
    )
    assert abs(once.mean() - twice.mean()) < 5 * (once.var() + twice.var()).sqrt() / rows**0.5
    assert twice.var() < 0.5 * once.var()


@torch.no_grad()
def test_antithetic_masks_cover_every_token_and_one_token_of_a_block_twice():
    model = Blockwise(network(2), Mask(V), (L,))
    seen = []
    plain, model.teacher_forced = (
        model.teacher_forced,
        lambda x_t, x0, where, *rest: (seen.append(where), plain(x_t, x0, where, *rest))[1],
    )
    um.objective.AnyOrder(antithetic_masks=True)(model, SEQUENCES, None, Stream(3))
    (where,) = seen
    times = where.view(len(SEQUENCES), 2, L).sum(1)  # in how many of the two copies each position is a mask
    assert (times >= 1).all()
    assert (times.view(-1, 2, 2).sum(-1) == 3).all()


@pytest.mark.parametrize(("n", "block"), [(12, 1), (12, 4), (12, 5), (12, 12), (10, 3)])
@pytest.mark.parametrize("copies", [1, 3])
def test_block_diffusion_attention_matches_masked_attention_and_its_gradient(n, block, copies):
    draws = Stream(0)
    query, key, value = (draws.normal((2, 2, (1 + copies) * n, 8), torch.float64).requires_grad_() for _ in range(3))
    at = torch.arange(n) // block
    earlier, own = at[None] < at[:, None], at[None] == at[:, None]
    melted = torch.block_diag(*[own] * copies).bool()
    nothing = torch.zeros(n, copies * n, dtype=torch.bool)
    mask = torch.cat([torch.cat([earlier | own, nothing], 1), torch.cat([earlier.repeat(copies, 1), melted], 1)])
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    for found in (block_diffusion_attention(query, key, value, n, block), attention(query, key, value, mask)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        slopes = (
            torch.autograd.grad(each.sin().sum(), (query, key, value), retain_graph=True) for each in (found, expected)
        )
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


@torch.no_grad()
def test_logits_at_a_subset_match_the_full_forward():
    x0, x_t = SEQUENCES[[7, 50]], SEQUENCES[[9, 50]]
    where = torch.tensor([[True, False, True, False], [False, False, False, True]])
    whole, blocks = (
        TokenDenoiser(network(), Mask(V), (L,)),
        Blockwise(network(2), Mask(V), (L,), also_bidirectional=True),
    )
    for each in (whole, blocks.as_bidirectional):
        torch.testing.assert_close(
            each.logits_at(x_t, where, zeros(2)).logits, each(x_t, zeros(2)).logits[where], rtol=0, atol=1e-12
        )
    unblocked = TokenDenoiser(network(), Mask(V), (L,))
    unblocked.load_state_dict(blocks.state_dict())
    torch.testing.assert_close(
        blocks.as_bidirectional(x_t, zeros(2)).logits, unblocked(x_t, zeros(2)).logits, rtol=0, atol=1e-12
    )
    found = blocks.teacher_forced(x_t, x0, where, zeros(2)).logits
    first, second = x_t.clone(), x_t.clone()
    second[:, :2] = x0[:, :2]  # the second block attends to the clean first one
    expected = torch.cat([blocks(first, zeros(2)).logits[:, :2], blocks(second, zeros(2)).logits[:, 2:]], 1)[where]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_temperature_nucleus_and_allowed_match_their_definitions():
    model, x = TokenDenoiser(network(), Mask(V), (L,)), torch.tensor([[0, V, V, 2]])
    p = model(x, zeros(1)).probabilities
    sharp = Temperature(model, 0.5)(x, zeros(1)).probabilities
    torch.testing.assert_close(sharp, p**2 / (p**2).sum(-1, keepdim=True))
    some = TopP(model, 0.6)(x, zeros(1)).probabilities
    for place in range(L):
        order = p[0, place].argsort(descending=True)
        kept = order[: int((p[0, place][order].cumsum(0) < 0.6).sum()) + 1]
        assert set(some[0, place].nonzero()[:, 0].tolist()) == set(kept.tolist())
    may = torch.tensor([True, False, True])
    only = AllowedTokens(model, may)(x, zeros(1)).probabilities
    torch.testing.assert_close(only, p * may / (p * may).sum(-1, keepdim=True))
    by_place = AllowedTokens(model, lambda x_t: (x_t[..., None] != 0) | may)(x, zeros(1)).probabilities
    assert by_place[0, 0, 1] == 0
    assert torch.equal(by_place[0, 1], p[0, 1])
    with pytest.raises(um.errors.UsageError, match="no token"):
        AllowedTokens(model, torch.zeros(V, dtype=torch.bool))(x, zeros(1))
    with pytest.raises(um.errors.UsageError, match="temperature"):
        Temperature(model, -0.1)
    with pytest.raises(um.errors.UsageError, match="top_p"):
        TopP(model, 1.5)


def test_wrong_arguments_are_refused():
    with pytest.raises(um.errors.UsageError, match="at most 4"):
        network()(torch.zeros(1, 5, dtype=torch.int64), zeros(1))
    with pytest.raises(um.errors.UsageError, match="block=1"):
        Autoregressive(network(2), Mask(V), (L,))

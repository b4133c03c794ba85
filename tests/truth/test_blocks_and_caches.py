"""The transformer under each attention mask, block diffusion by enumeration, and cached decoding; in float64."""

import itertools

import pytest
import torch

import unmelt as um
from unmelt.backbone import Transformer
from unmelt.backbone.rotary import attention, block_diffusion_attention
from unmelt.denoiser import ApproximateBlockCache, Autoregressive, Blockwise, CachedDenoiser, TokenDenoiser
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.process import Mask
from unmelt.rng import RowSeeds, Stream, seeded
from unmelt.sampler import State
from unmelt.sampler import tokens as way

V, L = 3, 4
SEQUENCES = torch.cartesian_prod(*[torch.arange(V)] * L)


def network(block=None, length=L, vocabulary=V, **more):
    with seeded(3):
        made = Transformer(
            input_vocabulary=vocabulary + 1,
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
    """Denoisers round logits to float32; here they do not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def zeros(rows):
    return torch.zeros(rows, dtype=torch.float64)


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
@pytest.mark.parametrize("token_mean", [False, True])
def test_antithetic_masks_keep_the_expected_loss_and_lower_its_variance(token_mean):
    model, rows = Blockwise(network(2), Mask(V), (L,)), 20_000
    once, twice = (
        um.objective.AnyOrder(token_mean=token_mean, antithetic_masks=each)(
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
    whole, blocks = TokenDenoiser(network(), Mask(V), (L,)), Blockwise(network(2), Mask(V), (L,), bidirectional=True)
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


def start(model, sampler, rows=5, length=12, prompt=2, seed=7):
    """Rows at t = 1 whose first tokens are known; `prompt` is their number, or one number per row."""
    rng = RowSeeds.of(seed, rows)
    x = model.process.prior((rows, length), rng)
    known = torch.arange(length) < torch.as_tensor(prompt).expand(rows)[:, None]
    x = torch.where(known, torch.arange(rows)[:, None] % V, x)
    return sampler.init(model, x, zeros(rows) + 1, rng.advance())


def finished(model, sampler, rows=5, length=12, steps=6, prompt=2):
    states = [start(model, sampler, rows, length, prompt)]
    for k in range(steps - 1, -1, -1):
        states.append(sampler.step(model, states[-1], zeros(rows) + k / steps))
    return states


EXACT = [
    Autoregressive(network(1, length=12), Mask(V), (12,)),
    Blockwise(network(1, length=12), Mask(V), (12,)),
    Blockwise(network(4, length=12), Mask(V), (12,)),
    Blockwise(network(5, length=12), Mask(V), (12,)),
]
every_exact = pytest.mark.parametrize("model", EXACT, ids=lambda m: f"{type(m).__name__}{m.block}")
BIDIRECTIONAL = TokenDenoiser(network(None, length=12), Mask(V), (12,))


@torch.no_grad()
@every_exact
def test_cached_logits_of_rows_at_different_blocks_match_the_full_forward(model):
    """Four rounds, in which every row finishes zero, one or several blocks; the last block of 5 has 2 positions."""
    draws, rows, last = torch.Generator().manual_seed(0), 6, 11 // model.block
    tokens = torch.randint(V, (rows, 12), generator=draws)
    block, cache = torch.zeros(rows, dtype=torch.int64), model.init_cache(rows, 12)
    for _ in range(4):
        block = (block + torch.randint(0, last + 1, (rows,), generator=draws)).clamp_max(last)
        first = block * model.block
        x_t = torch.where(torch.arange(12) < first[:, None], tokens, V)
        belief, cache = model.decode_step(x_t, first, cache)
        expected = model(x_t, zeros(rows)).logits
        assert belief.logits.shape == (rows, model.block, V)
        for row, begins in enumerate(first.tolist()):
            here = expected[row, begins : begins + model.block]
            torch.testing.assert_close(belief.logits[row, : len(here)], here, rtol=0, atol=1e-12)
    assert (block == last).any()


@torch.no_grad()
@every_exact
@pytest.mark.parametrize("pace", [way.Scheduled(), way.Threshold(0.5)], ids=str)
def test_an_exact_cache_changes_nothing(model, pace):
    prompts = torch.tensor([0, 7, 2, 11, 4])
    cached = finished(model, way.Unmask(pace=pace, cache=True), prompt=prompts)
    uncached = finished(model, way.Unmask(pace=pace, block=model.block), prompt=prompts)
    assert all(torch.equal(a.x, b.x) for a, b in zip(cached, uncached, strict=True))
    assert (cached[-1].x < V).all()


@torch.no_grad()
@every_exact
def test_token_guidance_passes_the_cache_through(model):
    allowed = torch.ones(12, V, dtype=torch.bool)
    allowed[torch.arange(12), torch.arange(12) % V] = False  # another rule at every position
    prompts = torch.tensor([0, 7, 2, 11, 4])
    for rule in (allowed, lambda x_t: allowed.expand(len(x_t), -1, -1)):
        wrapped = TopP(Temperature(AllowedTokens(model, rule), 0.8), 0.9)
        assert isinstance(wrapped, CachedDenoiser)
        cached, uncached = (
            finished(wrapped, way.Unmask(**how), prompt=prompts)[-1].x
            for how in ({"cache": True}, {"block": model.block})
        )
        assert torch.equal(cached, uncached)
        decoded = torch.arange(12) >= prompts[:, None]
        assert (cached != torch.arange(12) % V)[decoded].all()


def continued(model, sampler, state, times):
    for s in times:
        state = um.sampler.advance(model, sampler, state, zeros(len(state)) + s)
    return state


@torch.no_grad()
@every_exact
@pytest.mark.parametrize("pace", [way.Scheduled(), way.Threshold(0.5)], ids=str)
def test_a_row_that_joins_late_is_decoded_as_if_alone(model, pace):
    sampler, times = way.Unmask(pace=pace, cache=True), (0.8, 0.6, 0.4, 0.2, 0.0)
    early = start(model, sampler, prompt=torch.tensor([0, 3, 5, 8, 1]))
    late = start(model, sampler, rows=2, prompt=torch.tensor([0, 9]), seed=9)
    before = continued(model, sampler, early, times[:2])
    together = continued(model, sampler, State.join([late, before]), times)
    alone = [continued(model, sampler, state[i : i + 1], times).x for state in (late, early) for i in range(len(state))]
    assert torch.equal(together.x, torch.cat(alone))


@torch.no_grad()
@every_exact
def test_cached_rows_split_and_joined_at_any_step_are_the_rows_alone(model):
    sampler, times = way.Unmask(cache=True), (0.8, 0.5, 0.3, 0.0)
    whole = start(model, sampler)
    expected = continued(model, sampler, whole, times).x
    for cut in range(len(times)):
        half = continued(model, sampler, whole, times[:cut])
        order = torch.tensor([4, 0, 2, 1, 3])
        mixed = State.join([half[order[:2]], half[order[2:]]])
        assert torch.equal(continued(model, sampler, mixed, times[cut:]).x, expected[order])


@torch.no_grad()
@every_exact
def test_a_state_with_a_cache_is_a_value(model):
    """Several branches may go on from one state, and each decodes as if it were the only one."""
    sampler = way.Unmask(cache=True)
    state = continued(model, sampler, start(model, sampler), (0.6,))
    first = continued(model, sampler, state, (0.3, 0.0)).x
    other = Temperature(model, 5.0)
    assert not torch.equal(continued(other, sampler, state, (0.3, 0.0)).x, first)
    middle = continued(model, sampler, state, (0.3,))
    continued(other, sampler, middle, (0.0,))
    assert torch.equal(continued(model, sampler, middle, (0.0,)).x, first)
    assert torch.equal(continued(model, sampler, state, (0.3, 0.0)).x, first)


class Counting:
    """A network that counts its calls."""

    def __init__(self, backbone):
        self.backbone, self.calls = backbone, 0
        self.hook = backbone.register_forward_hook(self.count)

    def count(self, *_):
        self.calls += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hook.remove()


@torch.no_grad()
@every_exact
def test_rows_at_different_depths_take_one_network_call_per_pass(model):
    sampler = way.Unmask(cache=True)
    early = continued(model, sampler, start(model, sampler, prompt=torch.tensor([0, 3, 5, 8, 1])), (0.8, 0.5))
    late = start(model, sampler, rows=2, prompt=torch.tensor([0, 9]), seed=9)
    state = State.join([late, early])
    assert len((state.x == V).int().argmax(1).unique()) > 2
    with Counting(model.backbone) as network_calls:
        after = sampler.step(model, state, zeros(7) + 0.3)
    assert network_calls.calls == after.rng.draws.sub(state.rng.draws).max()  # every row's draws count its calls


@torch.no_grad()
def test_init_allocates_the_whole_cache():
    model, sampler = EXACT[2], way.Unmask(cache=True)
    states = finished(model, sampler)
    assert all(
        {k: v.shape for k, v in each.memory.items()} == {k: v.shape for k, v in states[0].memory.items()}
        for each in states
    )
    assert states[0].memory["kv"].shape == (5, 2, 2, 2, 12, 8)  # rows, layers, keys and values, heads, length, features


@torch.no_grad()
def test_the_approximate_cache_is_exact_in_one_block_and_in_the_first_call_of_each():
    one_block = ApproximateBlockCache(BIDIRECTIONAL, block=12)
    assert not one_block.exact
    cached = finished(one_block, way.Unmask(cache=True))
    uncached = finished(BIDIRECTIONAL, way.Unmask(block=12))
    assert torch.equal(cached[-1].x, uncached[-1].x)
    model, x, first = ApproximateBlockCache(BIDIRECTIONAL, block=4), torch.full((2, 12), V), torch.tensor([4, 8])
    belief, cache = model.decode_step(x, first, model.init_cache(2, 12))
    expected = BIDIRECTIONAL(x, zeros(2)).logits
    expected = torch.stack([expected[0, 4:8], expected[1, 8:]])
    torch.testing.assert_close(belief.logits, expected, rtol=0, atol=1e-12)
    again, _ = model.decode_step(x, first, cache)
    torch.testing.assert_close(again.logits, expected, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("block", [1, 4, 5, 32])
@pytest.mark.parametrize("pace", [way.Scheduled(), way.Threshold(0.5)], ids=str)
def test_approximately_cached_rows_that_join_late_are_decoded_as_if_alone(block, pace):
    model, sampler, times = (
        ApproximateBlockCache(BIDIRECTIONAL, block),
        way.Unmask(pace=pace, cache=True),
        (0.7, 0.5, 0.2, 0.0),
    )
    early = start(model, sampler, prompt=torch.tensor([0, 3, 5, 8, 1]))
    late = start(model, sampler, rows=2, prompt=torch.tensor([0, 9]), seed=9)
    before = continued(model, sampler, early, times[:1])
    with Counting(BIDIRECTIONAL.backbone) as network_calls:
        together = continued(model, sampler, State.join([late, before]), times)
    passes = together.rng.draws.sub(State.join([late, before]).rng.draws).max()
    assert passes <= network_calls.calls <= 2 * passes + 2 * len(times)
    alone = [continued(model, sampler, state[i : i + 1], times).x for state in (late, early) for i in range(len(state))]
    assert torch.equal(together.x, torch.cat(alone))


@torch.no_grad()
def test_after_the_end_of_text_the_row_is_filled_with_it():
    model = EXACT[0]
    last = finished(model, way.Unmask(way.LeftToRight(), cache=True, end=1), rows=40, steps=12)[-1].x
    plain = finished(model, way.Unmask(way.LeftToRight(), cache=True), rows=40, steps=12)[-1].x
    for row, free in zip(last.tolist(), plain.tolist(), strict=True):
        ended = row.index(1) if 1 in row else len(row)
        assert set(row[ended:]) <= {1}
        assert row[: ended + 1] == free[: ended + 1]


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
        Temperature(model, 0.0)
    with pytest.raises(um.errors.UsageError, match="top_p"):
        TopP(model, 1.5)


def test_wrong_arguments_are_refused():
    with pytest.raises(um.errors.UsageError, match="at most 4"):
        network()(torch.zeros(1, 5, dtype=torch.int64), zeros(1))
    with pytest.raises(um.errors.UsageError, match="block=1"):
        Autoregressive(network(2), Mask(V), (L,))
    with pytest.raises(um.errors.UsageError, match="Unmask\\(cache=False\\)"):
        finished(BIDIRECTIONAL, way.Unmask(cache=True))
    with pytest.raises(um.errors.UsageError, match="Unmask\\(cache=False\\)"):
        finished(Temperature(BIDIRECTIONAL, 0.5), way.Unmask(cache=True))

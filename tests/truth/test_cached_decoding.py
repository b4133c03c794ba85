"""Cached decoding: an exact cache changes nothing, whatever rows share a batch; in float64."""

import pytest
import torch
from truth.small_transformer import V, network, zeros

import unmelt as um
from unmelt.denoiser import ApproximateBlockCache, Autoregressive, Blockwise, CachedDenoiser, TokenDenoiser
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.process import Mask
from unmelt.rng import RowSeeds
from unmelt.sampler import State
from unmelt.sampler import tokens as way


@pytest.fixture(autouse=True)
def no_rounding(monkeypatch):
    """Denoisers round logits to float32; here they do not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def start(model, sampler, rows=5, length=12, prompt=2, seed=7):
    """RowSeeds at t = 1 whose first tokens are known; `prompt` is their number, or one number per row."""
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
APPROXIMATE = ApproximateBlockCache(BIDIRECTIONAL, block=4)


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
@pytest.mark.parametrize("model", [*EXACT, APPROXIMATE], ids=lambda m: f"{type(m).__name__}{m.block}")
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_branches_from_one_cached_state_do_not_disturb_each_other(model, cut):
    sampler, times, other = way.Unmask(cache=True), (0.8, 0.6, 0.4, 0.2, 0.0), Temperature(model, 5.0)
    state = continued(model, sampler, start(model, sampler), times[:cut])
    expected, elsewhere = (continued(each, sampler, state, times[cut:]).x for each in (model, other))
    assert not torch.equal(expected, elsewhere)
    for more in range(1, len(times) - cut):
        half = continued(model, sampler, state, times[cut : cut + more])
        assert torch.equal(continued(other, sampler, state, times[cut:]).x, elsewhere)
        assert torch.equal(continued(model, sampler, half, times[cut + more :]).x, expected)


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
    last = finished(model, way.Unmask(way.LeftToRight(), cache=True, end_token=1), rows=40, steps=12)[-1].x
    plain = finished(model, way.Unmask(way.LeftToRight(), cache=True), rows=40, steps=12)[-1].x
    for row, free in zip(last.tolist(), plain.tolist(), strict=True):
        ended = row.index(1) if 1 in row else len(row)
        assert set(row[ended:]) <= {1}
        assert row[: ended + 1] == free[: ended + 1]


def test_a_denoiser_without_a_cache_is_refused():
    with pytest.raises(um.errors.UsageError, match="Unmask\\(cache=False\\)"):
        finished(BIDIRECTIONAL, way.Unmask(cache=True))
    with pytest.raises(um.errors.UsageError, match="Unmask\\(cache=False\\)"):
        finished(Temperature(BIDIRECTIONAL, 0.5), way.Unmask(cache=True))

"""Speculative decoding as a sampler: the law of one token a pass, in fewer passes, wherever a sampler goes."""

import itertools

import pytest
import torch
from drafting.tables import TableDrafter, chi_square
from truth.small_transformer import V, network

import unmelt as um
from unmelt.compare.speed import count_passes
from unmelt.condition import Condition
from unmelt.denoiser import Autoregressive, TokenDenoiser
from unmelt.drafting import Marginals, NGram, SpeculativeSampler
from unmelt.errors import UsageError
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.process import Mask
from unmelt.sampler import State, grid, sample
from unmelt.sampler.tokens import LeftToRight, Unmask

L = 4

PLAIN = Unmask(LeftToRight(), cache=True)


@pytest.fixture(scope="module")
def denoiser():
    return Autoregressive(network(1), Mask(V), (L,))


def law_of(denoiser, known=()):
    """The law of rows by the product of their conditionals."""
    texts = [(*known, *rest) for rest in itertools.product(range(V), repeat=L - len(known))]
    x = torch.tensor(texts)
    with torch.no_grad():
        each = denoiser(x, torch.zeros(len(x), dtype=torch.float64)).probabilities
    chance = each.gather(2, x[..., None])[..., 0][:, len(known) :].prod(1)
    return {text: p for text, p in zip(texts, chance.tolist(), strict=True) if p > 0}


DRAFTERS = {
    "lookup": lambda: NGram(),
    "table": lambda: TableDrafter(3),
    "marginals": lambda: Marginals(TokenDenoiser(network(None), Mask(V), (L,)), passes=2),
}


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("steps", [1, 4])
def test_the_frequencies_of_rows_are_the_models_law(denoiser, name, steps):
    sampler = SpeculativeSampler(DRAFTERS[name](), block=3)
    rows = sample(denoiser, rows=3000, shape=(L,), sampler=sampler, grid=grid.uniform(steps), seed=1)
    assert chi_square(rows.tolist(), law_of(denoiser)) < 80 + 4 * (2 * 80) ** 0.5


def test_temperature_nucleus_and_a_rule_are_part_of_the_law(denoiser):
    allowed = torch.ones(L, V, dtype=torch.bool)
    allowed[1, 0] = allowed[2, 1] = False
    changed = TopP(Temperature(AllowedTokens(denoiser, allowed), 0.8), 0.9)
    sampler = SpeculativeSampler(TableDrafter(3), block=3)
    rows = sample(changed, rows=3000, shape=(L,), sampler=sampler, grid=grid.uniform(L), seed=2)
    law = law_of(changed)
    assert chi_square(rows.tolist(), law) < len(law) + 4 * (2 * len(law)) ** 0.5


def test_a_row_is_the_same_in_any_batch_and_however_it_is_split(denoiser):
    sampler, process = SpeculativeSampler(TableDrafter(3), block=2), denoiser.process
    times = grid.uniform(3)(process.schedule)

    def start(seeds):
        x = torch.full((len(seeds), L), process.mask)
        return sampler.init(denoiser, x, torch.ones(len(seeds), dtype=torch.float64), um.rng.RowSeeds.of(seeds, len(x)))

    whole = start([5, 6, 7, 8])
    for s in times[1:]:
        whole = sampler.step(denoiser, whole, s.expand(4))
    parts = [start([5, 6]), start([7, 8])]
    parts = [sampler.step(denoiser, each, times[1].expand(2)) for each in parts]
    again = State.join(parts)[torch.tensor([3, 0, 1, 2])]
    for s in times[2:]:
        again = sampler.step(denoiser, again, s.expand(4))
    assert torch.equal(again.x, whole.x[torch.tensor([3, 0, 1, 2])])


def text_model(sampler, length=32):
    tokenizer = um.codec.Bytes()
    masks = um.process.Mask(tokenizer.vocabulary)
    backbone = network(1, length, tokenizer.vocabulary)
    return um.TextModel(
        denoiser=Autoregressive(backbone, masks, (length,)),
        codec=tokenizer,
        sampler=sampler,
        grid=um.grid.uniform(length),
    )


@pytest.mark.parametrize("steps", [None, 3])
def test_greedy_text_is_that_of_one_token_a_pass_in_fewer_passes(steps):
    plain, drafted = text_model(PLAIN), text_model(SpeculativeSampler(NGram(), block=4))
    how = {"prompt": ["abab", "a", ""], "temperature": 0.0, "steps": steps}
    with count_passes(plain.denoiser.backbone) as slow:
        truth = plain.sample(3, **how)
    with count_passes(drafted.denoiser.backbone) as fast:
        found = drafted.sample(3, **how)
    assert found == truth
    assert fast.rows < slow.rows


def test_known_tokens_in_between_stay_and_are_read():
    denoiser = Temperature(Autoregressive(network(1, 12), Mask(V), (12,)), 0.0)
    known = torch.full((3, 12), -1)
    known[0, 0], known[0, 4:6], known[1, 11], known[2, 3:9:2] = 2, torch.tensor([1, 2]), 0, 1
    how = {"rows": 3, "shape": (12,), "grid": grid.uniform(12), "condition": Condition(known_tokens=known), "seed": 1}
    truth = sample(denoiser, sampler=PLAIN, **how)
    for drafter in (NGram(), TableDrafter(3)):
        found = sample(denoiser, sampler=SpeculativeSampler(drafter, block=4), **how)
        assert torch.equal(found, truth)
        assert torch.equal(found[known >= 0], known[known >= 0])


def test_a_row_ends_with_its_end_token():
    plain = text_model(PLAIN)
    x = list(plain.trajectory(1, temperature=0.0, prompt="ab"))[-1].x[0].tolist()
    end = x[10]
    last = x.index(end, 2)
    ends = text_model(SpeculativeSampler(NGram(), block=4, end_token=end))
    found = list(ends.trajectory(1, temperature=0.0, prompt="ab"))[-1].x[0].tolist()
    assert found == x[: last + 1] + [end] * (len(x) - last - 1)


def test_what_it_cannot_sample_is_refused(denoiser):
    x, t, rng = torch.full((1, L), V), torch.ones(1, dtype=torch.float64), um.rng.RowSeeds.of(0, 1)
    sampler = SpeculativeSampler(NGram())
    with pytest.raises(UsageError, match="for a TokenDenoiser"):
        sampler.init(TokenDenoiser(network(None), Mask(V), (L,)), x, t, rng)
    rule = AllowedTokens(denoiser, lambda x: torch.ones(V, dtype=torch.bool))
    with pytest.raises(UsageError, match="for a AllowedTokens"):
        sampler.init(rule, x, t, rng)
    with pytest.raises(UsageError, match="with label"):
        sampler.init(denoiser, x, t, rng, Condition(label=torch.tensor([1])))
    with pytest.raises(UsageError, match="block=0"):
        SpeculativeSampler(NGram(), block=0)

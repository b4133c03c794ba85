"""Orders and paces rank by what the model believes, at every temperature: greedy rows are the enumerated ones."""

import itertools
import math
from collections import deque

import pytest
import torch
from truth.enumeration import NEAR, L, V, Wrong, far, sampled, times
from truth.small_transformer import network
from truth.test_token_ways import ORDERS, PACES, TELLING, apart, one, written

from unmelt.condition import Condition
from unmelt.denoiser import Blockwise
from unmelt.errors import UsageError
from unmelt.guidance import CFG, AllowedTokens, Temperature, TopP
from unmelt.inverse import Infill
from unmelt.posterior import Categorical
from unmelt.process import Mask, Uniform
from unmelt.rng import RowSeeds
from unmelt.sampler import Ancestral, Sampler, walk
from unmelt.sampler import tokens as way

MASKS = torch.full((L,), V)
COLD = [1e-4, 1e-20, 1e-300, 0.0]
PROMPT = torch.tensor([V, 1, V, V])


def greedy(model):
    """The law of the model's likeliest token, the first of equal ones."""

    def likeliest(row):
        p = model(torch.tensor([row]), times(0.5)).probabilities[0]
        return [[float(token == best) for token in range(V)] for best in p.argmax(-1).tolist()]

    return likeliest


def decoded(denoiser, sampler, x=MASKS, rows=3, condition=None):
    """The rows that a sampler writes from x in as many steps as there are positions."""
    at = torch.ones(rows, dtype=torch.float64)
    state = sampler.init(denoiser, x.expand(rows, L), at, RowSeeds.of(7, rows), condition)
    return deque(walk(denoiser, sampler, state, [at * k / L for k in range(L - 1, -1, -1)]), maxlen=1).pop().x


def index(rows):
    return (rows * torch.tensor([V ** (L - 1 - k) for k in range(L)])).sum(1)


@pytest.mark.parametrize("temperature", COLD)
@pytest.mark.parametrize("block", [L, 2])
@pytest.mark.parametrize(("pace", "chosen"), PACES, ids=[str(pace) for pace, _ in PACES])
@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_greedy_rows_are_written_in_the_order_and_at_the_pace_of_the_belief(order, pace, chosen, block, temperature):
    for seed in range(TELLING, TELLING + 6):
        model = Wrong(Mask(V), seed)
        expected, _ = written(model, order, chosen, block=block, drawn=greedy(model))
        assert expected.max() == 1
        found = decoded(Temperature(model, temperature), way.Unmask(order, pace, block=block))
        assert index(found).tolist() == [int(expected.argmax())] * 3


def test_greedy_rows_depend_on_order_and_pace():
    """Each test above can fail: over a few models no two orders or paces write the same, nor do they left to right."""
    models = [Wrong(Mask(V), seed) for seed in range(TELLING, TELLING + 40)]

    def rows(order, chosen):
        return [int(written(model, order, chosen, drawn=greedy(model))[0].argmax()) for model in models]

    def reading(order, places, p):
        return places[:1]

    every = [rows(order(), one) for order in ORDERS] + [rows(way.Confidence(), chosen) for _, chosen in PACES[1:]]
    assert all(a != b for a, b in itertools.combinations([*every, rows(way.Confidence(), reading)], 2))


@pytest.mark.parametrize("temperature", [0.25, 4.0])
@pytest.mark.parametrize(("pace", "chosen"), PACES, ids=[str(pace) for pace, _ in PACES])
def test_a_temperature_changes_what_is_drawn_and_not_the_order(pace, chosen, temperature):
    model = Wrong(Mask(V), TELLING)

    def tempered(row):
        return (model(torch.tensor([row]), times(0.5)).logits / temperature).softmax(-1)[0].tolist()

    expected, _ = written(model, way.NegativeEntropy(), chosen, drawn=tempered)
    found = sampled(Temperature(model, temperature), way.Unmask(way.NegativeEntropy(), pace), L)
    assert far(found, expected) < NEAR
    ranked_by_tempered, _ = written(Temperature(model, temperature), way.NegativeEntropy(), chosen)
    assert far(ranked_by_tempered, expected) > 2 * NEAR


@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_nucleus_and_minimal_distance_rank_by_the_whole_belief(order):
    everything = apart(2, lambda order, places, p: places)
    for seed in range(TELLING, TELLING + 6):
        model = Wrong(Mask(V), seed)
        expected = int(written(model, order, one, drawn=greedy(model))[0].argmax())
        for narrow in (TopP(model, 1e-6), TopP(Temperature(model, 1e-4), 0.9), Temperature(TopP(model, 0.5), 0.0)):
            assert index(decoded(narrow, way.Unmask(order))).tolist() == [expected] * 3
        spaced = int(written(model, order, everything, drawn=greedy(model))[0].argmax())
        sampler = way.Unmask(order, way.Threshold(1e-9), min_distance=2)
        assert index(decoded(Temperature(model, 0.0), sampler)).tolist() == [spaced] * 3


class Ruled:
    """A belief without some tokens, normalised: what `AllowedTokens` makes of it, by hand."""

    def __init__(self, model, may):
        self.model, self.may, self.process, self.shape = model, may, model.process, model.shape

    def __call__(self, x_t, t, condition=None):
        p = self.model(x_t, t).probabilities * self.may
        return Categorical((p / p.sum(-1, keepdim=True)).log())


@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
@pytest.mark.parametrize("temperature", [1e-4, 0.0])
def test_constraints_count_for_ranking_inside_and_outside_of_a_temperature(order, temperature):
    may = torch.tensor([[True, True, False], [True, True, True], [False, True, True], [True, True, False]])
    for seed in range(TELLING, TELLING + 6):
        model = Wrong(Mask(V), seed)
        ruled = Ruled(model, may)
        expected = int(written(ruled, order, one, drawn=greedy(ruled))[0].argmax())
        inside = Temperature(AllowedTokens(model, may), temperature)
        outside = AllowedTokens(Temperature(model, temperature), may)
        for denoiser in (inside, outside):
            assert index(decoded(denoiser, way.Unmask(order))).tolist() == [expected] * 3


class Labelled:
    """Another belief under the null condition, for guidance."""

    process, shape = Mask(V), (L,)

    def __init__(self, seed):
        self.conditional, self.null = Wrong(self.process, seed), Wrong(self.process, seed + 100)

    def __call__(self, x_t, t, condition=None):
        told = condition is not None and condition.is_given("label") is None
        return (self.conditional if told else self.null)(x_t, t)


def test_guidance_counts_for_ranking_and_a_temperature_around_or_inside_of_it_does_not():
    labels = Condition(label=torch.zeros(3, dtype=torch.int64))
    for seed in range(TELLING, TELLING + 6):
        model = Labelled(seed)

        class Guided:
            process, shape = Mask(V), (L,)

            def __call__(self, x_t, t, condition=None, model=model):
                p, null = (each(x_t, t).log_probabilities for each in (model.conditional, model.null))
                return Categorical(null + 3 * (p - null))

        expected = int(written(Guided(), way.Confidence(), one, drawn=greedy(Guided()))[0].argmax())
        for denoiser in (Temperature(CFG(model, 3.0), 0.0), CFG(Temperature(model, 1e-4), 3.0)):
            assert index(decoded(denoiser, way.Unmask(), condition=labels)).tolist() == [expected] * 3


@torch.no_grad()
@pytest.mark.parametrize(("pace", "chosen"), PACES, ids=[str(pace) for pace, _ in PACES])
@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_a_greedy_row_from_a_cache_is_the_enumerated_one(order, pace, chosen):
    blocks = Blockwise(network(2), Mask(V), (L,))
    expected, _ = written(blocks, order, chosen, block=2, drawn=greedy(blocks))
    for temperature in COLD:
        found = decoded(Temperature(blocks, temperature), way.Unmask(order, pace, cache=True))
        assert index(found).tolist() == [int(expected.argmax())] * 3


@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_greedy_gaps_are_filled_in_the_order_of_the_belief(order):
    known = Condition(known_tokens=torch.where(PROMPT < V, PROMPT, -1).expand(3, L))
    for seed in range(TELLING, TELLING + 6):
        model = Wrong(Mask(V), seed)
        expected = int(written(model, order, one, x=PROMPT, drawn=greedy(model))[0].argmax())
        for denoiser in (Temperature(model, 0.0), Infill(Temperature(model, 0.0))):
            found = decoded(denoiser, way.Unmask(order), PROMPT, condition=known)
            assert index(found).tolist() == [expected] * 3


@pytest.mark.parametrize("temperature", [0.0, 1e-320])
def test_temperature_0_draws_the_likeliest_token_and_the_first_of_equal_ones(temperature):
    model = Wrong(Uniform(V))
    x = torch.zeros(50, L, dtype=torch.int64)
    cold = Temperature(model, temperature)(x, torch.ones(50))
    assert torch.equal(cold.probabilities.argmax(-1), model(x, None).logits.argmax(-1))
    assert torch.equal(cold.probabilities.amax(-1), torch.ones(50, L, dtype=torch.float64))
    assert torch.equal(cold.ranking_probabilities, model(x, None).probabilities)

    class Even:
        process, shape = Mask(V), (L,)

        def __call__(self, x_t, t, condition=None):
            return Categorical(torch.tensor([-math.inf, 2e30, 2e30]).expand(len(x_t), L, V))

    if temperature == 0:
        assert (decoded(Temperature(Even(), 0.0), way.FirstHitting(), rows=20) == 1).all()


NOTHING = [math.nan, math.inf, -math.inf]
SAMPLERS = [
    *(way.Unmask(order()) for order in (*ORDERS, way.Random, way.LeftToRight)),
    *(way.Unmask(pace=pace) for pace, _ in PACES),
    way.Unmask(way.Random(), way.Threshold(0.5), block=2, min_distance=2),
    way.FirstHitting(),
    way.Remask(),
    Ancestral(),
    way.PredictorCorrector(),
    way.PredictorCorrector(way.Unmask()),
]


class Broken:
    """A belief of which position 2 is no distribution while it is not written."""

    shape = (L,)

    def __init__(self, process, value):
        self.process, self.value = process, value

    def __call__(self, x_t, t, condition=None):
        logits = torch.zeros(len(x_t), L, V)
        logits[:, 2] = self.value
        return Categorical(logits)


@pytest.mark.parametrize("value", NOTHING)
@pytest.mark.parametrize(
    ("process", "sampler"),
    [(Mask(V), sampler) for sampler in SAMPLERS]
    + [(Uniform(V), sampler) for sampler in (Ancestral(), way.PredictorCorrector())],
    ids=str,
)
def test_every_sampler_refuses_a_belief_that_is_no_distribution_and_says_where(process, sampler: Sampler, value):
    for denoiser in (Broken(process, value), Temperature(Broken(process, value), 0.5)):
        x = process.prior((3, L), RowSeeds.of(1, 3))
        at = torch.ones(3, dtype=torch.float64)
        state = sampler.init(denoiser, x, at, RowSeeds.of(7, 3))
        with pytest.raises(UsageError, match=r"position 2, t = "):
            deque(walk(denoiser, sampler, state, [at * k / L for k in range(L - 1, -1, -1)]), maxlen=1)


def test_a_cached_block_with_no_distribution_is_refused_at_its_position_in_the_row():
    blocks = Blockwise(network(2), Mask(V), (L,))
    with torch.no_grad():
        next(blocks.parameters()).fill_(math.nan)
    with pytest.raises(UsageError, match="position 3"):
        decoded(blocks, way.Unmask(cache=True), torch.tensor([0, 1, 2, V]))


class Lowest(way.Order):
    """An order that says nothing."""

    def rank(self, law, u):
        return torch.full_like(u, -math.inf)


class Nobody(way.Pace):
    """A pace that chooses nobody."""

    def chosen(self, law, due):
        return torch.zeros(law.shape[:2], dtype=torch.bool)


def test_orders_and_paces_that_choose_nothing_still_end():
    model = Wrong(Mask(V))
    for sampler in (way.Unmask(Lowest()), way.Unmask(pace=Nobody()), way.Unmask(Lowest(), Nobody(), block=2)):
        assert (decoded(model, sampler, torch.tensor([0, V, 1, V])) < V).all()

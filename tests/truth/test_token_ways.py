"""Samplers of tokens against their exact laws: orders, paces and steps, by enumeration of all that can be drawn."""

import itertools
import math

import pytest
import torch
from truth.enumeration import NEAR, SEQUENCES, L, V, Wrong, far, final, law, nelbo, sampled, states, times, walked

from unmelt.condition import Condition
from unmelt.denoiser import ExactTokenDenoiser
from unmelt.guidance import CFG
from unmelt.objective.nelbo import mask_rate, rate
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import Stream
from unmelt.sampler import Ancestral
from unmelt.sampler import tokens as way

PROCESSES = [Mask(V), Uniform(V), Blend(V, masks=0.6)]
MASKS = torch.full((L,), V)
TELLING = 34  # a model of which all orders and paces make different laws


def leading(p):
    """The score of a belief under each order."""
    first, second = sorted(p, reverse=True)[:2]
    return first, first - second, sum(x * math.log(x) for x in p if x)


def entropy(p):
    return -leading(p)[2]


ORDERS = {way.Confidence: 0, way.Margin: 1, way.NegativeEntropy: 2}


def one(order, places, p):
    """The first in order."""
    return sorted(places, key=lambda place: -leading(p[place])[ORDERS[type(order)]])[:1]


def at_least(least):
    def chosen(order, places, p):
        sure = [place for place in places if max(p[place]) >= least]
        return sure or one(order, places, p)

    return chosen


def losing_less_than(nats):
    """The most of the first in order of which all entropies but the largest stay below."""

    def chosen(order, places, p):
        ranked = sorted(places, key=lambda place: -leading(p[place])[ORDERS[type(order)]])
        for count in range(len(ranked), 0, -1):
            entropies = [entropy(p[place]) for place in ranked[:count]]
            if sum(entropies) - max(entropies) <= nats:
                return ranked[:count]
        return ranked[:1]

    return chosen


def apart(distance, chosen):
    """The same among places that come before all that are closer to them."""

    def here(order, places, p):
        def first(place):
            near = [other for other in places if abs(other - place) < distance]
            return one(order, near, p) == [place]

        return chosen(order, [place for place in places if first(place)], p)

    return here


def written(model, order, chosen, x=MASKS, block=L, drawn=None):
    """The law of the rows that are written from x, and the mean number of passes.

    `drawn` maps a row to the probabilities that tokens are drawn with; None: the model's, which rank the places.
    """
    found, passes, open_rows = torch.zeros(V**L, dtype=torch.float64), 0.0, {tuple(x.tolist()): 1.0}
    while open_rows:
        after = {}
        for row, chance in open_rows.items():
            masked = [place for place in range(L) if row[place] == V]
            if not masked:
                found[sum(token * V ** (L - 1 - place) for place, token in enumerate(row))] += chance
                continue
            passes += chance
            places = [place for place in masked if place // block == masked[0] // block]
            p = model(torch.tensor([row]), times(0.5)).probabilities[0].tolist()
            here = chosen(order, places, p)
            q = p if drawn is None else drawn(row)
            for tokens in itertools.product(range(V), repeat=len(here)):
                new = list(row)
                for place, token in zip(here, tokens, strict=True):
                    new[place] = token
                share = math.prod(q[place][token] for place, token in zip(here, tokens, strict=True))
                if share > 0:
                    after[tuple(new)] = after.get(tuple(new), 0.0) + chance * share
        open_rows = after
    return found, passes


PACES = [
    (way.Scheduled(), one),
    (way.Threshold(0.75), at_least(0.75)),
    (way.EntropyBound(0.5), losing_less_than(0.5)),
]


@pytest.mark.parametrize("block", [L, 2])
@pytest.mark.parametrize(("pace", "chosen"), PACES, ids=[str(pace) for pace, _ in PACES])
@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_unmask_samples_the_enumerated_law_of_its_order_and_pace(order, pace, chosen, block):
    model = Wrong(Mask(V), TELLING)
    expected, passes = written(model, order, chosen, block=block)
    assert expected.sum() == pytest.approx(1, abs=1e-12)
    assert far(sampled(model, way.Unmask(order, pace, block=block), L), expected) < NEAR
    assert passes == pytest.approx(L) if chosen is one else passes < L + 1e-9 - (block == L) * 0.01


@pytest.mark.parametrize("distance", [2, 3])
@pytest.mark.parametrize("order", [kind() for kind in ORDERS], ids=str)
def test_tokens_of_one_call_keep_the_minimal_distance(order, distance):
    model, everything = Wrong(Mask(V), TELLING), lambda order, places, p: places
    expected, passes = written(model, order, apart(distance, everything))
    found = sampled(model, way.Unmask(order, way.Threshold(1e-9), min_distance=distance), L)
    assert far(found, expected) < NEAR
    assert 2 <= passes < L


def test_a_minimal_distance_of_the_rows_length_is_one_token_per_call():
    model = Wrong(Mask(V), TELLING)
    for order in (kind() for kind in ORDERS):
        found = sampled(model, way.Unmask(order, way.Threshold(1e-9), min_distance=L), L)
        assert far(found, written(model, order, one)[0]) < NEAR


def test_the_enumerated_laws_differ_from_one_another():
    """By more than the draws may show: each test above can fail."""
    model, everything = Wrong(Mask(V), TELLING), lambda order, places, p: places
    laws = [written(model, order(), one)[0] for order in ORDERS]
    laws += [written(model, way.Confidence(), chosen)[0] for _, chosen in PACES[1:]]
    laws += [written(model, way.Confidence(), apart(distance, everything))[0] for distance in (1, 2, 3)]
    assert min(far(a, b) for a, b in itertools.combinations(laws, 2)) > 2 * NEAR


@pytest.mark.parametrize("process", PROCESSES, ids=str)
@pytest.mark.parametrize("steps", [2, 5])
def test_ancestral_samples_match_the_enumerated_law(process, steps):
    model = Wrong(process)
    expected = final(process, walked(model, torch.linspace(1, 0, steps + 1).tolist()))
    assert far(sampled(model, Ancestral(), steps), expected) < NEAR


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_the_nelbo_bounds_every_sequence_and_is_tight_for_an_exact_denoiser(process):
    """-log p of what is sampled in ever finer steps stays below the bound; of the exact denoiser, the two are one."""
    table, wrong = ExactTokenDenoiser(law().sqrt(), process), Wrong(process)
    torch.testing.assert_close(nelbo(table, rate, process.schedule), -table.law.flatten().log(), rtol=2e-3, atol=0)
    coarse, fine = (final(process, walked(wrong, torch.linspace(1, 0, n + 1).tolist())) for n in (64, 128))
    p = 2 * fine - coarse  # the limit, but for the square of a step
    bound = nelbo(wrong, rate, process.schedule)
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert (bound > -p.log()).all()
    assert (bound + p.log()).max() > 0.1  # of beliefs that fit no law


@pytest.mark.parametrize("t", [0.9, 0.5, 0.02])
def test_score_entropy_of_masks_is_cross_entropy_at_every_position(t):
    process, every = Mask(V), states(Mask(V))
    belief, rows = Wrong(process)(every, None), torch.full((len(every),), t, dtype=torch.float64)
    for x0 in SEQUENCES[::7]:
        fits = ((every == x0) | (every == V)).all(1)
        seen = (process, every[fits], x0.expand(int(fits.sum()), L), Categorical(belief.logits[fits]), rows[fits])
        torch.testing.assert_close(rate(*seen), mask_rate(*seen), rtol=1e-12, atol=1e-12)
        miss = -belief.log_probabilities[fits][:, torch.arange(L), x0] * (every[fits] == V) / t  # alpha is 1 - t
        torch.testing.assert_close(mask_rate(*seen), miss, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [way.FirstHitting(), way.Unmask(way.Random())], ids=str)
@pytest.mark.parametrize("known", [(0,), (3,), (1, 2), (0, 1, 3)])
def test_infilling_samples_the_exact_conditional_wherever_the_gaps_are(sampler, known):
    table, tokens = ExactTokenDenoiser(law(2), Mask(V)), torch.tensor([2, 0, 1, 0])
    there = torch.zeros(L, dtype=torch.bool)
    there[list(known)] = True
    found = sampled(table, sampler, L, x=torch.where(there, tokens, V))
    assert far(found, table.given(tokens, there).law.flatten()) < NEAR


class Told:
    """Another belief for each label."""

    process, shape = Mask(V), (L,)

    def __call__(self, x_t, t, condition=None):
        belief = Wrong(self.process)(x_t, t).logits
        told = condition is not None and condition.label is not None and condition.is_given("label") is None
        label = 1.0 + condition.label if told else torch.zeros(len(x_t))
        return Categorical(belief * (1 + label.to(belief).view(-1, 1, 1)))


def test_guidance_scale_1_is_bitwise_unguided_and_others_match_the_formula():
    told, x = Told(), states(Mask(V))
    label = Condition(label=torch.arange(len(x)) % 2)
    t = torch.full((len(x),), 0.5, dtype=torch.float64)
    plain, null = told(x, t, label), told(x, t)
    assert torch.equal(CFG(told, 1.0)(x, t, label).logits, plain.logits)
    more = CFG(told, 2.5)(x, t, label).probabilities
    by_hand = plain.probabilities**2.5 / null.probabilities**1.5
    torch.testing.assert_close(more, by_hand / by_hand.sum(-1, keepdim=True))


def test_tokens_of_probability_1e_9_are_drawn_at_their_quantiles():
    """At an unmasking rate of 1e-4 a vocabulary of thousands has tokens this rare; in float32 they would never come."""
    rare = 1e-9
    belief = Categorical(torch.tensor([[[rare, 1 - 3 * rare, 2 * rare]]], dtype=torch.float64).log().float())
    quantiles = torch.tensor(
        [0.0, 0.9 * rare, 1.1 * rare, 1 - 2.2 * rare, 1 - 1.8 * rare, 1 - 1e-12], dtype=torch.float64
    )
    many = Categorical(belief.logits.expand(len(quantiles), 1, V))
    x = many.write(
        torch.full((len(quantiles), 1), V), torch.ones(len(quantiles), 1, dtype=torch.bool), quantiles[:, None]
    )
    assert x[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert Stream(0).uniform((1000,), torch.float64).mul(2**24).frac().ne(0).all()  # finer than float32 has them


def test_when_a_mask_is_unmasked_does_not_depend_on_the_belief():
    process, rows = Mask(V), 300_000
    t = torch.ones(rows, dtype=torch.float64)
    x = torch.full((rows, L), V)
    flat, sharp = (
        Categorical(logits.expand(rows, L, V)) for logits in (torch.zeros(V), torch.tensor([0.0, 30.0, 0.0]))
    )
    fallen = [process.bridge(x, belief, t, t - 1e-4, Stream(1)) < V for belief in (flat, sharp)]
    assert torch.equal(*fallen)
    assert fallen[0].any()

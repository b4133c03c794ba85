"""Beliefs whose tokens depend on each other: what is written has the law of the conditionals, by enumeration."""

import itertools
import math

import pytest
import torch
from torch import nn

from unmelt.backbone import TokenHead, Transformer
from unmelt.condition import Condition
from unmelt.denoiser import JointTokenDenoiser
from unmelt.errors import UsageError
from unmelt.guidance import CFG, AllowedTokens, Temperature, TopP
from unmelt.inverse import Infill
from unmelt.model.row_chunks import RowChunks
from unmelt.posterior import Categorical, draw_order
from unmelt.process import Mask, Uniform
from unmelt.rng import Stream, seeded
from unmelt.sampler import Ancestral, grid, sample
from unmelt.sampler import tokens as way

V, L, ROWS = 3, 3, 15_000
SEQUENCES = torch.cartesian_prod(*[torch.arange(V)] * L)
NEAR = 0.017


@pytest.fixture(autouse=True)
def no_rounding(monkeypatch):
    """Beliefs are rounded to float32 on their way out of a network; here they are not."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def joint(seed=3, shape=(L,), coordinates=None, classes=0):
    """A denoiser with a head, of random weights far from zero."""
    with seeded(seed):
        sizes = {"vocabulary": V, "width": 8, "heads": 2, "coordinates": coordinates}
        backbone = Transformer(input_vocabulary=V + 1, length=math.prod(shape), depth=1, classes=classes, **sizes)
        made = JointTokenDenoiser(backbone, TokenHead(**sizes), Mask(V), shape)
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.8)
    return made.double().eval()


def zeros(rows):
    return torch.ones(rows, dtype=torch.float64)


def chain(belief_of, x_t):
    """The law of what one call writes into the masks of a row, by the product of its conditionals in turn."""
    places = draw_order(L)[(x_t == V)[draw_order(L)]]
    total = torch.zeros(V**L, dtype=torch.float64)
    for number, x0 in enumerate(SEQUENCES):
        if (x0 != x_t)[x_t != V].any():
            continue
        x, done, chance = x_t.clone(), torch.zeros(L, dtype=torch.bool), 1.0
        belief = belief_of(x_t)
        for place in places:
            logits = belief.given(torch.zeros(1, dtype=torch.int64), place[None], x[None], done[None])
            chance *= logits[0].softmax(-1)[x0[place]].item()
            x[place], done[place] = x0[place], True
        total[number] = chance
    return total


def counts(x):
    return torch.bincount((x * torch.tensor([V**k for k in range(L - 1, -1, -1)])).sum(1), minlength=V**L) / len(x)


def far(found, expected):
    return (found - expected).abs().sum().item() / 2


def written(model, x_t, seed=0, condition=None):
    x = x_t.expand(ROWS, L)
    with torch.no_grad():
        belief = model(x, zeros(ROWS), condition)
    return belief.write(x, x == V, Stream(seed).uniform(x.shape, torch.float64))


@pytest.mark.parametrize("x_t", [[V, V, V], [V, 1, V]], ids=str)
def test_what_is_written_has_the_law_of_the_conditionals(x_t):
    model, x_t = joint(), torch.tensor(x_t)
    expected = chain(lambda x: model(x[None], zeros(1)), x_t)
    assert expected.sum().item() == pytest.approx(1)
    assert far(counts(written(model, x_t)), expected) < NEAR
    marginals = model(x_t[None], zeros(1)).probabilities[0]
    product = torch.stack([marginals[k, SEQUENCES[:, k]] for k in range(L) if x_t[k] == V]).prod(0)
    product = torch.where(((x_t == SEQUENCES) | (x_t == V)).all(1), product, 0.0)
    assert far(product, expected) > 10 * NEAR


def test_conditionals_are_what_the_head_says_of_the_tokens_that_are_drawn():
    model, x_t = joint(), torch.tensor([[V, V, V], [V, 2, V]])
    x0 = torch.tensor([[1, 0, 2], [0, 2, 1]])
    for masks in itertools.product([False, True], repeat=L):
        drawn = torch.tensor(masks).expand(2, L) & (x_t == V)
        where = (x_t == V) & ~drawn
        logits = model.logits_given(x_t, x0, drawn, where, zeros(2)).logits
        belief = model(x_t, zeros(2))
        rows, places = where.nonzero(as_tuple=True)
        flat = torch.where(drawn, x0, V)
        torch.testing.assert_close(logits, belief.given(rows, places, flat[rows], drawn[rows]), rtol=0, atol=1e-12)
        marginal = model.logits_at(x_t, where, zeros(2)).logits
        torch.testing.assert_close(marginal, belief.logits[where], rtol=0, atol=1e-12)
        alone = ~drawn.any(1)[rows]
        assert torch.equal((logits - marginal).abs().amax(-1) < 1e-9, alone)
    drawn = torch.tensor([[True, False, False], [False, False, False]])  # rows with and without, in one call
    where = (x_t == V) & ~drawn
    logits = model.logits_given(x_t, x0, drawn, where, zeros(2)).logits
    first = model.logits_given(x_t[:1], x0[:1], drawn[:1], where[:1], zeros(1)).logits
    torch.testing.assert_close(logits, torch.cat([first, model(x_t, zeros(2)).logits[1][where[1]]]), rtol=0, atol=1e-12)


def test_the_head_is_its_formula_written_out():
    coordinates = [(0, 0), (0, 1), (1, 0), (1, 1)]
    with seeded(1):
        head = TokenHead(vocabulary=V, width=8, heads=2, coordinates=coordinates).double()
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.7)
    draws = torch.Generator().manual_seed(0)
    f = torch.randn(1, 4, 8, dtype=torch.float64, generator=draws)
    x, drawn = torch.tensor([[2, 0, 1, 2]]), torch.tensor([[True, False, True, False]])

    def norm(h):
        return h / (h.square().mean(-1, keepdim=True) + torch.finfo(torch.float64).eps).sqrt()

    def turned(h, place):
        """Two planes of each head: the first turns with the row, the second with the column, both at frequency 1."""
        a, b = h[:2], h[2:]
        angle = torch.tensor(coordinates[place], dtype=torch.float64)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()])

    q, k, v = (head.project.weight @ f[0].T).T.chunk(3, 1)
    table_k, table_v, table_n = head.tokens.weight.chunk(3, 1)
    found = head(head.projected(f), x, drawn, torch.arange(4)[None])[0]
    for place in range(4):
        heads = []
        for number in range(2):
            own = slice(4 * number, 4 * number + 4)
            query = turned(norm(q[place, own]), place)
            keys = [turned(norm(k[j, own] + table_k[x[0, j], own]), j) for j in (0, 2)]
            scores = torch.stack([head.nothing[own] @ query, *(key @ query for key in keys)]) / 2
            weight = scores.softmax(0)
            heads.append(sum(weight[1 + n] * (v[j] + table_v[x[0, j]])[own] for n, j in enumerate((0, 2))))
        h = f[0, place] + head.attended.weight @ torch.cat(heads)
        if place - 1 in (0, 2):
            h = h + head.left.weight @ table_n[x[0, place - 1]]
        if place + 1 in (0, 2):
            h = h + head.right.weight @ table_n[x[0, place + 1]]
        gate, through = (head.up.weight @ norm(h)).chunk(2)
        expected = norm(h + head.down.weight @ (nn.functional.silu(gate) * through))
        torch.testing.assert_close(found[place], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(head(head.projected(f), x, drawn, torch.tensor([[3, 1]]))[0], found[[3, 1]])


def test_temperature_nucleus_and_rules_change_every_draw():
    model, x_t = joint(), torch.tensor([V, V, V])
    may = torch.tensor([[True, True, False], [True, True, True], [False, True, True]])
    plain = model(x_t[None], zeros(1))

    def law(change):
        total = torch.zeros(V**L, dtype=torch.float64)
        for number, x0 in enumerate(SEQUENCES):
            x, done, chance = x_t.clone(), torch.zeros(L, dtype=torch.bool), 1.0
            for place in draw_order(L).tolist():
                logits = plain.given(torch.zeros(1, dtype=torch.int64), torch.tensor([place]), x[None], done[None])[0]
                chance *= change(logits, place)[x0[place]].item()
                x[place], done[place] = x0[place], True
            total[number] = chance
        return total

    def nucleus(logits, _):
        p = logits.softmax(-1)
        order = p.argsort(descending=True)
        kept = order[: int((p[order].cumsum(0) < 0.7).sum()) + 1]
        return torch.zeros_like(p).scatter(0, kept, p[kept]) / p[kept].sum()

    cases = {
        "tempered": (Temperature(model, 0.5), lambda logits, _: (logits / 0.5).softmax(-1)),
        "nucleus": (TopP(model, 0.7), nucleus),
        "rule": (AllowedTokens(model, may), lambda logits, k: logits.where(may[k], -torch.inf).softmax(-1)),
    }
    for name, (changed, change) in cases.items():
        expected = law(change)
        assert far(counts(written(changed, x_t)), expected) < NEAR, name
        assert far(chain(lambda x, c=changed: c(x[None], zeros(1)), x_t), expected) < 1e-9
    ranked = Temperature(model, 0.5)(x_t[None], zeros(1)).ranking_probabilities
    torch.testing.assert_close(ranked, plain.probabilities, rtol=0, atol=1e-9)


def test_guidance_extrapolates_every_conditional():
    model = joint(classes=2)
    x_t, label = torch.tensor([[V, V, V]]), Condition(label=torch.tensor([1]))
    for scale in (2.0, torch.tensor([2.0], dtype=torch.float64)):
        known = label if isinstance(scale, float) else Condition(label=torch.tensor([1]), guidance_scale=scale)
        belief = CFG(model, scale if isinstance(scale, float) else 1.0)(x_t, zeros(1), known)
        with_label, without = (model(x_t, zeros(1), each) for each in (label, label.null()))
        at = (torch.tensor([0]), torch.tensor([2]), torch.tensor([[1, 0, V]]), torch.tensor([[True, True, False]]))
        own, null = (each.given(*at).log_softmax(-1) for each in (with_label, without))
        expected = (null + 2.0 * (own - null)).softmax(-1)
        torch.testing.assert_close(belief.given(*at).softmax(-1), expected, rtol=0, atol=1e-9)
    half = with_label.lerp(Categorical(without.logits), 0.5)  # with a belief whose positions are independent
    own, null = with_label.given(*at).log_softmax(-1), without.logits[0, 2].log_softmax(-1)
    torch.testing.assert_close(half.given(*at).softmax(-1), (0.5 * own + 0.5 * null).softmax(-1), rtol=0, atol=1e-9)


def test_chunks_of_rows_are_the_rows():
    model = joint()
    x_t = torch.full((5, L), V)
    x_t[1, 0] = x_t[4, 2] = 1
    whole, parts = model(x_t, zeros(5)), RowChunks(model, 2)(x_t, zeros(5))
    rows, places = torch.tensor([4, 1, 2]), torch.tensor([1, 2, 0])
    at = (
        rows,
        places,
        torch.tensor([[2, V, 1], [1, 0, V], [V, 0, 1]]),
        torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 1]]) > 0,
    )
    torch.testing.assert_close(parts.given(*at), whole.given(*at), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (1, 3)], ids=str)
@pytest.mark.parametrize(
    "sampler", [Ancestral(), way.Unmask(way.LeftToRight()), way.Unmask(way.Random()), way.Remask(0.0)], ids=str
)
def test_one_step_of_every_sampler_that_writes_all_has_the_law_of_the_conditionals(sampler, shape):
    coordinates = None if len(shape) == 1 else [(0, 0), (0, 1), (0, 2)]
    model = joint(shape=shape, coordinates=coordinates)
    line = joint(coordinates=coordinates)
    expected = chain(lambda x: line(x[None], zeros(1)), torch.tensor([V, V, V]))
    x = torch.cat([sample(model, rows=3000, sampler=sampler, grid=grid.uniform(1), seed=seed) for seed in range(2)])
    assert x.shape == (6000, *shape)
    assert far(counts(x.flatten(1)), expected) < 0.03


def test_a_row_does_not_depend_on_its_batch_and_known_tokens_stay():
    model = joint()
    x = sample(model, rows=6, sampler=Ancestral(), grid=grid.uniform(2), seed=4)
    assert torch.equal(sample(model, rows=2, sampler=Ancestral(), grid=grid.uniform(2), seed=4), x[:2])
    known = torch.tensor([[-1, 2, -1]])
    expected = chain(lambda x: model(x[None], zeros(1)), torch.tensor([V, 2, V]))
    for sampler in (Ancestral(), way.Remask(0.0)):
        condition = Condition(known_tokens=known.expand(6000, L))
        x = sample(Infill(model), rows=6000, sampler=sampler, grid=grid.uniform(1), seed=1, condition=condition)
        assert (x[:, 1] == 2).all()
        assert far(counts(x), expected) < 0.03


def test_impossible_beliefs_say_where_and_other_processes_are_refused():
    model, x_t = joint(), torch.tensor([[V, V, V]])
    belief = model(x_t, zeros(1)).changed(
        lambda logits, at: torch.where(at(torch.tensor([[[False], [False], [True]]])), -torch.inf, logits)
    )
    with pytest.raises(UsageError, match=r"no token is possible, at position 2, t = 1"):
        belief.write(x_t, x_t == V, torch.full((1, L), 0.5, dtype=torch.float64), zeros(1))
    with pytest.raises(UsageError, match="a Mask object"):
        JointTokenDenoiser(model.backbone, model.head, Uniform(V), (L,))


def test_tokens_are_drawn_in_an_order_that_spreads_them():
    for n in (1, 2, 7, 128):
        order = draw_order(n)
        assert sorted(order.tolist()) == list(range(n))
    first = draw_order(128)[:16].sort().values
    assert first.diff().max() <= 13
    assert first.diff().min() >= 5

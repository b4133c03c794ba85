"""The law of what is written is the verifier's, by enumeration of every draft and of every branch."""

import itertools
import math

import pytest
import torch
from drafting.tables import (
    TableDrafter,
    TableVerifier,
    V,
    branches,
    far,
    generator,
    law_of_text,
    marginal_drafts,
    own_law,
    random_logits,
)

from unmelt.drafting import Draft, acceptance, verify
from unmelt.drafting.any_order import law_of_passes
from unmelt.drafting.draft import checked_draft
from unmelt.drafting.verification import written_law
from unmelt.errors import UsageError

EXACT = 1e-12


def plain(logits):
    return logits.softmax(-1)


def cut(temperature, top_p):
    """Temperature, then the nucleus, as the code has them; and written out in Python."""

    def by_code(logits):
        return written_law(logits[None, None], temperature, top_p)[0, 0]

    def by_hand(logits):
        law = (logits / temperature).softmax(-1).tolist()
        kept, total = [], 0.0
        for token in sorted(range(V), key=lambda token: -law[token]):
            if total < top_p:
                kept.append(token)
            total += law[token]
        mass = sum(law[token] for token in kept)
        return torch.tensor([law[token] / mass if token in kept else 0.0 for token in range(V)], dtype=torch.float64)

    return by_code, by_hand


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("ruled_out", [0.0, 0.4])
def test_marginals_write_the_verifiers_law(k, ruled_out):
    verifier = TableVerifier(1, ruled_out=ruled_out)
    drafter = TableDrafter(2, ruled_out=ruled_out)
    truth = own_law(verifier, plain)
    assert far(law_of_text(verifier, plain, marginal_drafts(drafter, k)), truth) < EXACT
    assert (
        far(law_of_text(verifier, plain, marginal_drafts(drafter, k), end=1), own_law(verifier, plain, end=1)) < EXACT
    )
    assert far(law_of_text(verifier, plain, marginal_drafts(drafter, k)), own_law(TableVerifier(3), plain)) > 0.1


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (1.0, 0.7), (2.0, 0.6), (0.7, 0.3)])
def test_temperature_and_top_p_of_the_verifier_are_part_of_its_law(temperature, top_p):
    verifier, (by_code, by_hand) = TableVerifier(4), cut(temperature, top_p)
    found = law_of_text(verifier, by_code, marginal_drafts(TableDrafter(5), 2))
    assert far(found, own_law(verifier, by_hand)) < EXACT
    assert far(found, own_law(verifier, plain)) > 0.05


def test_temperature_zero_writes_the_greedy_text():
    verifier = TableVerifier(6)
    found = law_of_text(
        verifier, lambda logits: written_law(logits[None, None], 0.0, 1.0)[0, 0], marginal_drafts(TableDrafter(7), 3)
    )
    greedy = []
    while len(greedy) < verifier.length:
        greedy.append(int(verifier.logits(greedy).argmax()))
    assert set(found) == {tuple(greedy)}
    assert far(found, {tuple(greedy): 1.0}) < EXACT


def test_the_joint_of_several_passes_from_left_to_right():
    verifier, table = TableVerifier(8), [random_logits(V**i, V, seed=i).softmax(-1) for i in range(3)]

    def drafts(text):
        for x in itertools.product(range(V), repeat=3):
            q = torch.stack([table[i][sum(token * V**j for j, token in enumerate(x[:i]))] for i in range(3)])
            yield math.prod(q[i, x[i]].item() for i in range(3)), x, q

    assert far(law_of_text(verifier, plain, drafts), own_law(verifier, plain)) < EXACT


def test_points_of_a_drafter_without_noise():
    verifier, q = TableVerifier(9), torch.eye(V, dtype=torch.float64)

    def drafts(text):
        yield 1.0, (2, len(text) % V), q[[2, len(text) % V]]

    assert far(law_of_text(verifier, plain, drafts), own_law(verifier, plain)) < EXACT


def drafts_in_order(order_after, use_law):
    """Every draft of three tokens whose next places depend on the tokens so far; beliefs see all drawn tokens."""

    def drafts(text):
        ahead = [(1.0, {}, {}, {}, 0)]
        while ahead:
            chance, x, beliefs, passes, turn = ahead.pop()
            if len(x) == 3:
                tokens = torch.tensor([[x[i] for i in range(3)]])
                own = torch.stack([beliefs[i] for i in range(3)])[None]
                passes = torch.tensor([[passes[i] for i in range(3)]])
                yield (
                    chance,
                    tuple(tokens[0].tolist()),
                    (law_of_passes(own, tokens, passes) if use_law else own)[0].exp(),
                )
                continue
            places, seen = order_after(x), sum((x[i] + 1) * 4**i for i in x)
            law = {i: random_logits(V, seed=10_000 + 100 * i + seen).log_softmax(-1) for i in places}
            for drawn in itertools.product(range(V), repeat=len(places)):
                new = dict(zip(places, drawn, strict=True))
                p = math.prod(law[i][token].exp().item() for i, token in new.items())
                ahead.append((chance * p, x | new, beliefs | law, passes | dict.fromkeys(places, turn), turn + 1))

    return drafts


def fixed(*turns):
    return lambda x: next(turn for turn in turns if not set(turn) <= set(x))


ORDERS = {
    "left to right": fixed((0,), (1,), (2,)),
    "two, then one": fixed((0, 1), (2,)),
    "right to left": fixed((2,), (1,), (0,)),
    "last, then the others": fixed((2,), (0, 1)),
    "ends, then the middle": fixed((0, 2), (1,)),
    "middle first": fixed((1,), (0,), (2,)),
    "after the middle, where it says": lambda x: (
        (1,) if not x else next((i,) for i in ((0, 2) if x[1] else (2, 0)) if i not in x)
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_blocks_that_are_drawn_in_any_order(name):
    verifier, length = TableVerifier(10), 4
    truth = own_law(verifier, plain, length)
    assert far(law_of_text(verifier, plain, drafts_in_order(ORDERS[name], True), length), truth) < EXACT
    wrong = far(law_of_text(verifier, plain, drafts_in_order(ORDERS[name], False), length), truth)
    assert wrong < EXACT if name in ("left to right", "two, then one") else wrong > 1e-3


@pytest.mark.parametrize("k", [1, 2, 4])
def test_expected_number_of_accepted_tokens(k):
    p, q = random_logits(V, seed=1).softmax(-1), random_logits(V, seed=2).softmax(-1)
    expected = 0.0
    for tokens in itertools.product(range(V), repeat=k):
        of_draft = math.prod(q[token].item() for token in tokens)
        expected += of_draft * sum(
            chance * len(accepted) for chance, accepted, _ in branches(p.expand(k + 1, V), tokens, q.expand(k, V))
        )
    overlap = torch.minimum(p, q).sum().item()
    assert expected == pytest.approx(sum(overlap**i for i in range(1, k + 1)), abs=EXACT)


def pieces(ends):
    """Middles and sizes of the intervals between some ends in [0, 1]."""
    ends = sorted({0.0, 1.0, *(end for end in ends if 0 < end < 1)})
    return [((a + b) / 2, b - a) for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("counts", [2, 1, 0])
def test_verify_takes_each_branch_with_its_probability(counts):
    """The noise is enumerated: all intervals of quantiles in which `verify` cannot change its mind."""
    p, q = random_logits(3, V, seed=3, ruled_out=0.3).softmax(-1), random_logits(2, V, seed=4).softmax(-1)
    for tokens in itertools.product(range(V), repeat=2):
        cuts = [pieces([acceptance(p[i, tokens[i]], q[i, tokens[i]]).item()]) for i in range(2)]
        truth, laws = {}, []
        for chance, accepted, law in branches(p[: counts + 1], tokens[:counts], q[:counts]):
            laws.append(law)
            for last in range(V):
                truth[*accepted, last] = truth.get((*accepted, last), 0.0) + chance * law[last].item()
        last_cuts = pieces([end for law in laws for end in law.cumsum(0).tolist()])
        every = list(itertools.product(*cuts, last_cuts))
        middles = torch.tensor([[middle for middle, _ in each] for each in every], dtype=torch.float64)
        n = len(every)
        draft = Draft(torch.tensor(tokens).expand(n, 2), torch.full((n,), counts), q.log().expand(n, 2, V))
        verdict = verify(p.expand(n, 3, V), draft, middles[:, :2], middles[:, 2])
        found = {}
        for each, accepted, token in zip(every, verdict.accepted.tolist(), verdict.token.tolist(), strict=True):
            text = (*tokens[:accepted], token)
            found[text] = found.get(text, 0.0) + math.prod(size for _, size in each)
        assert far(found, truth) < EXACT


def test_a_token_that_the_verifier_rules_out_is_never_written():
    p = torch.tensor([[0.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    u = torch.rand(64, generator=generator(0), dtype=torch.float64)
    draft = Draft(torch.zeros(64, 1, dtype=torch.int64), torch.ones(64, dtype=torch.int64))
    verdict = verify(p.expand(64, 2, 3), draft, u[:, None], u.flip(0))
    assert (verdict.accepted == 0).all()
    assert (verdict.token == 1).all()


def test_laws_that_cannot_be_right_are_refused():
    tokens, counts = torch.tensor([[0, 1]]), torch.tensor([2])
    log_q = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]], dtype=torch.float64).log()
    checked_draft(Draft(tokens, counts, log_q), 1, 2, 3)
    wide = checked_draft(Draft(tokens, counts, log_q), 1, 2, 5)
    assert wide.log_q.exp()[0, 0].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    for draft, words in [
        (Draft(tokens + 1, counts, log_q), "by its own law is 0"),
        (Draft(tokens, counts, log_q + 0.1), "does not sum to 1"),
        (Draft(tokens, counts + 1, log_q), "from 0 to 2"),
        (Draft(tokens + 5, counts, log_q), "outside of the vocabulary"),
        (Draft(tokens, counts, log_q.float()), "float64"),
    ]:
        with pytest.raises(UsageError, match=words):
            checked_draft(draft, 1, 2, 3)
    with pytest.raises(UsageError, match="share a tokenizer"):
        checked_draft(Draft(tokens, counts, log_q), 1, 2, 2)
    with pytest.raises(UsageError, match="no distribution"):
        written_law(torch.full((1, 1, 3), math.nan), 1.0, 1.0)

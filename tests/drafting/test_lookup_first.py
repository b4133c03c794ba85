"""Looking up first and drafting otherwise: who drafts what, and the law of the text by enumeration."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from drafting.tables import TableDrafter, TableVerifier, V, chi_square, far, law_of_text, own_law

from unmelt.drafting import Draft, Drafter, LookupFirst, NGram, decode
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds


def plain(logits):
    return logits.softmax(-1)


def drafted(drafter, texts, k, seed=0):
    length = max(map(len, texts)) + 1
    x = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
    return drafter(x, torch.tensor([len(text) for text in texts]), None, k, RowSeeds.of(seed, len(texts)))


def every_draft(drafter, k):
    """(text) -> every draft of a drafter whose laws do not depend on its noise: probability, tokens, laws."""

    def drafts(text):
        found = drafted(drafter, [text], k)
        n = int(found.counts[0])
        points = torch.nn.functional.one_hot(found.tokens[0], V).double()
        law = (points if found.log_q is None else found.log_q[0].exp())[:n]
        for tokens in itertools.product(range(V), repeat=n):
            chance = math.prod(law[i, token].item() for i, token in enumerate(tokens))
            if chance > 0:
                yield chance, tokens, law

    return drafts


@pytest.mark.parametrize("lookup", [NGram(), NGram(shortest=2)])
@pytest.mark.parametrize("block", [None, 1, 2])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_law_of_the_text_is_the_verifiers(lookup, block, k):
    verifier = TableVerifier(1, length=4)
    drafter = LookupFirst(lookup, TableDrafter(2), block)
    truth = own_law(verifier, plain)
    assert far(law_of_text(verifier, plain, every_draft(drafter, k)), truth) < 1e-12
    ended = own_law(verifier, plain, end=1)
    assert far(law_of_text(verifier, plain, every_draft(drafter, k), end=1), ended) < 1e-12
    assert far(truth, own_law(TableVerifier(3), plain)) > 0.1


def test_a_law_that_forgets_who_drafted_is_another():
    """The mixture of both drafters is not the law of a block, since the text says which of the two it was."""
    verifier, of = TableVerifier(1), TableDrafter(2)

    def mixed(text):
        for chance, tokens, law in every_draft(LookupFirst(NGram(), of), 2)(text):
            yield chance, tokens, (law + of.law(text, 2)[: len(law)]) / 2

    assert far(law_of_text(verifier, plain, mixed), own_law(verifier, plain)) > 1e-3


def test_rows_that_are_found_are_points_and_the_others_are_the_other_drafters():
    of = TableDrafter(2)
    texts = [[0, 1, 0], [2, 1], [1, 1], [0]]
    found = drafted(LookupFirst(NGram(), of), texts, 3, seed=[4, 5, 6, 7])
    assert found.counts.tolist() == [2, 3, 1, 3]
    assert found.tokens[0, :2].tolist() == [1, 0]
    assert torch.equal(found.log_q[0, :2].exp(), torch.eye(V, dtype=torch.float64)[[1, 0]])
    for row in (1, 3):
        torch.testing.assert_close(found.log_q[row].exp(), of.law(texts[row], 3))
        alone = drafted(of, texts[row : row + 1], 3, seed=[4 + row])
        assert torch.equal(found.tokens[row], alone.tokens[0])
    fewer = drafted(LookupFirst(NGram(), of, block=1), texts, 3, seed=[4, 5, 6, 7])
    assert fewer.counts.tolist() == [2, 1, 1, 1]


@dataclass
class Counted:
    """Counts the rows that it is asked for."""

    of: Drafter
    layers: tuple[int, ...] = (1, 2)
    rows: int = 0

    def __call__(self, x, lengths, hidden, k, rng):
        self.rows += len(x)
        return self.of(x, lengths, None, k, rng)


def test_the_other_drafter_is_asked_where_nothing_is_found():
    counted = Counted(TableDrafter(2))
    drafter = LookupFirst(NGram(), counted)
    assert drafter.layers == (1, 2)
    assert isinstance(drafter, Drafter)
    drafted(drafter, [[1, 1], [2, 2]], 2)
    assert counted.rows == 0
    drafted(drafter, [[1, 1], [2, 1], [0]], 2)
    assert counted.rows == 2


def test_tokens_of_the_text_that_the_other_drafter_does_not_know():
    def narrow(x, lengths, hidden, k, rng):
        log_q = torch.full((len(x), k, 2), 0.5, dtype=torch.float64).log()
        return Draft(torch.zeros(len(x), k, dtype=torch.int64), torch.full_like(lengths, k), log_q)

    narrow.layers = ()
    found = drafted(LookupFirst(NGram(), narrow), [[2, 2], [0, 1]], 2)
    assert found.log_q.shape[-1] == 3
    assert found.log_q[0, 0].exp().tolist() == [0.0, 0.0, 1.0]
    assert found.log_q[1, 0].exp().tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_frequencies_of_texts_are_the_verifiers_law(temperature):
    verifier = TableVerifier(5)
    drafter = LookupFirst(NGram(), TableDrafter(2), block=2)
    rows = decode(verifier, [[0]] * 1500, 3, drafter=drafter, block=3, temperature=temperature, seed=2).tokens
    truth = own_law(verifier, lambda logits: (logits / temperature).softmax(-1))
    given = {text[1:]: chance for text, chance in truth.items() if text[0] == 0}
    total = sum(given.values())
    assert chi_square(rows, {text: chance / total for text, chance in given.items()}) < 54


def test_the_greedy_text_is_the_plain_greedy_text():
    verifier = TableVerifier(7, length=9)
    drafter = LookupFirst(NGram(), TableDrafter(4))
    prompts = [[k] for k in range(V)]
    plain_text = decode(verifier, prompts, 8, temperature=0.0)
    found = decode(verifier, prompts, 8, drafter=drafter, block=3, temperature=0.0)
    assert found.tokens == plain_text.tokens
    assert sum(found.accepted) > 0


def test_a_block_below_one_token_is_refused():
    with pytest.raises(UsageError, match="block=0"):
        LookupFirst(NGram(), NGram(), block=0)

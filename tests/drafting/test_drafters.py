"""What drafters propose: what was read before, and what a masked denoiser believes."""

import pytest
import torch
from drafting.tables import N, TableVerifier, V, chi_square, own_law
from truth.small_transformer import network

from unmelt.denoiser import ExactTokenDenoiser, TokenDenoiser
from unmelt.drafting import Drafter, Marginals, NGram, decode
from unmelt.errors import UsageError
from unmelt.process import Mask, Uniform
from unmelt.rng import RowSeeds
from unmelt.sampler.tokens import LeftToRight, Order, Random


def drafted(drafter, texts, k, seed=0):
    length = max(map(len, texts))
    x = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
    return drafter(x, torch.tensor([len(text) for text in texts]), None, k, RowSeeds.of(seed, len(texts)))


def test_prompt_lookup_finds_the_longest_and_latest_place():
    texts = [[1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], [7, 8, 9], [5, 5], [1, 2, 6, 0, 2, 7, 3, 1, 2], [4]]
    draft = drafted(NGram(longest=3), texts, 3)
    found = [row[:n].tolist() for row, n in zip(draft.tokens, draft.counts, strict=True)]
    assert found == [[4, 9, 2], [], [5], [6, 0, 2], []]
    assert drafted(NGram(longest=2), texts[:1], 3).tokens.tolist() == [[5, 1, 2]]
    assert drafted(NGram(longest=3, shortest=2), texts[2:3], 3).counts.tolist() == [0]
    assert draft.log_q is None
    assert isinstance(NGram(), Drafter)
    with pytest.raises(UsageError):
        NGram(longest=1, shortest=2)


def exact(seed=0):
    """A denoiser that believes the law of a table verifier, and that verifier."""
    verifier = TableVerifier(seed)
    law = own_law(verifier, lambda logits: logits.softmax(-1))
    table = torch.zeros([V] * N, dtype=torch.float64)
    for text, chance in law.items():
        table[text] = chance
    return verifier, ExactTokenDenoiser(table, Mask(V))


def test_marginals_are_the_denoisers_beliefs():
    verifier, denoiser = exact()
    draft = drafted(Marginals(denoiser), [[], [1], [1, 2]], 2)
    for row, text in enumerate(([], [1], [1, 2])):
        joint = denoiser.law[tuple(text)]
        joint = joint / joint.sum()
        first = joint.flatten(1).sum(1) if joint.ndim > 1 else joint
        torch.testing.assert_close(draft.log_q[row, 0].exp(), first)
        torch.testing.assert_close(first, verifier.logits(text).softmax(-1))
    second = denoiser.law[1, 2].sum(0) / denoiser.law[1, 2].sum()
    torch.testing.assert_close(draft.log_q[2, 1].exp(), second)


class RightToLeft(Order):
    """The last place first."""

    def rank(self, law, u):
        return torch.arange(u.shape[1], dtype=u.dtype).expand_as(u)


def test_laws_of_tokens_that_were_drawn_from_right_to_left():
    _, denoiser = exact(3)
    draft = drafted(Marginals(denoiser, passes=3, order=RightToLeft()), [[1]] * 5, 3)
    for tokens, law in zip(draft.tokens, draft.log_q.exp(), strict=True):
        given = denoiser.law[1, :, tokens[1], tokens[2]]
        torch.testing.assert_close(law[0], given / given.sum())
        assert torch.equal(law[1:], torch.eye(V, dtype=torch.float64)[tokens[1:]])


def test_temperature_of_the_drafted_tokens():
    _, denoiser = exact()
    own, cold = (drafted(Marginals(denoiser, temperature=t), [[1]], 3).log_q for t in (1.0, 0.5))
    torch.testing.assert_close(cold, (2 * own).log_softmax(-1))
    likeliest = drafted(Marginals(denoiser, temperature=0.0), [[1]], 3)
    assert torch.equal(likeliest.tokens, own.argmax(-1))


def test_one_token_a_pass_from_an_exact_denoiser_is_always_accepted():
    verifier, denoiser = exact(3)
    found = decode(verifier, [[]] * 40, 4, drafter=Marginals(denoiser, passes=3), block=3)
    assert found.accepted == found.drafted == [3] * 40
    assert found.passes == [1] * 40
    fewer = decode(verifier, [[]] * 40, 4, drafter=Marginals(denoiser), block=3)
    assert 0 < sum(fewer.accepted) < sum(fewer.drafted)


@pytest.mark.parametrize(("passes", "order"), [(1, LeftToRight()), (2, LeftToRight()), (2, Random()), (3, Random())])
def test_the_frequencies_of_texts_are_the_verifiers_law(passes, order):
    """The denoiser believes another law than the verifier's, at another temperature."""
    verifier, (_, denoiser) = TableVerifier(5), exact(3)
    drafter = Marginals(denoiser, passes=passes, order=order, temperature=0.8)
    rows = decode(verifier, [[0]] * 1500, 3, drafter=drafter, block=3, seed=2).tokens
    truth = own_law(verifier, lambda logits: logits.softmax(-1))
    given = {text[1:]: chance for text, chance in truth.items() if text[0] == 0}
    total = sum(given.values())
    assert chi_square(rows, {text: chance / total for text, chance in given.items()}) < 54


def test_a_network_reads_the_end_of_each_text_alone():
    denoiser = TokenDenoiser(network(None, 6, 5), Mask(5), (6,))
    texts = [[1, 2, 3, 4, 0, 1, 2], [3], []]
    for drafter in (Marginals(denoiser), Marginals(denoiser, passes=2), Marginals(denoiser, context=2)):
        together = drafted(drafter, texts, 3, seed=[4, 5, 6])
        for row, text in enumerate(texts):
            alone = drafted(drafter, [text or [0]][:1], 3, seed=[4 + row]) if text else None
            if alone is not None:
                torch.testing.assert_close(together.log_q[row], alone.log_q[0])
                assert torch.equal(together.tokens[row], alone.tokens[0])
    x = torch.tensor([[0, 1, 2, 5, 5, 5]])
    with torch.no_grad():
        truth = denoiser(x, torch.zeros(1)).logits[0, 3:].double().log_softmax(-1)
    torch.testing.assert_close(drafted(Marginals(denoiser), texts[:1], 3).log_q[0], truth)


def test_what_cannot_draft_is_refused():
    _, denoiser = exact()
    with pytest.raises(UsageError):
        Marginals(ExactTokenDenoiser(denoiser.law, Uniform(V)))
    with pytest.raises(UsageError):
        Marginals(denoiser, passes=0)
    with pytest.raises(UsageError):
        drafted(Marginals(denoiser), [[0]], 5)

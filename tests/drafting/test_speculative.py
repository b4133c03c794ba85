"""The whole loop: rows at places of their own, streams, ends of texts and lengths."""

import pytest
import torch
from drafting.tables import TableDrafter, TableVerifier, V, chi_square, own_law
from truth.small_transformer import network

from unmelt.denoiser import Autoregressive
from unmelt.drafting import AutoregressiveVerifier, Draft, NGram, Speculative, Streams, decode
from unmelt.errors import UsageError
from unmelt.process import Mask

ROWS = 2500


def plain(logits):
    return logits.softmax(-1)


def statistic(length=2, block=1, **how):
    verifier = TableVerifier(1, length)
    rows = decode(verifier, [[]] * ROWS, length, drafter=TableDrafter(2), block=block, **how).tokens
    return chi_square(rows, own_law(verifier, plain, length))


def test_the_frequencies_of_texts_are_the_verifiers_law():
    assert statistic() < 26  # exceeded by one of 1000 at 8 degrees of freedom
    assert statistic(3, block=3) < 54  # the same at 26


@pytest.mark.parametrize(
    "shared",
    [lambda s: s._replace(accept=s.draft), lambda s: s._replace(redraw=s.accept), lambda s: s._replace(redraw=s.draft)],
)
def test_a_shared_stream_is_noticed(monkeypatch, shared):
    apart = Streams.of
    monkeypatch.setattr(Streams, "of", lambda rng: shared(apart(rng)))
    assert statistic() > 100


def test_streams_are_disjoint_and_belong_to_row_and_step():
    how = Speculative(TableDrafter(2))
    state = how.init(TableVerifier(1), [[]] * 3, 4, seed=[5, 6, 5])
    first, second = Streams.of(state.rng), Streams.of(state.rng.advance())
    seeds = [each.seeds[row].item() for streams in (first, second) for each in streams for row in (0, 1)]
    assert len(set(seeds)) == 12
    assert all(each.seeds[0] == each.seeds[2] for each in first)


def causal(length=14, vocabulary=5):
    return Autoregressive(network(1, length, vocabulary), Mask(vocabulary), (length,))


def written_out(denoiser, prompt, tokens):
    """Greedy text of the network, read whole for every token."""
    text = list(prompt)
    while len(text) < min(len(prompt) + tokens, denoiser.shape[0]):
        x = torch.full((1, denoiser.shape[0]), denoiser.process.mask)
        x[0, : len(text)] = torch.tensor(text)
        with torch.no_grad():
            text.append(int(denoiser(x, torch.zeros(1)).logits[0, len(text)].argmax()))
    return text[len(prompt) :]


class Oracle:
    """Drafts given tokens, some of them wrong, as points."""

    layers = ()

    def __init__(self, texts, wrong=3):
        self.texts, self.wrong = texts, wrong

    def __call__(self, x, lengths, hidden, k, rng):
        draft = Draft.nothing(len(x), k)
        for row, length in enumerate(lengths.tolist()):
            begin = x[row, :length].tolist()
            text = next(each for each in self.texts if each[:length] == begin)
            new = torch.tensor([(t + (i % self.wrong == 0)) % 5 for i, t in enumerate(text)][length : length + k])
            draft.tokens[row, : len(new)] = new
            draft.counts[row] = len(new)
        return draft


PROMPTS = [[1, 2, 3], [], [4, 4, 1, 0, 2, 1, 4], [0]]


@pytest.mark.parametrize("block", [1, 3, 6])
def test_greedy_text_is_that_of_the_network_alone(block):
    denoiser = causal()
    truth = [written_out(denoiser, prompt, 9) for prompt in PROMPTS]
    oracle = Oracle([prompt + text + [0] * 9 for prompt, text in zip(PROMPTS, truth, strict=True)])
    for drafter in (None, NGram(), oracle):
        found = decode(AutoregressiveVerifier(denoiser), PROMPTS, 9, drafter=drafter, block=block, temperature=0.0)
        assert found.tokens == truth
        assert [len(each) for each in truth] == [9, 9, 7, 9]
        assert all(0 <= a <= d for a, d in zip(found.accepted, found.drafted, strict=True))
        assert all(n >= len(text) - a for n, a, text in zip(found.passes, found.accepted, truth, strict=True))
        if drafter is oracle and block > 1:
            assert sum(found.passes) < 0.7 * sum(map(len, truth))
            assert sum(found.accepted) > 10


def test_an_end_of_text_inside_a_block_ends_the_row():
    denoiser = causal()
    truth = [written_out(denoiser, prompt, 9) for prompt in PROMPTS]
    oracle = Oracle([prompt + text + [0] * 9 for prompt, text in zip(PROMPTS, truth, strict=True)], wrong=100)
    for end in range(5):
        found = decode(
            AutoregressiveVerifier(denoiser), PROMPTS, 9, drafter=oracle, block=6, temperature=0.0, end_token=end
        )
        assert found.tokens == [text[: text.index(end) + 1] if end in text else text for text in truth]


@pytest.mark.parametrize("drafter", [NGram(), TableDrafter(3), None])
def test_a_row_does_not_depend_on_what_shares_its_batch(drafter):
    verifier, seeds = AutoregressiveVerifier(causal(vocabulary=V)), [11, 12, 13]
    prompts = [[1, 2, 1, 2], [], [0, 0, 1]]
    how = {"drafter": drafter, "block": 3, "end_token": 2, "temperature": 1.3, "top_p": 0.95}
    together = decode(verifier, prompts, 10, seed=seeds, **how)
    alone = [decode(verifier, [prompt], 10, seed=[seed], **how) for prompt, seed in zip(prompts, seeds, strict=True)]
    for k in range(4):
        assert together[k] == [each[k][0] for each in alone]
    assert together.tokens != decode(verifier, prompts, 10, seed=[1, 2, 3], **how).tokens


def test_a_state_is_a_value_and_its_cache_is_rolled_back():
    verifier, how = AutoregressiveVerifier(causal(vocabulary=V)), Speculative(TableDrafter(4), block=4)
    begin = how.step(verifier, how.init(verifier, [[1, 2], [0]], 10, seed=3))
    first = how.step(verifier, begin)
    other = how.step(verifier, begin)  # another branch from the same state
    assert torch.equal(first.x, other.x)
    a, b = how.step(verifier, first), how.step(verifier, other)
    assert torch.equal(a.x, b.x)
    fresh = verifier.init_cache(2, a.x.shape[1])
    asked = verifier.read(a.x, a.lengths, 1, a.cache).logits
    torch.testing.assert_close(asked, verifier.read(a.x, a.lengths, 1, fresh).logits)
    assert a.cache.kv_length.tolist() == a.lengths.tolist()
    assert how.step(verifier, a).cache.kv.data_ptr() == a.cache.kv.data_ptr()  # the buffer is not copied


def test_rows_that_have_ended_stay_as_they_are():
    verifier, how = TableVerifier(1), Speculative(TableDrafter(2), block=2, end_token=2)
    state = how.init(verifier, [[], [0, 1, 1], []], 4, seed=0)
    while not state.ended.all():
        after = how.step(verifier, state)
        kept = state.ended
        assert torch.equal(after.x[kept], state.x[kept])
        assert torch.equal(after.rng.draws, state.rng.draws + (~kept).long())
        assert (after.lengths[~kept] > state.lengths[~kept]).all()
        state = after
    assert torch.equal(how.step(verifier, state).x, state.x)
    found = decode(verifier, [[], [0, 1, 1], []], 4, drafter=TableDrafter(2), block=2, end_token=2, seed=0)
    texts = [row[:n].tolist() for row, n in zip(state.x, state.lengths, strict=True)]
    assert [texts[0], texts[1][3:], texts[2]] == found.tokens


def test_what_does_not_fit_is_refused():
    verifier = TableVerifier(1)
    for prompts, tokens in ([[0] * 4], 3), ([], 3), ([[0]], 0), ([[V]], 2):
        with pytest.raises(UsageError):
            decode(verifier, prompts, tokens)
    for how in ({"block": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(UsageError):
            Speculative(**how)

"""Options are scored exactly: cache, padding and trie change nothing."""

import pytest
import torch
from planner.small_model import save_model

from unmelt.encoder.pretrained import load_pretrained
from unmelt.planner.constrained import ConstrainedDecoder, branches

pytest.importorskip("transformers")

OPTIONS = (" red", " cat", " car", " care.", " re", " purple", " purse", " x", " yes")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    tokenizer, model = load_pretrained(save_model(tmp_path_factory.mktemp("model")), writes=True)
    return ConstrainedDecoder(tokenizer, model.double())


@torch.no_grad()
def whole(decoder, text, option):
    """The log-probability of an option by one forward pass over everything, without a cache."""
    before, after = [token for each in text for token in decoder.tokens(each)], decoder.tokens(option)
    logits = decoder.model(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
    return sum(logits[len(before) - 1 + k, token].item() for k, token in enumerate(after))


def test_every_option_has_the_probability_of_its_tokens(decoder):
    texts = ["a", "the sea of cats", ""]
    for prefix in (["many words come first\n"], ["first\n", "then others\n"], ["x"]):
        reading = None
        for part in prefix:
            reading = decoder.read(part, reading)
        found = decoder.log_probs(reading, texts, OPTIONS)
        expected = [[whole(decoder, [*prefix, text], option) for option in OPTIONS] for text in texts]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


def test_reading_on_leaves_what_was_read_before(decoder):
    first = decoder.read("one two three")
    before = decoder.log_probs(first, ["!"], OPTIONS)
    decoder.read(" four", first)
    decoder.log_probs(first, ["a longer text", "b"], OPTIONS)
    assert torch.equal(decoder.log_probs(first, ["!"], OPTIONS), before)


def test_branches_cover_every_option_and_none_begins_another():
    options = [(1,), (2, 3), (2, 4), (2, 5, 6), (2, 5, 7, 8), (9, 1)]
    found = branches(options)
    assert sorted(found) == [(2, 5, 7), (9,)]
    assert all(any(path[: len(option) - 1] == option[:-1] for path in found) for option in options)
    assert branches([(1,), (2,)]) == [()]

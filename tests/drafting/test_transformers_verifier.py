"""Causal models of transformers as verifiers: the text is that of their own `generate`."""

import pytest
import torch
from interop.language_models import causal_model, letter_tokenizer

from unmelt.drafting import Draft, NGram, TransformersVerifier, decode
from unmelt.errors import UsageError

transformers = pytest.importorskip("transformers")

PROMPTS = [[5, 6, 7], [9, 10, 11, 9, 10, 11, 3, 4], [1]]
KINDS = ("Llama", "GPT2", "Qwen2", "Qwen3", "Mistral")


def generated(model, prompts, tokens, end=None):
    """Greedy text of transformers."""
    how = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": end, "pad_token_id": 0}
    return [model.generate(torch.tensor([each]), **how)[0, len(each) :].tolist() for each in prompts]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_is_that_of_generate(tmp_path, kind):
    model, _ = causal_model(tmp_path, kind, **({} if kind == "GPT2" else {"num_key_value_heads": 1}))
    truth, verifier = generated(model, PROMPTS, 24), TransformersVerifier.load(tmp_path)
    for drafter in (None, NGram()):
        found = decode(verifier, PROMPTS, 24, drafter=drafter, block=5, temperature=0.0)
        assert found.tokens == truth
    assert 0 < sum(found.accepted) < sum(found.drafted)
    end = truth[1][8]
    found = decode(verifier, PROMPTS, 24, drafter=NGram(), temperature=0.0, end_token=end)
    assert found.tokens == generated(model, PROMPTS, 24, end)


def test_rows_end_where_the_model_does(tmp_path):
    model, _ = causal_model(tmp_path)
    verifier = TransformersVerifier(model)
    assert verifier.length == 64
    prompt = [(7 * k) % 100 for k in range(60)]
    found = decode(verifier, [prompt, [5]], 10, drafter=NGram(), temperature=0.0)
    assert list(map(len, found.tokens)) == [4, 10]
    assert found.tokens == [generated(model, [prompt], 4)[0], generated(model, [[5]], 10)[0]]


def test_logits_of_rows_at_places_of_their_own_are_those_without_a_cache(tmp_path):
    model, _ = causal_model(tmp_path)
    verifier, draws = TransformersVerifier(model.double()), torch.Generator().manual_seed(0)
    x = torch.randint(0, 100, (3, 20), generator=draws)
    begin, cache = torch.tensor([3, 9, 1]), verifier.init_cache(3, 20)
    with torch.no_grad():
        truth = model(input_ids=x).logits.float()
    for advance in ([2, 0, 4], [4, 4, 4], [1, 3, 0]):
        reading = verifier.read(x, begin, 4, cache)
        where = begin[:, None] - 1 + torch.arange(4)
        torch.testing.assert_close(reading.logits, truth[torch.arange(3)[:, None], where])
        assert reading.cache.kv.data_ptr() == cache.kv.data_ptr()  # the buffer is not copied
        begin = begin + torch.tensor(advance)
        cache = verifier.retain(reading.cache, begin)


class Hidden:
    """Drafts nothing true, and holds the hidden states against those of the model."""

    layers = (0, 2)

    def __init__(self, model):
        self.model, self.calls = model, 0

    def __call__(self, x, lengths, hidden, k, rng):
        assert (hidden is None) == (self.calls == 0)
        self.calls += 1
        if hidden is not None:
            for row, length in enumerate(lengths.tolist()):
                with torch.no_grad():
                    out = self.model(input_ids=x[row : row + 1, :length], output_hidden_states=True).hidden_states
                truth = torch.cat([out[layer] for layer in self.layers], -1)[0, : length - 1]
                torch.testing.assert_close(hidden[row, : length - 1], truth, atol=1e-5, rtol=1e-4)
        return Draft(torch.full((len(x), k), 3), torch.full_like(lengths, k))


def test_a_drafter_reads_the_verifiers_hidden_states(tmp_path):
    model, _ = causal_model(tmp_path)
    drafter = Hidden(model)
    found = decode(TransformersVerifier(model), PROMPTS, 6, drafter=drafter, block=3, seed=1)
    assert drafter.calls == max(found.passes)


def test_models_whose_cache_is_another_are_refused(tmp_path):
    theirs = letter_tokenizer(tmp_path)
    torch.manual_seed(0)
    mamba = transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=len(theirs), hidden_size=16, num_hidden_layers=1, state_size=4)
    ).eval()
    with pytest.raises(UsageError, match="cannot be a verifier"):
        TransformersVerifier(mamba)
    model, _ = causal_model(tmp_path)
    model.model.rotary_emb.forward = lambda x, position_ids: tuple(torch.ones(1, 1, 8) for _ in range(2))
    TransformersVerifier(model)  # no positions at all are honoured alike with and without a cache
    first = model.model.layers[0].self_attn
    own, first.forward = first.forward, lambda *args, **kwargs: own(*args, **{**kwargs, "attention_mask": None})
    with pytest.raises(UsageError, match="are not those without"):
        TransformersVerifier(model)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_weights_are_stored_by_columns_and_are_the_same(tmp_path, kind):
    model, _ = causal_model(tmp_path, kind, num_key_value_heads=1, tie_word_embeddings=kind == "Llama")
    read = TransformersVerifier.load(tmp_path).model
    assert (read.lm_head.weight is read.get_input_embeddings().weight) == (kind == "Llama")
    layers = [each for each in read.modules() if isinstance(each, torch.nn.Linear)]
    assert len(layers) == 15
    assert all(each.weight.t().is_contiguous() for each in layers)
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight)
    assert read.bfloat16().lm_head.weight.t().is_contiguous()

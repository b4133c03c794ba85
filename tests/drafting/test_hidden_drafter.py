"""A drafter that learns from the verifier's hidden states: what it reads, what it learns, and that the text stays."""

import json

import pytest
import torch
from interop.language_models import causal_model

from unmelt.drafting import HiddenDrafter, TransformersVerifier, decode, train_drafter
from unmelt.drafting.train_drafter import drafting_loss
from unmelt.errors import UsageError
from unmelt.rng import Stream


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    causal_model(folder)
    verifier = TransformersVerifier.load(folder)
    verifier.model.lm_head.weight *= 6  # laws that say something
    return verifier


def drafter_of(verifier, **how):
    torch.manual_seed(1)
    return HiddenDrafter(verifier, layers=(1, 2), heads=2, **{"block": 4, "context": 6, **how}).eval()


def states(verifier, x, layers=(1, 2)):
    with torch.no_grad():
        out = verifier.model(input_ids=x, output_hidden_states=True)
    return torch.cat([out.hidden_states[layer] for layer in layers], -1), out.logits


def test_it_reads_the_last_tokens_of_a_text_and_nothing_else(verifier):
    drafter, draws = drafter_of(verifier), torch.Generator().manual_seed(0)
    x = torch.randint(0, 100, (2, 12), generator=draws)
    hidden, lengths = states(verifier, x)[0], torch.tensor([9, 3])
    found = drafter.logits(x, lengths, hidden)
    other_x, other = x.clone(), hidden.clone()
    for row, length in enumerate((9, 3)):
        other_x[row, length:], other_x[row, : length - 1] = 0, 0
        other[row, length - 1 :] = 7.0
        other[row, : max(0, length - 1 - drafter.context)] = -5.0
    torch.testing.assert_close(drafter.logits(other_x, lengths, other), found)
    for row, length in enumerate((9, 3)):
        last = x.clone()
        last[row, length - 1] = (last[row, length - 1] + 1) % 100
        assert (drafter.logits(last, lengths, hidden)[row] - found[row]).abs().max() > 1e-4
        alone = drafter.logits(x[row : row + 1, :length], lengths[row : row + 1], hidden[row : row + 1, :length])
        torch.testing.assert_close(alone, found[row : row + 1], atol=1e-5, rtol=1e-4)
        for place in (length - 2, max(0, length - 1 - drafter.context)):
            changed = hidden.clone()
            changed[row, place] += torch.randn(hidden.shape[-1], generator=draws)
            assert (drafter.logits(x, lengths, changed)[row] - found[row]).abs().max() > 1e-4


def test_the_loss_is_the_cross_entropy_with_the_verifiers_laws(verifier):
    drafter, x = drafter_of(verifier), torch.randint(0, 100, (1, 6), generator=torch.Generator().manual_seed(2))
    hidden, logits = states(verifier, x)
    loss = drafting_loss(drafter, x, 3, Stream(0))  # blocks of 4 in rows of 6 have one place alone
    q = drafter.logits(x, torch.tensor([2]), hidden).log_softmax(-1)[0]
    p, weight = logits[0, 1:5].softmax(-1), torch.tensor([1.0, 0.8, 0.64, 0.512])
    truth = -(weight * (p * q).sum(-1)).sum() / weight.sum()
    torch.testing.assert_close(loss, truth)


def test_it_learns_what_the_verifier_writes_and_the_text_stays_the_verifiers(verifier, tmp_path):
    starts = [[k] for k in range(0, 200, 2)]
    rows = [
        [*start, *text]
        for start, text in zip(starts, decode(verifier, starts, 23, temperature=0.3).tokens, strict=True)
    ]
    losses = []
    how = {"block": 3, "context": 8, "heads": 2, "layers": (1, 2), "lr": 3e-2, "seed": 1}
    drafter = train_drafter(verifier, torch.tensor(rows), steps=60, on_step=lambda _, loss: losses.append(loss), **how)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    prompts = [[k] for k in range(1, 41, 2)]
    plain = decode(verifier, prompts, 20, temperature=0.0)
    drafter.temperature = 0.0
    learned = decode(verifier, prompts, 20, drafter=drafter, block=3, temperature=0.0)
    torch.manual_seed(0)
    new = HiddenDrafter(verifier, **{name: how[name] for name in ("block", "context", "heads", "layers")}).eval()
    untrained = decode(verifier, prompts, 20, drafter=new, block=3, temperature=0.0)
    assert learned.tokens == untrained.tokens == plain.tokens
    assert sum(learned.accepted) > 20 + sum(untrained.accepted)
    drafter.save(tmp_path)
    again = HiddenDrafter.load(tmp_path, verifier)
    assert decode(verifier, prompts, 20, drafter=again, block=3, temperature=0.0) == learned
    one = decode(verifier, prompts[:3], 8, drafter=drafter, block=3, seed=[1, 2, 3])
    assert one.tokens[1] == decode(verifier, prompts[1:2], 8, drafter=drafter, block=3, seed=[2]).tokens[0]


def test_a_folder_of_text_is_read_with_the_verifiers_tokenizer(verifier, tmp_path):
    (tmp_path / "a.txt").write_text("the sea was calm. " * 4, encoding="utf-8")
    drafter = train_drafter(verifier, tmp_path, steps=1, batch=2, length=16, block=2, heads=2)
    assert drafter.layers == (1,)
    assert all(not each.requires_grad for each in drafter.parameters())
    with pytest.raises(UsageError, match="at least one row"):
        train_drafter(verifier, tmp_path, length=1000)


def test_what_does_not_fit_is_refused(verifier, tmp_path):
    with pytest.raises(UsageError, match="layers"):
        drafter_of(verifier).__class__(verifier, layers=(3,), heads=2)
    with pytest.raises(UsageError, match="a block of 5"):
        decode(verifier, [[1, 2]], 9, drafter=drafter_of(verifier), block=5)
    with pytest.raises(UsageError, match="cannot be read"):
        HiddenDrafter.load(tmp_path, verifier)
    drafter_of(verifier).save(tmp_path)
    settings = json.loads((tmp_path / "drafter.json").read_text(encoding="utf-8"))
    for wrong in ({"depth": 2}, {"width": 3}, {"block": "many"}):
        (tmp_path / "drafter.json").write_text(json.dumps(settings | wrong), encoding="utf-8")
        with pytest.raises(UsageError):
            HiddenDrafter.load(tmp_path, verifier)

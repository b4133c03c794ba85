"""A drafter that learns from the verifier's hidden states: what it reads, what it learns, and that the text stays."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from interop.language_models import causal_model

from unmelt.backbone.rotary import attention, rotary_angles
from unmelt.drafting import DraftNetwork, DraftStep, HiddenDrafter, TransformersVerifier, decode
from unmelt.drafting.draft_step import drafting_loss
from unmelt.drafting.kept_states import KeptStates, read_states
from unmelt.errors import UsageError
from unmelt.rng import Part, RowSeeds, Stream


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    causal_model(folder)
    verifier = TransformersVerifier.load(folder)
    verifier.model.lm_head.weight *= 6  # laws that say something
    return verifier


def drafter_of(verifier, **how):
    torch.manual_seed(1)
    network = DraftNetwork(width=16, **{"layers": (1, 2), "heads": 2, "block": 4, "context": 6, **how})
    return HiddenDrafter(verifier, network.eval())


def states(verifier, x, layers=(1, 2)):
    with torch.no_grad():
        out = verifier.model(input_ids=x, output_hidden_states=True)
    return torch.cat([out.hidden_states[layer] for layer in layers], -1), out.logits


def logits_of(drafter, x, lengths, hidden):
    with torch.no_grad():
        return drafter.logits(x, lengths[:, None], hidden)[:, 0]


def test_it_reads_the_last_tokens_of_a_text_and_nothing_else(verifier):
    drafter, draws = drafter_of(verifier), torch.Generator().manual_seed(0)
    x = torch.randint(0, 100, (2, 12), generator=draws)
    hidden, lengths = states(verifier, x)[0], torch.tensor([9, 3])
    found = logits_of(drafter, x, lengths, hidden)
    other_x, other = x.clone(), hidden.clone()
    for row, length in enumerate((9, 3)):
        other_x[row, length:], other_x[row, : length - 1] = 0, 0
        other[row, length - 1 :] = 7.0
        other[row, : max(0, length - 1 - drafter.network.context)] = -5.0
    torch.testing.assert_close(logits_of(drafter, other_x, lengths, other), found)
    for row, length in enumerate((9, 3)):
        last = x.clone()
        last[row, length - 1] = (last[row, length - 1] + 1) % 100
        assert (logits_of(drafter, last, lengths, hidden)[row] - found[row]).abs().max() > 1e-4
        alone = logits_of(drafter, x[row : row + 1, :length], lengths[row : row + 1], hidden[row : row + 1, :length])
        torch.testing.assert_close(alone, found[row : row + 1], atol=1e-5, rtol=1e-4)
        for place in (length - 2, max(0, length - 1 - drafter.network.context)):
            changed = hidden.clone()
            changed[row, place] += torch.randn(hidden.shape[-1], generator=draws)
            assert (logits_of(drafter, x, lengths, changed)[row] - found[row]).abs().max() > 1e-4


def test_several_places_of_a_row_are_read_as_each_alone(verifier):
    drafter, x = drafter_of(verifier), torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(5))
    hidden, lengths = states(verifier, x)[0], torch.tensor([[1, 5, 11], [8, 2, 8]])
    with torch.no_grad():
        found = drafter.logits(x, lengths, hidden)
    for place in range(3):
        alone = logits_of(drafter, x, lengths[:, place], hidden)
        torch.testing.assert_close(found[:, place], alone, atol=1e-5, rtol=1e-4)


def test_the_network_is_that_of_all_places_under_a_mask(verifier):
    """Context tokens that stay as they are, and the block, as one row of attention for each block."""
    drafter, draws = drafter_of(verifier, depth=2), torch.Generator().manual_seed(3)
    network, k = drafter.network, drafter.block
    context, last = torch.randn(2, 9, 16, generator=draws), torch.randn(2, 3, 2, 16, generator=draws)
    ends = torch.tensor([[9, 0, 4], [7, 8, 1]])
    with torch.no_grad():
        found = network(context, ends, last)
        for row, place in itertools.product(range(2), range(3)):
            end = int(ends[row, place])
            seen = context[row, max(0, end - network.context) : end]
            z = torch.cat([last[row, place], network.mask.expand(k, -1)])
            angle = rotary_angles(torch.arange(len(seen) + len(z))[:, None], 8)
            for each in network.blocks:
                whole = torch.cat([seen, z])
                out = each.attention(each.norm1(whole)[None], angle, attention)[0]
                z = z + out[len(seen) :]
                gate, value = each.up(each.norm2(z)).chunk(2, -1)
                z = z + each.down(F.silu(gate) * value)
            torch.testing.assert_close(found[row, place], network.norm(z[-k:]), atol=1e-5, rtol=1e-4)


def test_the_loss_is_the_cross_entropy_with_the_verifiers_laws(verifier):
    drafter, x = drafter_of(verifier), torch.randint(0, 100, (2, 6), generator=torch.Generator().manual_seed(2))
    hidden, logits = states(verifier, x)
    loss = drafting_loss(drafter, x, 3, Stream(0))  # blocks of 4 in rows of 6 have one place alone
    q = logits_of(drafter, x, torch.tensor([2, 2]), hidden).log_softmax(-1)
    p, weight = logits[:, 1:5].softmax(-1), torch.tensor([1.0, 0.8, 0.64, 0.512])
    torch.testing.assert_close(loss, -(weight * (p * q).sum(-1)).sum(-1) / weight.sum())


def test_frequent_tokens_alone_can_be_drafted(verifier):
    every, few = drafter_of(verifier), drafter_of(verifier, words=5)
    words = torch.tensor([3, 40, 41, 77, 90])
    few.network.drafted.copy_(words)
    x = torch.randint(0, 100, (2, 6), generator=torch.Generator().manual_seed(2))
    hidden, logits = states(verifier, x)
    lengths = torch.tensor([2, 5])
    whole = logits_of(every, x, lengths, hidden)[..., words]
    torch.testing.assert_close(logits_of(few, x, lengths, hidden), whole)
    draft = few(x, lengths, hidden, 3, RowSeeds.of(0, 2))
    assert torch.isin(draft.tokens, words).all()
    torch.testing.assert_close(draft.log_q[..., words], whole[:, :3].double().log_softmax(-1))
    assert draft.log_q.exp().sum() == pytest.approx(6.0)
    likeliest = replace(few, temperature=0.0)(x, lengths, hidden, 3, RowSeeds.of(0, 2))
    assert likeliest.log_q is None
    assert torch.equal(likeliest.tokens, words[whole[:, :3].argmax(-1)])
    q, weight = logits_of(few, x, torch.tensor([2, 2]), hidden).log_softmax(-1), 0.8 ** torch.arange(4)
    p = logits[:, 1:5].softmax(-1)[..., words]
    loss = drafting_loss(few, x, 3, Stream(0))
    torch.testing.assert_close(loss, -(weight * (p * q).sum(-1)).sum(-1) / weight.sum())
    found, plain = (decode(verifier, [[1, 2, 3]], 12, drafter=d, block=4, temperature=0.0) for d in (few, None))
    assert found.tokens == plain.tokens


def test_a_row_is_read_once_and_its_states_are_kept(verifier, monkeypatch):
    x = torch.randint(0, 100, (3, 9), generator=torch.Generator().manual_seed(2))
    for words in (0, 7):
        drafter = drafter_of(verifier, words=words)
        exact, kept, rows = read_states(drafter, x), KeptStates(drafter), []
        hook = verifier.model.model.register_forward_pre_hook(lambda *_, rows=rows: rows.append(1))
        try:
            first, again = kept(x[:2]), kept(x)
            assert len(rows) == 3
            little = KeptStates(drafter, gigabytes=1.5 * sum(each.nbytes for each in kept._kept[_key(x[0])]) / 1e9)
            for each in (little(x), little(x)):
                assert torch.equal(each.p, again.p)
            assert len(rows) == 3 + 3 + 2  # one row has room
        finally:
            hook.remove()
        for one, other, truth in zip(first, again, exact, strict=True):
            assert torch.equal(one, other[:2])
            torch.testing.assert_close(other.to(truth), truth, atol=2e-3, rtol=1e-2)
        loss = drafting_loss(drafter, x, 5, Stream(3), again)
        torch.testing.assert_close(loss, drafting_loss(drafter, x, 5, Stream(3)), atol=0, rtol=5e-3)


def _key(row):
    return row.numpy().tobytes()


def test_places_cover_the_row_and_a_part_of_a_batch_draws_its_own(verifier, monkeypatch):
    drafter, x = drafter_of(verifier), torch.randint(0, 100, (2, 9), generator=torch.Generator().manual_seed(2))
    seen, logits = [], HiddenDrafter.logits

    def watched(self, x, lengths, hidden):
        seen.append(lengths)
        return logits(self, x, lengths, hidden)

    monkeypatch.setattr(HiddenDrafter, "logits", watched)
    whole = drafting_loss(drafter, x, 40, Stream(1))
    assert set(seen[0].flatten().tolist()) == {2, 3, 4, 5}
    parts = [drafting_loss(drafter, x[k : k + 1], 40, Part(Stream(1), k, 2)) for k in range(2)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_a_verifier_in_bfloat16_is_drafted_for(verifier, tmp_path):
    causal_model(tmp_path)
    low = TransformersVerifier.load(tmp_path)
    low.model.lm_head.weight *= 6
    low.model.bfloat16()
    high, drafter = drafter_of(verifier), HiddenDrafter(low, drafter_of(verifier).network)
    x, hidden = torch.tensor([[3, 4, 5, 6]]), torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    exact, rounded = (logits_of(each, x, torch.tensor([4]), hidden) for each in (high, drafter))
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.1 * exact.abs().max().item(), rtol=0)
    found = decode(low, [[1, 2, 3]], 12, drafter=replace(drafter, temperature=0.0), block=4, temperature=0.0)
    assert len(found.tokens[0]) == 12
    assert found.drafted[0] > 0


def test_only_the_network_learns(verifier):
    step = DraftStep(drafter_of(verifier), 3)
    (network,) = step.networks().values()
    assert network is step.drafter.network
    assert step.frozen() == (verifier.model,)
    owned = {id(each) for each in network.parameters()}
    assert not any(id(each) in owned for each in verifier.model.parameters())


def test_what_does_not_fit_is_refused(verifier, tmp_path):
    with pytest.raises(UsageError, match=r"layers \(3,\)"):
        drafter_of(verifier, layers=(3,))
    with pytest.raises(UsageError, match="width 8"):
        HiddenDrafter(verifier, DraftNetwork(width=8, layers=(1,), heads=2))
    with pytest.raises(UsageError, match="one or several"):
        DraftNetwork(width=8, layers=())
    with pytest.raises(UsageError, match="drafts 999 tokens of"):
        drafter_of(verifier, words=999)
    with pytest.raises(UsageError, match="a block of 5"):
        decode(verifier, [[1, 2]], 9, drafter=drafter_of(verifier), block=5)
    with pytest.raises(UsageError, match="temperature"):
        replace(drafter_of(verifier), temperature=-1.0)
    with pytest.raises(UsageError, match="no config"):
        HiddenDrafter.load(tmp_path, verifier)

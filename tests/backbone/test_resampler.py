"""Learned queries over a sequence: the formula, what they may not depend on, and that they learn what to ask for."""

import pytest
import torch
from networks import awake
from torch.nn.functional import gelu, layer_norm

from unmelt.backbone import DiT, JointDiT, UNet
from unmelt.backbone.attention import AttendedSequence
from unmelt.backbone.resampler import Resampler
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import seeded

F64 = torch.float64


def made(depth=2, queries=3):
    with seeded(0):
        return awake(Resampler(8, queries, 2, depth)).to(F64)


def tokens(rows=4, length=5, seed=1):
    return torch.randn(rows, length, 8, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_a_block_is_attention_over_tokens_and_queries_written_out():
    resampler, x = made(depth=1), tokens(rows=1)
    block = resampler.blocks[0]
    norm = {n: (lambda v, m=m: layer_norm(v, (8,), m.weight, m.bias)) for n, m in block.named_children() if "norm" in n}
    q = resampler.queries
    seen = torch.cat([norm["token_norm"](x[0]), norm["query_norm"](q)])
    asked, key, value = (
        v.view(-1, 2, 4).transpose(0, 1)
        for v in (block.query(norm["query_norm"](q)), *block.project(seen).split(8, -1))
    )
    weight = torch.exp(asked @ key.mT / 2)
    answer = (weight / weight.sum(-1, keepdim=True)) @ value
    q = q + block.out(answer.transpose(0, 1).reshape(3, 8))
    q = q + block.mlp[2](gelu(block.mlp[0](norm["mlp_norm"](q)), approximate="tanh"))
    found = resampler(AttendedSequence.of(x)).values[0]
    torch.testing.assert_close(found, layer_norm(q, (8,), resampler.norm.weight, resampler.norm.bias))


@pytest.mark.parametrize("more", [1, 40])
def test_padding_changes_nothing(more):
    resampler, x = made(), tokens().float()
    resampler.float()
    alone = resampler(AttendedSequence.of(x))
    padded = torch.cat([x, 100 * torch.randn(4, more, 8)], 1)
    found = resampler(AttendedSequence.of(padded, (torch.arange(5 + more) < 5).expand(4, -1)))
    assert (found.values - alone.values).abs().max() < 1e-6
    assert found.values.shape == (4, 3, 8)
    assert found.mask is None


def test_tokens_are_a_set_and_each_of_them_counts():
    resampler, x = made(), tokens()
    found = resampler(AttendedSequence.of(x)).values
    torch.testing.assert_close(resampler(AttendedSequence.of(x.flip(1))).values, found)
    for token in range(5):
        other = x.clone()
        other[:, token, 0] += 1
        assert (resampler(AttendedSequence.of(other)).values - found).flatten(1).abs().amax(1).min() > 1e-3


def test_a_row_without_tokens_stays_silent_and_finite():
    resampler, real = made(), torch.tensor([[True] * 5, [False] * 5])
    x = tokens(rows=2).requires_grad_()
    found = resampler(AttendedSequence.of(x, real))
    assert found.silent.flatten().tolist() == [False, True]
    found.values.sum().backward()
    assert all(each.grad.isfinite().all() for each in (x, *resampler.parameters()))


@pytest.mark.parametrize("kind", [UNet, DiT, JointDiT])
def test_queries_are_weights_of_the_network_and_change_no_others(kind):
    sizes = {"width": 8, "multipliers": (1,), "blocks": 1, "attention": (True,)}
    sizes = sizes if kind is UNet else {"width": 16, "depth": 1, "heads": 2}
    sizes |= {"size": (4, 4)} if kind is DiT else {}

    def network(queries):
        return kind(channels=1, sequence_width=6, sequence_queries=queries, **sizes)

    plain, asking = network(0), network(5)
    extra = set(asking.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(asking.state_dict())
    assert all(".resampler." in name for name in extra)
    asking = awake(asking)
    x, level, sequence = torch.randn(2, 1, 4, 4), torch.zeros(2), torch.randn(2, 3, 6)
    asking(x, level, Condition(sequence=sequence)).square().sum().backward()
    (queries,) = [p for n, p in asking.named_parameters() if n.endswith("resampler.queries")]
    assert (queries.grad.abs().amax(1) > 0).all()
    asking.zero_grad()
    asking(x, level, Condition(sequence=sequence).null()).square().sum().backward()
    assert not queries.grad.any()


def test_queries_learn_what_to_ask_for():
    """Of 12 tokens one is marked, at a random place; the value that it carries is to be told."""
    rng = torch.Generator().manual_seed(0)
    with seeded(0):
        resampler, out = Resampler(16, 2, 2), torch.nn.Linear(16, 1)
    learner = torch.optim.Adam([*resampler.parameters(), *out.parameters()], lr=5e-3)
    for _ in range(250):
        x = torch.randn(64, 12, 16, generator=rng)
        marked = torch.randint(12, (64,), generator=rng)
        x[:, :, 0] = 3.0 * torch.nn.functional.one_hot(marked, 12)
        wanted = x[torch.arange(64), marked, 1]
        loss = (out(resampler(AttendedSequence.of(x)).values[:, 0])[:, 0] - wanted).square().mean()
        learner.zero_grad()
        loss.backward()
        learner.step()
    assert loss < 0.2  # 1 is what a guess has; the mean of all tokens explains a twelfth of it


def test_numbers_below_1_are_refused():
    with pytest.raises(UsageError, match="queries=0"):
        Resampler(8, 0, 2)
    with pytest.raises(UsageError, match="sequence_queries=-1"):
        UNet(channels=1, sequence_width=4, sequence_queries=-1)

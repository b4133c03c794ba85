"""Joint attention: one block by hand, grids of every shape by one network, and captions that are padded at will."""

import pytest
import torch
import torch.nn.functional as F
from networks import awake

from unmelt.backbone import JointDiT
from unmelt.backbone.attention import AttendedSequence
from unmelt.backbone.joint_dit import JointBlock
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import Stream


def network(**settings):
    return awake(JointDiT(**{"channels": 2, "width": 16, "depth": 2, "heads": 2, "sequence_width": 5} | settings))


def norm(x):
    return F.layer_norm(x, x.shape[-1:])


@torch.no_grad()
def test_a_block_is_attention_over_both_sides_together():
    block = awake(JointBlock(8, 2, 16, with_sequence=True, last=False)).double()
    draw = Stream(0)
    h, c = draw.normal((3, 4, 8)).double(), draw.normal((3, 5, 8)).double()
    parts = [draw.normal((3, 1, 8)).double() for _ in range(12)]
    angle = draw.normal((4, 2)).double()
    real = torch.tensor([[True] * 5, [True, True, False, False, False], [True, False, True, False, True]])
    found, tokens = block(h, angle, AttendedSequence.of(c, real), parts[:6], parts[6:])

    def side(of, x, scale, shift):
        q, k, v = (of.project((1 + scale) * norm(x) + shift)).chunk(3, -1)
        heads = [each.unflatten(-1, (2, 4)).movedim(-2, 1) for each in (q, k, v)]
        return of.query_norm(heads[0]), of.key_norm(heads[1]), heads[2]

    def turn(x):
        first, second = x.chunk(2, -1)
        both = torch.complex(first, second) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([both.real, both.imag], -1)

    q1, k1, v1 = side(block.patches, h, parts[0], parts[1])
    q2, k2, v2 = side(block.sequence, c, parts[6], parts[7])
    for row in range(3):
        q = torch.cat([turn(q1[row]), q2[row]], 1)
        k = torch.cat([turn(k1[row]), k2[row][:, real[row]]], 1)
        v = torch.cat([v1[row], v2[row][:, real[row]]], 1)
        answer = ((q @ k.mT) / 2).softmax(-1) @ v
        for of, x, said, after, mine in (
            (block.patches, h, answer[:, :4], found, parts[:6]),
            (block.sequence, c, answer[:, 4:], tokens.values, parts[6:]),
        ):
            _, _, gate1, scale2, shift2, gate2 = (each[row] for each in mine)
            exact = x[row] + gate1 * of.out(said.movedim(0, 1).flatten(1))
            exact = exact + gate2 * of.mlp((1 + scale2) * norm(exact) + shift2)
            torch.testing.assert_close(after[row], exact, rtol=1e-9, atol=1e-9)


def test_one_network_takes_grids_of_every_shape_and_knows_their_places():
    made, level = network(), torch.zeros(1)
    with torch.no_grad():
        for size in [(2, 2), (4, 10), (12, 2)]:
            x = Stream(0).normal((1, 2, *size))
            out = made(x, level)
            assert out.shape == x.shape
            if size != (2, 2):
                assert not torch.allclose(made(x.flip(3), level).flip(3), out, atol=1e-3)
            assert not torch.allclose(made(x.flip(2), level).flip(2), out, atol=1e-3)
    for wrong in [(1, 2, 3, 4), (1, 3, 4, 4), (1, 2, 4)]:
        with pytest.raises(UsageError, match="whose sides are multiples of"):
            made(torch.zeros(wrong), level)


@torch.no_grad()
def test_padding_a_caption_to_77_tokens_changes_the_output_by_1e_6_at_most():
    made, x, level = network().double(), Stream(0).normal((2, 2, 8, 8)).double(), torch.zeros(2).double()
    sequence = Stream(1).normal((2, 16, 5)).double()
    padded = torch.cat([sequence, 1e3 * torch.ones(2, 61, 5).double()], 1)
    mask = (torch.arange(77) < 16).expand(2, -1)
    short = made(x, level, Condition(sequence=sequence))
    assert (made(x, level, Condition(sequence=padded, sequence_mask=mask)) - short).abs().max() < 1e-6
    assert (made(x, level) - short).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("wrong", "said"), [({"heads": 3}, "an even number of features"), ({"patch": (2,)}, "for each dimension")]
)
def test_sizes_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        network(**wrong)

"""Tokens that attend to one another: nothing at first, padding never, and order of binding once they have learned."""

import pytest
import torch
from networks import awake

from unmelt.backbone import DiT, UNet
from unmelt.backbone.sequence_blocks import SequenceBlock
from unmelt.condition import Condition
from unmelt.rng import seeded


def made(kind, depth):
    with seeded(0):
        if kind is UNet:
            sizes = {"width": 8, "multipliers": (1, 1), "blocks": 1, "attention": (False, True)}
            return UNet(channels=1, sequence_width=6, sequence_depth=depth, **sizes)
        return DiT(channels=1, size=(8, 8), width=16, depth=1, heads=2, sequence_width=6, sequence_depth=depth)


def test_a_block_begins_as_the_identity():
    h = torch.randn(2, 5, 16)
    assert torch.equal(SequenceBlock(16, 4)(h), h)


@pytest.mark.parametrize("kind", [UNet, DiT])
def test_blocks_add_weights_and_change_no_others(kind):
    plain, deep = made(kind, 0), made(kind, 2)
    extra = set(deep.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(deep.state_dict())
    assert all("sequence_blocks" in name for name in extra)


@pytest.mark.parametrize("kind", [UNet, DiT])
def test_padding_and_other_rows_change_nothing(kind):
    network = awake(made(kind, 2))
    x, level, sequence = torch.randn(2, 1, 8, 8), torch.zeros(2), torch.randn(2, 3, 6)
    alone = network(x, level, Condition(sequence=sequence))
    padded = torch.cat([sequence, torch.randn(2, 4, 6)], 1)
    mask = torch.arange(7).expand(2, 7) < 3
    both = Condition(sequence=padded, sequence_mask=mask)
    torch.testing.assert_close(network(x, level, both), alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(x[:1], level[:1], both[:1]), alone[:1], atol=1e-5, rtol=1e-5)
    null = network(x, level, both.null())
    torch.testing.assert_close(network(x, level), null)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_token_is_read_in_view_of_its_neighbours(depth):
    """A token changes what is attended to at another only through the blocks."""
    network = awake(made(UNet, depth))
    one, other = torch.randn(1, 3, 6), torch.randn(1, 3, 6)
    other[:, :2] = one[:, :2]
    tokens = [
        network.told(torch.zeros(1, 1, 8, 8), torch.zeros(1), Condition(sequence=each)).tokens for each in (one, other)
    ]
    assert torch.equal(tokens[0].values[:, :2], tokens[1].values[:, :2]) == (depth == 0)

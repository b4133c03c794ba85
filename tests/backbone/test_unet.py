"""What is particular to the U-Net."""

from itertools import product

import pytest
import torch
from networks import NETWORKS, awake

from unmelt.backbone import UNet
from unmelt.errors import UsageError


@pytest.mark.parametrize("size", [(1, 1), (7, 4), (28, 28), (9, 13)])
def test_any_size(size):
    network = awake(UNet(channels=2, width=8, multipliers=(1, 1, 1, 1), blocks=1, attention=(False,) * 4))
    x = torch.randn(2, 2, *size)
    assert network(x, torch.zeros(2)).shape == x.shape


def test_coarse_grid_lies_over_the_fine_one():
    """Without a seam: what is learned at one place of a constant picture holds away from the border at all others."""
    network = awake(UNet(channels=1, width=8, multipliers=(1, 1), blocks=1, attention=(False, False)))
    out = network(torch.ones(1, 1, 61, 61), torch.zeros(1))[0, 0, 26:-26, 26:-26]
    torch.testing.assert_close(out, out[:1, :1].expand_as(out), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("space", "size"), [(1, (6,)), (2, (4, 6)), (3, (4, 4, 6))])
def test_patches_are_channels_of_a_coarser_grid(space, size):
    """A U-Net on patches is one on all shifts of x by less than a patch, side by side."""
    options = {"space": space, "width": 8, "multipliers": (1, 1), "blocks": 1, "attention": 2 * (False,)}
    network = awake(UNet(channels=2, patch=2, **options))
    on_shifts = UNet(channels=2 * 2**space, **options)
    on_shifts.load_state_dict(network.state_dict())
    x, level = torch.randn(3, 2, *size), torch.randn(3)
    every = [(..., *(slice(first, None, 2) for first in shift)) for shift in product((0, 1), repeat=space)]
    shifts = torch.stack([x[one] for one in every], dim=2).flatten(1, 2)
    out, wanted = network(x, level), on_shifts(shifts, level).unflatten(1, (2, -1))
    for number, one in enumerate(every):
        torch.testing.assert_close(out[one], wanted[:, :, number])


def test_sides_that_are_no_multiple_of_a_patch_are_refused():
    network = UNet(channels=1, patch=(1, 2), width=8, multipliers=(1,), blocks=1, attention=(False,))
    assert network(torch.zeros(2, 1, 5, 4), torch.zeros(2)).shape == (2, 1, 5, 4)
    with pytest.raises(UsageError, match=r"sides are multiples of \(1, 2\)"):
        network(torch.zeros(2, 1, 4, 5), torch.zeros(2))


def test_memory_format_changes_nothing_and_is_kept():
    network = awake(NETWORKS["unet-2d"]())
    x, level = torch.randn(2, 1, 8, 8), torch.zeros(2)
    before = network(x, level)
    network = network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x.to(memory_format=torch.channels_last), level), before, atol=1e-4, rtol=1e-4)


def test_dropout_is_for_training():
    network = awake(UNet(channels=1, width=8, dropout=0.5, heads=2))
    x, level = torch.randn(1, 1, 8, 8), torch.zeros(1)
    assert torch.equal(network(x, level), network(x, level))
    network.train()
    assert not torch.equal(network(x, level), network(x, level))


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        ({"width": 30}, r"width=32"),
        ({"channels": 0}, r"channels=1"),
        ({"space": 4}, r"space=2"),
        ({"patch": 0}, r"patch=1"),
        ({"patch": (2, 2, 2)}, r"space=3"),
        ({"multipliers": (1, 2), "attention": (True,)}, r"attention=\(False, True\)"),
        ({"multipliers": (), "attention": ()}, r"levels"),
        ({"heads": 3}, r"heads=2"),
        ({"dropout": 1.0}, r"dropout=0.1"),
        ({"classes": -1}, r"classes=0"),
    ],
)
def test_bad_arguments_come_with_a_correction(arguments, instead):
    with pytest.raises(UsageError, match=f"Try: .*{instead}"):
        UNet(**{"channels": 1, "width": 16} | arguments)

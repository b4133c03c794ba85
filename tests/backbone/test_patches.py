"""Patches of grids."""

import pytest
import torch

from unmelt.backbone.patches import from_patches, to_patches


@pytest.mark.parametrize(
    ("size", "patch"), [((8,), (2,)), ((4, 6), (2, 3)), ((2, 4, 6), (1, 2, 3)), ((4, 2, 4, 2), (2, 1, 4, 2))]
)
def test_patches_come_apart_and_go_back(size, patch):
    x = torch.randn(3, 2, *size)
    assert torch.equal(from_patches(to_patches(x, patch), size, patch), x)


def test_a_patch_is_a_box_of_neighbours():
    x = torch.arange(2 * 4 * 6).view(1, 2, 4, 6).float()
    patches = to_patches(x, (2, 3))
    assert patches.shape == (1, 4, 12)
    for place, (i, j) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        assert torch.equal(patches[0, place], x[0, :, i : i + 2, j : j + 3].flatten())

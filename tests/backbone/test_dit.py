"""What is particular to the transformer."""

import pytest
import torch

from unmelt.backbone import DiT
from unmelt.backbone.dit import from_patches, to_patches
from unmelt.errors import UsageError


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


def test_one_number_is_a_patch_for_every_dimension():
    assert DiT(channels=1, size=(4, 6), patch=2, width=16).patch == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        ({"patch": 3}, r"patch=\(1, 3\)"),
        ({"patch": (2, 2, 2)}, r"patch=\(2, 2\)"),
        ({"patch": 0}, r"patch=1"),
        ({"heads": 5}, r"heads=4"),
        ({"depth": 0}, r"depth=1"),
        ({"mlp_ratio": 0.0}, r"mlp_ratio=4.0"),
    ],
)
def test_bad_arguments_come_with_a_correction(arguments, instead):
    with pytest.raises(UsageError, match=f"Try: .*{instead}"):
        DiT(**{"channels": 1, "size": (4, 6), "width": 16} | arguments)

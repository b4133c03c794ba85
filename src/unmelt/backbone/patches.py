"""Patches: every box of a grid as one vector, so that a network works on a coarser grid of more channels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


def to_patches(x: Float[Tensor, "rows channels *space"], patch: Sequence[int]) -> Float[Tensor, "rows places values"]:
    """Every box of a grid as one vector, boxes in the order of space.

    Args:
        x: [rows, channels, *space].
        patch: Sides of a box.

    Returns:
        [rows, places, values].
    """
    dims = len(patch)
    split = [n for size, p in zip(x.shape[2:], patch, strict=True) for n in (size // p, p)]
    boxes = x.reshape(*x.shape[:2], *split)
    places, within = [2 + 2 * d for d in range(dims)], [3 + 2 * d for d in range(dims)]
    return boxes.permute(0, *places, 1, *within).flatten(1, dims).flatten(2)


def from_patches(
    patches: Float[Tensor, "rows places values"], size: Sequence[int], patch: Sequence[int]
) -> Float[Tensor, "rows channels *space"]:
    """The inverse of `to_patches`.

    Args:
        patches: [rows, places, values].
        size: Sides of the grid.
        patch: Sides of a box.

    Returns:
        [rows, channels, *size].
    """
    dims = len(patch)
    grid = [n // p for n, p in zip(size, patch, strict=True)]
    boxes = patches.reshape(patches.shape[0], *grid, -1, *patch)
    pairs = [axis for d in range(dims) for axis in (1 + d, 2 + dims + d)]
    return boxes.permute(0, 1 + dims, *pairs).reshape(patches.shape[0], -1, *size)

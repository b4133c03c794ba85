"""Checks of the arguments that backbones are given.

Sizes are whole numbers with a least value. The level is [rows], but where a backbone has one vector for each frame.
"""

from collections.abc import Sequence

from torch import Tensor

from unmelt.errors import UsageError


def at_least(least: int, owner: str, **values: int) -> None:
    """Refuse sizes that are too small.

    Args:
        least: The least value.
        owner: Name of the backbone.
        **values: The sizes, by the names of their arguments.

    Raises:
        UsageError: If a value is below the least.
    """
    for name, value in values.items():
        if value < least:
            raise UsageError(
                f"{owner} was given {name}={value}",
                f"{name} must be a whole number, {least} or more",
                f"{owner}(..., {name}={least})",
            )


def level_of_rows(owner: str, level: Tensor) -> None:
    """Refuse levels finer than rows.

    Args:
        owner: Name of the backbone.
        level: Noise levels that it was given.

    Raises:
        UsageError: If the level is not [rows].
    """
    if level.ndim != 1:
        raise UsageError(
            f"{owner} was given levels of shape {tuple(level.shape)}",
            "one level a row: it has no axis of frames",
            "backbone.FrameTransformer(...), which takes levels [rows, frames]",
        )


def check_grid(owner: str, x: Tensor, level: Tensor, channels: int, patch: Sequence[int]) -> None:
    """Refuse inputs of a backbone that takes grids of any size.

    Args:
        owner: Name of the backbone.
        x: Its input.
        level: Noise levels that it was given.
        channels: Channels that it was made for.
        patch: Sides of its patches, one for each dimension of the grid.

    Raises:
        UsageError: If x is not [rows, channels, *space] with sides that the patches divide, or the level not [rows].
    """
    level_of_rows(owner, level)
    space = len(patch)
    if x.ndim != 2 + space or x.shape[1] != channels or any(map(int.__mod__, x.shape[2:], patch)):
        multiples = f", whose sides are multiples of {tuple(patch)}" if max(patch) > 1 else ""
        given = x.shape[1] if x.ndim > 1 else channels
        raise UsageError(
            f"x has shape {tuple(x.shape)}",
            f"this {owner} was made for {channels} channels over {space} dimensions{multiples}",
            f"{owner}(channels={given}, space={max(x.ndim - 2, 1)}, ...)",
        )

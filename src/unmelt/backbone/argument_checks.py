"""Checks of the arguments that backbones are given.

Sizes are whole numbers with a least value. The level is [rows], but where a backbone has one vector for each frame.
"""

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

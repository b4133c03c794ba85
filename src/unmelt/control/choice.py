"""Controls by name."""

from unmelt.control.control import Control
from unmelt.control.edges import Edges
from unmelt.control.gray import Gray
from unmelt.control.low_resolution import LowResolution
from unmelt.errors import UsageError, nearest

KINDS = (Edges.name, Gray.name, LowResolution.name)
"""Names that `control_named` knows."""


def control_named(name: str, channels: int) -> Control:
    """The control of a name.

    Args:
        name: "edges", "gray" or "low-resolution".
        channels: Channels of the pictures.

    Returns:
        The control.

    Raises:
        UsageError: If there is none of this name.
    """
    if name not in KINDS:
        raise UsageError(f"control={name!r}", f"one of {', '.join(KINDS)}", f"control={nearest(name, KINDS)!r}")
    return LowResolution(channels=channels) if name == LowResolution.name else Edges() if name == Edges.name else Gray()

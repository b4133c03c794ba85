"""Things: what is painted in a picture of a scene, or read in one."""

from typing import NamedTuple


class Thing(NamedTuple):
    """One object in a picture.

    Args:
        object: What it is, of OBJECTS.
        colour: Of COLOURS.
        x: Its centre from the left, as a share of the picture's side.
        y: Its centre from the top.
    """

    object: str
    colour: str
    x: float
    y: float

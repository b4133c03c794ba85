"""A picture that the reader can touch: drop a point on it, or draw a density with the mouse, a finger or the keys."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from unmelt.picture.vector import Axes


class Pad(anywidget.AnyWidget):
    """What lies on a frame, and what the reader put there.

    picture   the frame, drawn: HTML from `vector.draw`; set it anew whenever what lies below changes
    point     [x, y] where a point was dropped; empty before that
    trace     [[x, y], ...] along what was drawn
    """

    _esm = Path(__file__).parent / "pad.js"
    picture = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    mode = traitlets.Unicode("drop").tag(sync=True)
    point: Any = traitlets.List([]).tag(sync=True)
    trace: Any = traitlets.List([]).tag(sync=True)
    area: Any = traitlets.List([]).tag(sync=True)
    size: Any = traitlets.List([]).tag(sync=True)
    limits: Any = traitlets.List([]).tag(sync=True)

    @classmethod
    def on(cls, axes: Axes, label: str, mode: str = "drop", point: tuple[float, float] | None = None) -> "Pad":
        """A pad on this axes, for a point ("drop") or a drawing ("draw"); `label` says so to those who hear it."""
        return cls(
            label=label,
            mode=mode,
            area=list(axes.area),
            size=[axes.width, axes.height],
            limits=[*axes.x, *axes.y],
            point=[] if point is None else list(point),
        )

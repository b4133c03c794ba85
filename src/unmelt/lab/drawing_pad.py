"""A picture that reacts to the reader: drop a point on it, or draw a density with the mouse, a finger or the keys."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from unmelt.picture.vector import Axes


class Pad(anywidget.AnyWidget):
    """A widget that shows a picture and reports what the reader put on it.

    Attributes:
        picture: HTML from `vector.draw`; set it again whenever what lies below changes.
        label: Description for screen readers.
        mode: "drop" for a point, "draw" for a drawing.
        point: [x, y] of the dropped point; empty before that.
        trace: [[x, y], ...] along the drawing.
    """

    _esm = Path(__file__).parent / "drawing_pad.js"
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
        """A pad on a picture's axes.

        Args:
            axes: The axes of the picture.
            label: Description for screen readers.
            mode: "drop" for a point, "draw" for a drawing.
            point: Initial point; None for none.

        Returns:
            The widget.
        """
        return cls(
            label=label,
            mode=mode,
            area=list(axes.area),
            size=[axes.width, axes.height],
            limits=[*axes.x, *axes.y],
            point=[] if point is None else list(point),
        )

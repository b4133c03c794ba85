"""Control: a picture that is aligned with the result and says what is where in it.

What one is computed from training pictures as    Edges, Gray, LowResolution, control_named
What all of these are                             Control
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.control.choice import KINDS, control_named
    from unmelt.control.control import PICTURE, SCALE, Control
    from unmelt.control.edges import Edges
    from unmelt.control.gray import Gray, luminance
    from unmelt.control.low_resolution import LowResolution

__all__ = ["KINDS", "PICTURE", "SCALE", "Control", "Edges", "Gray", "LowResolution", "control_named", "luminance"]

publish(__name__)

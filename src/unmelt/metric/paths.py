"""How straight the paths from noise to data are. A path that is a line needs one step.

Paths are measured in the coordinates (w, u) = (x, sigma) / (alpha + sigma), in which u goes from 1 at noise to 0 at
data whatever the schedule:

    bend(u)  = rms |w(u) - chord(u)| / rms |w(1) - w(0)|          chord(u) = w(0) + u / u_max (w(u_max) - w(0))
    S        = E integral |dw/du - (w(1) - w(0))|^2 du / E |w(1) - w(0)|^2         (Liu et al., 2023, section 2.2)
    detour   = E length / chord - 1
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.process.gaussian import Gaussian
from unmelt.sampler import State


class Straightness(NamedTuple):
    """How much paths deviate from lines; all figures are 0 for straight paths.

    Args:
        u: The times of the path, from 1 at noise to 0 at data.
        bend: Root mean square distance from the chord at each u, as a share of the chord's length.
        s: Straightness S, the mean squared deviation of the velocity, as a share of the chord's squared length.
        detour: Mean length of the paths over that of their chords, minus 1.
    """

    u: Float64[Tensor, " knots"]
    bend: Float64[Tensor, " knots"]
    s: float
    detour: float


def straightness(states: Sequence[State], process: Gaussian) -> Straightness:
    """Measure the straightness of trajectories. S and detour become exact as steps become many.

    Args:
        states: The states of a trajectory from noise to data; all rows of a state are at one time.
        process: The process that the states belong to.

    Returns:
        bend, S and detour, over all rows.

    Raises:
        UsageError: If there are fewer than three states.
    """
    if len(states) < 3:
        raise UsageError(f"a path of {len(states)} states", "at least three", "list(trajectory(...))")
    straight = [process.straight_coordinates(state.x.double(), state.t) for state in states]
    w = torch.stack([each.flatten(1) for each, _ in straight])
    u = torch.stack([each[0] for _, each in straight])
    whole = (w[0] - w[-1]) / (u[0] - u[-1])
    chord = w[-1] + (u - u[-1])[:, None, None] * whole
    size = (w[0] - w[-1]).square().sum(1)
    bend = ((w - chord).square().sum(2).mean(1) / size.mean()).sqrt()
    moves, spans = w.diff(dim=0), u.diff()
    slopes = moves / spans[:, None, None]
    off = ((slopes - whole).square().sum(2).mean(1) * spans.abs()).sum()
    detour = moves.norm(dim=2).sum(0) / size.sqrt() - 1
    return Straightness(u, bend, (off / whole.square().sum(1).mean()).item(), detour.mean().item())

"""How straight the paths from noise to data are: a path that is a line needs one step.

In straight coordinates (w, u) = (x, sigma) / (alpha + sigma), u from 1 at noise to 0 at data, whatever the schedule:

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
    """bend at each u; S and detour, 0 for straight paths."""

    u: Float64[Tensor, " knots"]
    bend: Float64[Tensor, " knots"]
    s: float
    detour: float


def straightness(states: Sequence[State], process: Gaussian) -> Straightness:
    """Of a trajectory's states, all rows at one time in each; the more steps, the closer S and detour are."""
    if len(states) < 3:
        raise UsageError(f"a path of {len(states)} states", "at least three", "list(trajectory(...))")
    straight = [process.straighten(state.x.double(), state.t) for state in states]
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

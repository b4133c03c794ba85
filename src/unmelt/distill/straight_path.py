"""The probability-flow ODE as distillation needs it: slopes in straight coordinates, and derivatives along the path.

In (w, u) = (x, sigma) / (alpha + sigma) the ODE of a belief E is dw/du = (w - E) / u, on every schedule
(`sampler/straight_coordinates.py`). A function of (x_t, t) changes along it at the rate

    d/du f(x_t, t) = df/dx dx/du + df/dt dt/du,      dx/du = (alpha + sigma) dw/du + (alpha' + sigma') w dt/du

which is one forward-mode derivative (a Jacobian-vector product).
"""

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.autograd import forward_ad

from unmelt.condition import Condition
from unmelt.process.gaussian import Gaussian, expand_like


def straight_time(process: Gaussian, t: Float64[Tensor, " rows"]) -> Float64[Tensor, " rows"]:
    """u, the noise's share sigma / (alpha + sigma) at a time.

    Args:
        process: The process.
        t: [rows], times.

    Returns:
        [rows].
    """
    alpha, sigma = process.level(t)
    return sigma / (alpha + sigma)


def schedule_time(process: Gaussian, u: Float64[Tensor, " rows"]) -> Float64[Tensor, " rows"]:
    """The time at which u is reached.

    Args:
        process: The process.
        u: [rows], from 0 to its value at t = 1.

    Returns:
        [rows].
    """
    return process.schedule.time(2 * torch.log((1 - u) / u)).clamp(0, 1)


def derivative_along_path(
    student: Any,
    x_t: Float[Tensor, "rows *shape"],
    t: Float64[Tensor, " rows"],
    s: Float64[Tensor, " rows"],
    condition: Condition | None,
    mean: Float[Tensor, "rows *shape"],
) -> tuple[Float[Tensor, "rows *shape"], Float[Tensor, "rows *shape"]]:
    """A flow map's belief D(x_t, t, s), and dD/du along the path at fixed s. One network call in forward mode.

    It is made without autocast: a derivative in half precision is mostly rounding.

    Args:
        student: The flow map.
        x_t: [rows, *shape], data at time t.
        t: [rows], times above 0.
        s: [rows], times to arrive at.
        condition: What is known of each row.
        mean: The believed x0 that gives the path its direction.

    Returns:
        (D with its graph, dD/du as a constant), both of the shape of x_t.
    """
    process, schedule = student.process, student.process.schedule
    with torch.no_grad():
        w, u = process.straight_coordinates(x_t, t)
        alpha, sigma = process.level(t)
        alpha_rate, sigma_rate = schedule.alpha_rate(t), schedule.sigma_rate(t)
        dt = (alpha + sigma) ** 2 / (alpha * sigma_rate - sigma * alpha_rate)
        dw = (w - mean) / expand_like(u, w)
        dx = expand_like(alpha + sigma, w) * dw + expand_like((alpha_rate + sigma_rate) * dt, w) * w
    with torch.autocast(x_t.device.type, enabled=False), forward_ad.dual_level():
        # An expanded tensor cannot have a tangent.
        at_x, at_t = forward_ad.make_dual(x_t.detach().contiguous(), dx), forward_ad.make_dual(t.contiguous(), dt)
        belief, slope = forward_ad.unpack_dual(student.jump(at_x, at_t, s, condition).mean)
    return belief, torch.zeros_like(belief) if slope is None else slope.detach()

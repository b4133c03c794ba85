"""Flow maps: networks that jump along the probability-flow ODE, from any time t to any time s <= t.

In straight coordinates (w, u) = (x, sigma) / (alpha + sigma) the ODE is dw/du = v(w, u) = (w - E[x0 | x]) / u. Its flow
map is given by the average velocity over the jump (MeanFlow: Geng et al., 2025, equation 3; Boffi et al., 2025),

    w_s = w_t - (u_t - u_s) V(x_t, t, s),      V(x_t, t, s) = 1 / (u_t - u_s) integral of v du from u_s to u_t

which is here written as a belief about x0,

    D(x_t, t, s) = w_t - u_t V(x_t, t, s),      x_s = process.ode_step(x_t, D(x_t, t, s), t, s)

so that a jump is one step of every deterministic solver, with a belief that makes the step exact. Its limits are

    s = t    V = v       D = E[x0 | x_t]      the denoiser of diffusion and flow matching
    s = 0    D = x_0                          the consistency function (Song et al., 2023): where the path ends

and x_s = x_t at s = t whatever D is. The network is parametrised as every denoiser is, by a prediction at time t, with
the noise level at s as a further input:

    D(x_t, t, s) = c_skip(t) x_t + c_out(t) F(c_in(t) x_t, c_noise(t), c_noise(s))

With `prediction.FlowVelocity` on `schedule.Straight`, F is V itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.network import check_prediction, coefficients
from unmelt.denoiser.precondition import noise_level
from unmelt.denoiser.prediction import Prediction
from unmelt.denoiser.weight_precision import call_backbone
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, Level
from unmelt.schedule import Schedule

MOST_SCALE = 1e3
"""Largest guidance scale that a flow map can learn."""


@checked_init("um.denoiser.FlowMap")
class FlowMap(CallRepr, nn.Module):
    """Flow map with a network: backbone with an arrival level, process and prediction. It is also a denoiser.

    Args:
        backbone: Network called as backbone(x, level, condition, arrival), the levels having the shape of the times;
            those of `unmelt.backbone` are made for it by `with_arrival=True`.
        process: The process.
        prediction: What the output of the backbone means, with the belief D in the place of x0.
        shape: The shape of one row of x.
        data_sd: Standard deviation of the data, by which inputs are scaled to unit size.
        guidance_range: (low, high), the guidance scales that the network has learned. It is given the scale of each row
            (`Condition.guidance_scale`), for which it needs `with_guidance=True`. None: it knows no guidance.
        is_denoiser: Whether jumps of no length were learned, which give the belief E[x0 | x_t]. If not, it only jumps.

    Raises:
        UsageError: If the backbone takes no arrival level or no guidance scale, or x0 cannot be had from the prediction
            at t = 1.
    """

    def __init__(
        self,
        backbone: nn.Module,
        process: Gaussian,
        prediction: Prediction,
        shape: Sequence[int],
        data_sd: float = 1.0,
        guidance_range: Sequence[float] | None = None,
        is_denoiser: bool = True,
    ) -> None:
        super().__init__()
        check_jumps("FlowMap", backbone, guidance_range)
        check_prediction(prediction, process.schedule)
        self.backbone, self.process, self.prediction = backbone, process, prediction
        self.shape, self.data_sd = tuple(shape), data_sd
        self.guidance_range = None if guidance_range is None else tuple(guidance_range)
        self.is_denoiser = is_denoiser

    def jump(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief with which `process.ode_step` goes from x_t to x_s. One network call.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to arrive at, s <= t.
            condition: What is known of each row.

        Returns:
            D(x_t, t, s), of the shape of x_t.
        """
        schedule = self.process.schedule
        c_in, level, c_skip, c_out = coefficients(self.prediction, schedule, self.data_sd, t, x_t.dtype, x_t.ndim)
        arrival = arrival_level(schedule, s, x_t.dtype)
        output = call_backbone(self.backbone, x_t * c_in, level, condition, arrival)
        mean = torch.addcmul(c_skip * x_t, c_out, output.to(x_t.dtype))
        return Point(mean if condition is None else condition.masked(mean))

    def forward(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief about x0, which is that of a jump of no length.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            condition: What is known of each row.

        Returns:
            The believed x0, of the shape of x_t.

        Raises:
            UsageError: If it only jumps.
        """
        check_denoises(self)
        return self.jump(x_t, t, t, condition)


def check_jumps(owner: str, backbone: nn.Module, guidance_range: Sequence[float] | None) -> None:
    """Refuse a backbone that takes no time of arrival as an input, or no guidance scale where one is needed.

    Args:
        owner: Class of the flow map, for the message.
        backbone: The network.
        guidance_range: (low, high), guidance scales that it is to know; None for none.

    Raises:
        UsageError: If it cannot, or the range is none.
    """
    name = type(backbone).__name__
    if not getattr(backbone, "with_arrival", True):
        raise UsageError(
            f"a {owner} with a {name} that takes no arrival level", "a backbone that does", f"{name}(with_arrival=True)"
        )
    if guidance_range is None:
        return
    if len(guidance_range) != 2 or not 0 < guidance_range[0] <= 1 <= guidance_range[1] <= MOST_SCALE:
        raise UsageError(
            f"guidance_range={tuple(guidance_range)}",
            f"the lowest and the highest scale, from above 0 to {MOST_SCALE:g}, with 1 (unguided) between them",
            "guidance_range=(1.0, 4.0)",
        )
    if not getattr(backbone, "with_guidance", True):
        raise UsageError(
            f"a {owner} with guidance_range={tuple(guidance_range)} and a {name} that takes no guidance scale",
            "a backbone that does",
            f"{name}(with_guidance=True)",
        )


def check_denoises(flow_map: Any) -> None:
    """Refuse to give the belief of a flow map that only jumps.

    Args:
        flow_map: The flow map.

    Raises:
        UsageError: If it has not learned jumps of no length.
    """
    if not flow_map.is_denoiser:
        raise UsageError(
            "the belief at one time of a student that only jumps", "its own sampler", "sampler=um.sampler.Jump()"
        )


@memoized
def arrival_level(schedule: Schedule, s: Tensor, dtype: torch.dtype) -> Tensor:
    """The noise level that a jump arrives at, as networks are given it.

    Args:
        schedule: The schedule.
        s: [rows, *axes], times to arrive at.
        dtype: Precision of the answer.

    Returns:
        [rows, *axes].
    """
    return noise_level(Level(schedule.alpha(s), schedule.sigma(s)), dtype)

"""A network made into a denoiser by stating what its output means.

    belief(x_t, t) = c_skip(t) x_t + c_out(t) F(c_in(t) x_t, c_noise(t))

with c_skip and c_out from the prediction, and c_in and c_noise as in `precondition.py` (Karras et al., 2022,
equation 7).
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.denoiser.prediction import Prediction
from unmelt.denoiser.weight_precision import call_backbone
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.process.broadcast import expand
from unmelt.process.gaussian import Gaussian, Level
from unmelt.schedule import Schedule


@checked_init("um.denoiser.NetworkDenoiser")
class NetworkDenoiser(CallRepr, nn.Module):
    """Denoiser with a network: backbone, process and prediction.

    Args:
        backbone: Network called as backbone(x, level, condition), level having the shape of t: [rows, *axes].
        process: The process.
        prediction: What the output of the backbone means.
        shape: The shape of one row of x.
        data_sd: Standard deviation of the data, by which inputs are scaled to unit size.

    Raises:
        UsageError: If x0 cannot be had from the prediction at t = 1 on this schedule.
    """

    rows_are_independent: ClassVar[bool] = True
    """Whether rows may be added to a call: the belief about each depends on itself alone."""

    def __init__(
        self,
        backbone: nn.Module,
        process: Gaussian,
        prediction: Prediction,
        shape: Sequence[int],
        data_sd: float = 1.0,
    ) -> None:
        super().__init__()
        check_prediction(prediction, process.schedule)
        self.backbone, self.process, self.prediction = backbone, process, prediction
        self.shape, self.data_sd = tuple(shape), data_sd

    def forward(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief about x0.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            condition: What is known of each row.

        Returns:
            The believed x0, of the shape of x_t.
        """
        c_in, level, c_skip, c_out = coefficients(
            self.prediction, self.process.schedule, self.data_sd, t, x_t.dtype, x_t.ndim
        )
        output = call_backbone(self.backbone, x_t * c_in, level, condition)
        mean = torch.addcmul(c_skip * x_t, c_out, output.to(x_t.dtype))
        return Point(mean if condition is None else condition.masked(mean))


def check_prediction(prediction: Prediction, schedule: Schedule) -> None:
    """Refuse a prediction from which x0 cannot be had at t = 1.

    Args:
        prediction: The prediction.
        schedule: The schedule.

    Raises:
        UsageError: If the prediction needs signal and the schedule leaves none at t = 1.
    """
    end = schedule.alpha(torch.ones((), dtype=torch.float64)).item()
    if prediction.needs_signal and end == 0:
        raise UsageError(
            f"{type(prediction).__name__} prediction on {type(schedule).__name__}, which has no signal left at t = 1",
            "a prediction from which x0 can be had when alpha = 0",
            "prediction.V(), prediction.X0() or prediction.Preconditioned()",
        )


@memoized
def coefficients(
    prediction: Prediction, schedule: Schedule, data_sd: float, t: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All that a network call needs of its times, in one look-up.

    Args:
        prediction: What the network's output means.
        schedule: The schedule.
        data_sd: Standard deviation of the data.
        t: [rows, *axes], times.
        dtype: Precision of x_t.
        ndim: Number of dimensions of x_t.

    Returns:
        (c_in, level, c_skip, c_out); all but the level are shaped to multiply x_t.
    """
    level = Level(schedule.alpha(t), schedule.sigma(t))
    c_skip, c_out = prediction.coefficients(t, schedule)
    c_in = unit_scale(torch.ones_like(t), level, data_sd)
    return expand(c_in, dtype, ndim), noise_level(level, dtype), expand(c_skip, dtype, ndim), expand(c_out, dtype, ndim)

"""A network, made into a denoiser by saying what its output means."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.denoiser.prediction import Prediction
from unmelt.errors import UsageError
from unmelt.memoize import memoized
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, Level, expand
from unmelt.schedule import Schedule


class Network(nn.Module):
    """Backbone + process + prediction. The backbone is called as `backbone(x, level[rows], condition)`.

    shape      of one row of x
    data_sd    standard deviation of the data, by which inputs are scaled to unit size
    """

    def __init__(
        self,
        backbone: nn.Module,
        process: Gaussian,
        prediction: Prediction,
        shape: Sequence[int],
        data_sd: float = 1.0,
    ) -> None:
        super().__init__()
        end = process.schedule.alpha(torch.ones((), dtype=torch.float64)).item()
        if prediction.needs_signal and end == 0:
            raise UsageError(
                f"{type(prediction).__name__} prediction on {type(process.schedule).__name__}, "
                "which has no signal left at t = 1",
                "a prediction from which x0 can be had when alpha = 0",
                "prediction.V(), prediction.X0() or prediction.Preconditioned()",
            )
        self.backbone, self.process, self.prediction = backbone, process, prediction
        self.shape, self.data_sd = tuple(shape), data_sd

    def forward(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Point:
        unit, level, c_skip, c_out = _numbers(
            self.prediction, self.process.schedule, self.data_sd, t, x_t.dtype, x_t.ndim
        )
        output = self.backbone(x_t * unit, level, condition)
        return Point(torch.addcmul(c_skip * x_t, c_out, output.to(x_t.dtype)))


@memoized
def _numbers(
    prediction: Prediction, schedule: Schedule, data_sd: float, t: Tensor, dtype: torch.dtype, ndim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All that a call needs of its times, in one look-up: what x_t is scaled by, the network's level, keep and take."""
    level = Level(schedule.alpha(t), schedule.sigma(t))
    c_skip, c_out = prediction.coefficients(t, schedule)
    unit = unit_scale(torch.ones_like(t), level, data_sd)
    return expand(unit, dtype, ndim), noise_level(level, dtype), expand(c_skip, dtype, ndim), expand(c_out, dtype, ndim)

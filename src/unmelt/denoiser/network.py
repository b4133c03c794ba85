"""A network, made into a denoiser by saying what its output means."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.denoiser.prediction import Prediction
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian


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
        level = self.process.level(t)
        scaled = unit_scale(x_t, level, self.data_sd)
        output = self.backbone(scaled, noise_level(level, x_t.dtype), condition)
        return Point(self.prediction.mean(output.to(x_t.dtype), x_t, t, self.process))

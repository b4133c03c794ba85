"""The exact flow map of a Gaussian, in closed form."""

import torch
from conformance.subjects import Anisotropic
from torch import Tensor

from unmelt.posterior import Point


class ExactFlowMap:
    """The flow of the probability-flow ODE of one Gaussian; times are one a row, or one a frame of a row."""

    def __init__(self, on) -> None:
        self.truth = Anisotropic.make()
        self.denoiser = self.truth.denoiser(on)
        self.process, self.shape = self.denoiser.process, self.denoiser.shape

    def __call__(self, x_t: Tensor, t: Tensor, condition=None) -> Point:
        return Point(self.denoiser(x_t.reshape(-1, 3), t.flatten()).mean.view_as(x_t))

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """x_s."""
        on = self.process.schedule
        return self.truth.flow(x_t, on, t[..., None], s[..., None])

    def jump(self, x_t: Tensor, t: Tensor, s: Tensor, condition=None) -> Point:
        """D with x_s = c_x x_t + c_x0 D; the posterior mean where s = t."""
        on = self.process.schedule
        ratio = on.sigma(s) / torch.where(s < t, on.sigma(t), 1.0)
        c_x0 = torch.where(s < t, on.alpha(s) - on.alpha(t) * ratio, 1.0)[..., None]
        belief = (self.flow(x_t, t, s) - ratio[..., None] * x_t) / c_x0
        return Point(torch.where((s < t)[..., None], belief, self(x_t, t).mean))

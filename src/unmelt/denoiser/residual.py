"""A network that refines the belief of a simpler denoiser, rather than forming one from nothing.

    belief(x_t) = base(x_t) + c_out F(c_in x_t, base(x_t)),      c_out = sigma r / sqrt(alpha^2 r^2 + sigma^2)

This is EDM's preconditioning (Karras et al., 2022) with its skip connection, the best belief for white data, replaced
by a better one; r is about the standard deviation of what the base leaves open.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.denoiser.gaussian_mixture import GaussianMixtureDenoiser
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, expand_like


class ResidualDenoiser(nn.Module):
    """Backbone + base.

    backbone      sees x_t and the base's belief side by side, so it is made for twice the channels; of what it
                  returns, the first half is used
    data_sd       standard deviation of the data
    residual_sd   r above
    """

    def __init__(
        self, backbone: nn.Module, base: GaussianMixtureDenoiser, data_sd: float = 1.0, residual_sd: float = 0.5
    ) -> None:
        super().__init__()
        self.backbone, self.base, self.data_sd, self.residual_sd = backbone, base, data_sd, residual_sd

    @property
    def process(self) -> Gaussian:
        return self.base.process

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        level = self.process.level(t)
        base = self.base(x_t, t, condition).mean
        seen = torch.cat([unit_scale(x_t, level, self.data_sd), base], 1)
        output = self.backbone(seen, noise_level(level, x_t.dtype), condition)[:, : x_t.shape[1]]
        alpha, sigma = level
        scale = sigma * self.residual_sd * torch.rsqrt((alpha * self.residual_sd) ** 2 + sigma**2)
        return Point(base + expand_like(scale, x_t) * output.to(x_t.dtype))

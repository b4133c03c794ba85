"""A network that corrects the belief of a simpler denoiser.

    belief(x_t) = base(x_t) + c_out F(c_in x_t, base(x_t)),      c_out = sigma r / sqrt(alpha^2 r^2 + sigma^2)

This is EDM's preconditioning (Karras et al., 2022) with its skip connection, the best belief for white data, replaced
by a better one; r is about the standard deviation of x0 given the base's belief.
"""

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.gaussian_mixture import GaussianMixtureDenoiser
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.denoiser.weight_precision import call_backbone
from unmelt.posterior import Point
from unmelt.process.broadcast import expand_like
from unmelt.process.gaussian import Gaussian

if TYPE_CHECKING:
    from unmelt.denoiser.residual_flow_map import ResidualFlowMap


@checked_init("um.denoiser.ResidualDenoiser")
class ResidualDenoiser(CallRepr, nn.Module):
    """Denoiser that adds a network's output to the belief of a Gaussian mixture. Times are one a row.

    Args:
        backbone: Network called as backbone(x, level, condition). Its x is x_t and the base's belief, concatenated, so
            it is made for twice the channels; the first half of its output is used.
        base: Denoiser to improve on.
        data_sd: Standard deviation of the data.
        residual_sd: r above, about the standard deviation of x0 given the base's belief.
    """

    rows_are_independent: ClassVar[bool] = True
    """Whether rows may be added to a call: the belief about each depends on itself alone."""

    def __init__(
        self, backbone: nn.Module, base: GaussianMixtureDenoiser, data_sd: float = 1.0, residual_sd: float = 0.5
    ) -> None:
        super().__init__()
        self.backbone, self.base, self.data_sd, self.residual_sd = backbone, base, data_sd, residual_sd

    @property
    def process(self) -> Gaussian:
        """The process of the base."""
        return self.base.process

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.base.shape

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Point:
        """The belief about x0.

        Args:
            x_t: [rows, *shape], data at time t.
            t: [rows], times.
            condition: What is known of each row.

        Returns:
            The believed x0, of the shape of x_t.

        Raises:
            UsageError: If the times are finer than rows.
        """
        return corrected_belief(self, self.base(x_t, t, condition).mean, x_t, t, condition)


def corrected_belief(
    denoiser: "ResidualDenoiser | ResidualFlowMap",
    base: Tensor,
    x_t: Tensor,
    t: Tensor,
    condition: Condition | None,
    *arrival: Tensor,
) -> Point:
    """The base's belief with the network's correction.

    Args:
        denoiser: The network, and the sizes of what goes in and comes out.
        base: [rows, *shape], what is to be corrected.
        x_t: [rows, *shape], data at time t.
        t: [rows], times.
        condition: What is known of each row.
        arrival: The noise level of a jump's arrival, [rows], where there is one.

    Returns:
        The believed x0, of the shape of x_t.
    """
    level = denoiser.process.level(t)
    inputs = torch.cat([unit_scale(x_t, level, denoiser.data_sd), base], 1)
    output = call_backbone(denoiser.backbone, inputs, noise_level(level, x_t.dtype), condition, *arrival)
    output = output[:, : x_t.shape[1]]
    alpha, sigma = level
    c_out = sigma * denoiser.residual_sd * torch.rsqrt((alpha * denoiser.residual_sd) ** 2 + sigma**2)
    return Point(base + expand_like(c_out, x_t) * output.to(x_t.dtype))

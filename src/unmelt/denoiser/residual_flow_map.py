"""A flow map that corrects the jumps of a Gaussian mixture: what `ResidualDenoiser` is to `NetworkDenoiser`.

    D(x_t, t, s) = base(x_t, t, s) + c_out(t) F(c_in(t) x_t, base(x_t, t, s), c_noise(t), c_noise(s))

with D the belief of `flow_map.py`, by which a jump from t arrives exactly at s, and base the mixture's own jump
(`gaussian_mixture.py`), which is exact where the data are one Gaussian, and the mixture's belief where s = t.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.flow_map import arrival_level, check_denoises, check_jumps
from unmelt.denoiser.gaussian_mixture import GaussianMixtureDenoiser
from unmelt.denoiser.residual import corrected_belief
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian


@checked_init("um.denoiser.ResidualFlowMap")
class ResidualFlowMap(CallRepr, nn.Module):
    """Flow map that adds a network's output to the jumps of a Gaussian mixture. Times are one a row.

    Args:
        backbone: Network as that of a `ResidualDenoiser`, with an arrival level.
        base: Mixture whose jumps are to be improved on.
        data_sd: Standard deviation of the data.
        residual_sd: About the standard deviation of x0 given the base's belief.
        guidance_range: (low, high), the guidance scales that the network has learned; see `FlowMap`. None: none.
        is_denoiser: Whether jumps of no length were learned, which give the belief E[x0 | x_t]. If not, it only jumps.

    Raises:
        UsageError: If the backbone takes no arrival level or no guidance scale.
    """

    def __init__(
        self,
        backbone: nn.Module,
        base: GaussianMixtureDenoiser,
        data_sd: float = 1.0,
        residual_sd: float = 0.5,
        guidance_range: Sequence[float] | None = None,
        is_denoiser: bool = True,
    ) -> None:
        super().__init__()
        check_jumps("ResidualFlowMap", backbone, guidance_range)
        self.backbone, self.base, self.data_sd, self.residual_sd = backbone, base, data_sd, residual_sd
        self.guidance_range = None if guidance_range is None else tuple(guidance_range)
        self.is_denoiser = is_denoiser

    @property
    def process(self) -> Gaussian:
        """The process of the base."""
        return self.base.process

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.base.shape

    def jump(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief with which `process.ode_step` goes from x_t to x_s. One network call.

        Args:
            x_t: [rows, *shape], data at time t.
            t: [rows], times of x_t.
            s: [rows], times to arrive at, s <= t.
            condition: What is known of each row.

        Returns:
            D(x_t, t, s), of the shape of x_t.
        """
        base = self.base.jump(x_t, t, s, condition).mean
        return corrected_belief(self, base, x_t, t, condition, arrival_level(self.process.schedule, s, x_t.dtype))

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        """The belief about x0, which is that of a jump of no length.

        Args:
            x_t: [rows, *shape], data at time t.
            t: [rows], times.
            condition: What is known of each row.

        Returns:
            The believed x0, of the shape of x_t.

        Raises:
            UsageError: If it only jumps.
        """
        check_denoises(self)
        return self.jump(x_t, t, t, condition)

"""How much an error in x0 counts at each noise level.

Every weight here multiplies |belief - x0|^2, whatever the network predicts, so that they can be compared: a flat loss
on a prediction is a weight of that prediction's gain squared, which is SNR for noise and
(sigma^2 + alpha^2 sd^2) / (sigma sd)^2 for EDM's F (Salimans and Ho, 2022, section 4; Kingma and Gao, 2023, section 4).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.denoiser.prediction import Noise, Preconditioned, Prediction
from unmelt.errors import UsageError
from unmelt.objective.times import Times
from unmelt.schedule import Schedule


class Weight(ABC):
    """A factor for the squared error in x0 at each noise level."""

    @abstractmethod
    def __call__(
        self, t: Float64[Tensor, "rows *axes"], schedule: Schedule, times: Times
    ) -> Float64[Tensor, "rows *axes"]:
        """The weight.

        Args:
            t: [rows, *axes], times.
            schedule: The schedule.
            times: The distribution that t was drawn from.

        Returns:
            The weights, of the shape of t.
        """


@final
@checked_init("um.objective.FlatWeight")
@dataclass(frozen=True)
class FlatWeight(Weight):
    """Equal weight of all noise levels, for the error of a prediction's output.

    Args:
        prediction: The prediction in whose units the error is measured.
    """

    prediction: Prediction = Noise()

    def __call__(self, t: Tensor, schedule: Schedule, times: Times) -> Tensor:
        return self.prediction.gain(t, schedule) ** 2


@final
@checked_init("um.objective.EDMWeight")
@dataclass(frozen=True)
class EDMWeight(Weight):
    """Weight (sigma^2 + alpha^2 sd^2) / (sigma sd)^2, flat in F (Karras et al., 2022, table 1).

    Args:
        data_sd: Standard deviation sd of the data.
    """

    data_sd: float = 0.5

    def __call__(self, t: Tensor, schedule: Schedule, times: Times) -> Tensor:
        return Preconditioned(self.data_sd).gain(t, schedule) ** 2


@final
@checked_init("um.objective.MinSNR")
@dataclass(frozen=True)
class MinSNR(Weight):
    """Weight min(SNR, gamma) (Hang et al., 2023, section 3.4).

    Args:
        gamma: Largest weight.

    Raises:
        UsageError: If gamma is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise UsageError(f"MinSNR with gamma={self.gamma}", "a positive number", "MinSNR(gamma=5.0)")

    def __call__(self, t: Tensor, schedule: Schedule, times: Times) -> Tensor:
        return schedule.log_snr(t).exp().clamp_max(self.gamma)


@final
@dataclass(frozen=True)
class ELBOWeight(Weight):
    """Weight -SNR'(t) / 2 over the density of t: the loss is the diffusion part of -log p(x0), in nats a dimension.

    (Kingma et al., 2021, equation 17.) It is the only weight that depends on the distribution of the times, which it
    corrects for.
    """

    def __call__(self, t: Tensor, schedule: Schedule, times: Times) -> Tensor:
        return -0.5 * schedule.log_snr_rate(t) * schedule.log_snr(t).exp() / times.density(t, schedule)

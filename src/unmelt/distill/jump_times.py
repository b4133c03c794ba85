"""Which jumps a student practises: from t to s <= t.

    u_t from a law of noise levels,      u_s uniform in [0, u_t],      u = sigma / (alpha + sigma)

but for a share of the rows that begin at pure noise, a share that jump to clean data, and a share that stay where they
are (s = t), where the jump's belief is the denoiser's.

Methods that aim at their own derivative along the path carry what they know from low noise to high noise. Rows that
begin exactly at pure noise then weigh an end that nothing behind them holds, and training diverges: for such methods
`from_noise` is 0, and the law of t is wide enough to come near.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.distill.straight_path import schedule_time, straight_time
from unmelt.errors import UsageError
from unmelt.objective import LogNormalSigma, Stratified, Times
from unmelt.process.gaussian import Gaussian
from unmelt.rng import Random


@final
@checked_init("um.distill.JumpTimes")
@dataclass(frozen=True, kw_only=True)
class JumpTimes:
    """The law of pairs (t, s).

    Args:
        times: Distribution of t.
        from_noise: Share of rows with t = 1.
        to_data: Share of rows with s = 0.
        still: Share of rows with s = t.

    Raises:
        UsageError: If a share is not from 0 to 1, or `to_data` and `still` are more than 1 together.
    """

    times: Times = Stratified(LogNormalSigma(mean=0.0, sd=1.8))
    from_noise: float = 0.0
    to_data: float = 0.25
    still: float = 0.25

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("from_noise", "to_data", "still")}
        if not all(0 <= share <= 1 for share in shares.values()) or self.to_data + self.still > 1:
            raise UsageError(
                f"JumpTimes with {', '.join(f'{name}={share}' for name, share in shares.items())}",
                "shares from 0 to 1, of which to_data and still are at most 1 together",
                "JumpTimes(from_noise=0.0, to_data=0.25, still=0.25)",
            )

    def draw(
        self, rows: int, process: Gaussian, rng: Random, device: torch.device
    ) -> tuple[Float64[Tensor, " rows"], Float64[Tensor, " rows"]]:
        """Draw the jumps of a batch.

        Args:
            rows: Number of rows.
            process: The process.
            rng: Source of randomness.
            device: Where the times go.

        Returns:
            (t, s), each [rows], with 0 <= s <= t <= 1.
        """
        t = self.times.draw(rows, process.schedule, rng)
        begins, kind, share = rng.uniform((rows, 3), torch.float64).unbind(1)
        t = torch.where(begins < self.from_noise, 1.0, t)
        s = torch.minimum(schedule_time(process, straight_time(process, t) * share), t)
        s = torch.where(kind < self.to_data, 0.0, torch.where(kind > 1 - self.still, t, s))
        return t.to(device), s.to(device)

"""Guidance that does not raise contrast (Lin et al., 2024, section 3.4).

    rescaled = guided sd(plain) / sd(guided),      answer = guided + share (rescaled - guided)

Strong guidance exaggerates the belief as a whole, which saturates images. Here the standard deviation of the guided
belief, over the numbers of each row, is brought back towards that of the unguided belief. The paper rescales the
network's output; here the belief about x0 is rescaled, so that the result does not depend on what the network was
trained to output.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.errors import UsageError
from unmelt.guidance.guidance import Guidance
from unmelt.posterior import Point
from unmelt.process.gaussian import expand_like


@final
@checked_init("um.guidance.Rescale")
class Rescale(DenoiserWrapper):
    """Any guidance with its contrast restored, without further network calls.

    Args:
        denoiser: The guidance to rescale.
        share: 0 leaves the guidance as it is, 1 restores the standard deviation wholly (the paper's phi, 0.7).

    Raises:
        UsageError: If the share is not from 0 to 1, or the denoiser is not a `Guidance`.
    """

    def __init__(self, denoiser: Guidance, share: float = 0.7) -> None:
        if not 0 <= share <= 1:
            raise UsageError(f"Rescale with share={share}", "a share from 0 to 1", "Rescale(guided, share=0.7)")
        if not isinstance(denoiser, Guidance):
            raise UsageError(
                f"Rescale around a {type(denoiser).__name__}, which is not guided",
                "a guidance with a scale",
                "Rescale(CFG(denoiser, scale=3.0))",
            )
        self.denoiser: Guidance = denoiser
        self.share = share

    def __call__(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        plain, guided = self.denoiser.beliefs(x_t, t, condition)
        before, after = (_deviation(belief.mean) for belief in (plain, guided))
        ratio = torch.where(after > 0, before / after, 1.0)
        return guided.lerp(Point(guided.mean * expand_like(ratio, x_t)), self.share)


def _deviation(x: Float[Tensor, "rows *shape"]) -> Float[Tensor, " rows"]:
    return x.flatten(1).std(1, correction=0)

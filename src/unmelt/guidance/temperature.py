"""Temperature: tokens drawn from sharper or flatter beliefs, p^(1 / temperature), normalised.

The limit at 0 is the likeliest token. How sure a model is of a position does not depend on the temperature: orders and
paces rank by the belief as it was.
"""

import math
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.token_transform import TokenTransform
from unmelt.posterior import Categorical

COLDEST = 1e-30
"""Stands for temperature 0: differences of logits divided by it are still finite in float32."""

LEAD = 1e4
"""At temperature 0, the lead of the first of equally likely tokens; exp(-1e4) is 0 in float64."""


def check_temperature(temperature: float) -> None:
    """Refuse what is no temperature.

    Args:
        temperature: The temperature.

    Raises:
        UsageError: If it is negative or not finite.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise UsageError(f"a temperature of {temperature}", "a number that is not negative", "temperature=0.7")


def tempered(logits: Float[Tensor, "*places vocabulary"], temperature: float) -> Float[Tensor, "*places vocabulary"]:
    """Logits of p^(1 / temperature).

    Args:
        logits: Logits of p.
        temperature: 1 changes nothing; 0 leaves the likeliest token alone, of equally likely ones the first.

    Returns:
        The logits, not normalised.
    """
    highest = logits.amax(-1, keepdim=True).clamp_min(torch.finfo(logits.dtype).min)  # keeps -inf everywhere as it is
    colder = (logits - highest) / max(temperature, COLDEST)
    return colder if temperature > 0 else colder.scatter(-1, logits.argmax(-1, keepdim=True), LEAD)


@final
@checked_init("um.guidance.Temperature")
class Temperature(TokenTransform):
    """A denoiser of tokens that are drawn from sharper or flatter beliefs.

    Args:
        denoiser: A denoiser of tokens.
        temperature: 1 changes nothing; 0 draws the likeliest token, of equally likely ones the first.

    Raises:
        UsageError: If the temperature is negative or not finite.
    """

    def __init__(self, denoiser: Denoiser, temperature: float) -> None:
        check_temperature(temperature)
        self.denoiser, self.temperature = denoiser, temperature

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        if self.temperature == 1:
            return belief
        return belief.redrawn(lambda logits: tempered(logits, self.temperature))

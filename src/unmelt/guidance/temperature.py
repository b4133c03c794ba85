"""Temperature: sharper or flatter beliefs, p^(1 / temperature), normalised."""

import math
from typing import final

from jaxtyping import Int64
from torch import Tensor

from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.token_transform import TokenTransform
from unmelt.posterior import Categorical


@final
class Temperature(TokenTransform):
    """A denoiser of tokens whose beliefs are made sharper or flatter.

    Args:
        denoiser: A denoiser of tokens.
        temperature: 1 changes nothing; as it approaches 0 only the likeliest token is left.

    Raises:
        UsageError: If the temperature is not a positive number.
    """

    def __init__(self, denoiser: Denoiser, temperature: float) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise UsageError(f"a temperature of {temperature}", "a positive number", "temperature=0.7")
        self.denoiser, self.temperature = denoiser, temperature

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        return belief if self.temperature == 1 else Categorical(belief.logits / self.temperature)

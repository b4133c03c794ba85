"""Temperature: a belief made sharper or flatter, p^(1 / temperature)."""

import math
from typing import final

from jaxtyping import Int64
from torch import Tensor

from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.guidance.reshaped import Reshaped
from unmelt.posterior import Categorical


@final
class Temperature(Reshaped):
    """1 changes nothing; towards 0 only the likeliest token is left."""

    def __init__(self, denoiser: Denoiser, temperature: float) -> None:
        if not (math.isfinite(temperature) and temperature > 0):
            raise UsageError(f"a temperature of {temperature}", "a positive number", "temperature=0.7")
        self.denoiser, self.temperature = denoiser, temperature

    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        return belief if self.temperature == 1 else Categorical(belief.logits / self.temperature)

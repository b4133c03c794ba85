"""A denoiser of unmelt as a diffusers model, to be called by diffusers' schedulers.

    edm    sample x_t / alpha, scaled by c_in; timestep log(sigma / alpha) / 4; output (x0 - c_skip x_t / alpha) / c_out
    flow   sample w = x_t / (alpha + sigma);   timestep 1000 u, u = sigma / (alpha + sigma);     output (w - x0) / u

The first is the convention of EDM's schedulers (Karras et al., 2022, table 1), the second that of flow matching. Either
works for every schedule: schedules differ in how fast time passes, and neither convention mentions time. A flow map (a
student) has the second, with the timestep that a step arrives at as another input: a jump is then one Euler step.
"""

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.process.gaussian import expand_like

PARTS: dict[str, type] = {}
"""The classes that a description may name; an exported file adds those that it holds."""


def build(description: Any) -> Any:
    """Build a part from its description.

    Args:
        description: {"part": name, argument: value, ...}, nested as parts are.

    Returns:
        The part; a plain value as it is.
    """
    if isinstance(description, list | tuple):
        return tuple(build(value) for value in description)
    if not isinstance(description, dict):
        return description
    given = {name: build(value) for name, value in description.items() if name != "part"}
    return PARTS[description["part"]](**given)


class UnmeltDenoiser(ModelMixin, ConfigMixin):
    """The described denoiser in the convention of a kind of scheduler.

    Args:
        description: The denoiser, as `config.describe` gives it.
        convention: "edm" or "flow".
        start: For "flow", the value of u at t = 1.
        classes: Names of the classes, for information.
        jumps: Whether it is a flow map: the timestep that a step arrives at is another input.
        guided: Whether the guidance scale is an input, in place of a second call without the class.
    """

    @register_to_config
    def __init__(
        self,
        description: dict[str, Any],
        convention: str,
        start: float,
        classes: tuple[str, ...],
        jumps: bool = False,
        guided: bool = False,
    ) -> None:
        super().__init__()
        self.inner = build(description)

    def forward(
        self,
        sample: Float[Tensor, "rows *shape"],
        timestep: Float[Tensor, "*n"],
        class_labels: Int64[Tensor, " rows"] | None = None,
        arrival: Float[Tensor, "*n"] | None = None,
        guidance: float | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """The output that the scheduler expects.

        Args:
            sample: The scheduler's sample.
            timestep: The scheduler's timestep, one for all rows or one a row.
            class_labels: Class numbers, -1 for the null condition; None for no classes.
            arrival: The timestep that the step arrives at, for a flow map.
            guidance: Guidance scale, for a network that has it as an input.

        Returns:
            The output in this convention.
        """
        condition = None
        scale = None if guidance is None else torch.full((len(sample),), float(guidance), device=sample.device)
        if class_labels is not None:
            given = {"label": class_labels >= 0}
            condition = Condition(label=class_labels.clamp_min(0), guidance_scale=scale, given=given)
        elif scale is not None:
            condition = Condition(guidance_scale=scale)
        timestep, *left = [
            each.to(sample.device).double().expand(len(sample)) for each in (timestep, arrival) if each is not None
        ]
        if self.config.convention == "edm":
            return self._edm(sample, timestep, condition)
        return self._flow(sample, timestep, left, condition)

    def _edm(self, scaled: Tensor, level: Tensor, condition: Condition | None) -> Tensor:
        ratio, sd = torch.exp(4 * level), self.inner.data_sd
        size = torch.sqrt(ratio**2 + sd**2)
        x = expand_like(size, scaled) * scaled
        t = self.inner.process.schedule.time(-8 * level).clamp(0, 1)
        x0 = self.inner(expand_like(self.inner.process.level(t).alpha, x) * x, t, condition).mean
        return (x0 - expand_like((sd / size) ** 2, x) * x) / expand_like(ratio * sd / size, x)

    def _flow(self, w: Tensor, timestep: Tensor, arrival: list[Tensor], condition: Condition | None) -> Tensor:
        levels = [each / 1000 for each in (timestep, *arrival)]
        t, *left = [self.inner.process.schedule.time(2 * torch.log((1 - u) / u)).clamp(0, 1) for u in levels]
        alpha, sigma = self.inner.process.level(t)
        belief = self.inner.jump if self.config.jumps else self.inner
        return (w - belief(expand_like(alpha + sigma, w) * w, t, *left, condition).mean) / expand_like(levels[0], w)


class UnmeltDecoder(ModelMixin, ConfigMixin):
    """The described autoencoder, from latents to images in [0, 1].

    Args:
        description: The autoencoder, as `config.describe` gives it.
    """

    @register_to_config
    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__()
        self.inner = build(description)

    def forward(self, latents: Float[Tensor, "rows *latent"]) -> Float[Tensor, "rows *shape"]:
        """Decode.

        Args:
            latents: What the denoiser sees.

        Returns:
            The images.
        """
        images: Tensor = self.inner.decode(latents)
        return images

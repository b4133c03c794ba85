"""A denoiser of unmelt as a model of diffusers, which its schedulers call.

    edm    sample x_t / alpha, scaled by c_in; timestep log(sigma / alpha) / 4; output (x0 - c_skip x_t / alpha) / c_out
    flow   sample w = x_t / (alpha + sigma);   timestep 1000 u, u = sigma / (alpha + sigma);     output (w - x0) / u

The first is what EDM's schedulers expect (Karras et al., 2022, table 1), the second what those of flow matching do. In
either, one schedule is as good as another: they differ in how fast time passes, and time is not mentioned.
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
    """A part from {"part": name, argument: value, ...}."""
    if isinstance(description, list | tuple):
        return tuple(build(value) for value in description)
    if not isinstance(description, dict):
        return description
    given = {name: build(value) for name, value in description.items() if name != "part"}
    return PARTS[description["part"]](**given)


class UnmeltDenoiser(ModelMixin, ConfigMixin):
    """The denoiser that is described, in the convention of a kind of scheduler.

    start   u at t = 1, for flow
    """

    @register_to_config
    def __init__(self, description: dict[str, Any], convention: str, start: float, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.inner = build(description)

    def forward(
        self,
        sample: Float[Tensor, "rows *shape"],
        timestep: Float[Tensor, "*n"],
        class_labels: Int64[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """What the scheduler asks for; a class of -1 is none."""
        condition = None
        if class_labels is not None:
            condition = Condition(label=class_labels.clamp_min(0), given={"label": class_labels >= 0})
        timestep = timestep.to(sample.device).double().expand(len(sample))
        return (self._edm if self.config.convention == "edm" else self._flow)(sample, timestep, condition)

    def _edm(self, scaled: Tensor, level: Tensor, condition: Condition | None) -> Tensor:
        ratio, sd = torch.exp(4 * level), self.inner.data_sd
        size = torch.sqrt(ratio**2 + sd**2)
        x = expand_like(size, scaled) * scaled
        t = self.inner.process.schedule.time(-8 * level).clamp(0, 1)
        x0 = self.inner(expand_like(self.inner.process.level(t).alpha, x) * x, t, condition).mean
        return (x0 - expand_like((sd / size) ** 2, x) * x) / expand_like(ratio * sd / size, x)

    def _flow(self, w: Tensor, timestep: Tensor, condition: Condition | None) -> Tensor:
        u = timestep / 1000
        t = self.inner.process.schedule.time(2 * torch.log((1 - u) / u)).clamp(0, 1)
        alpha, sigma = self.inner.process.level(t)
        return (w - self.inner(expand_like(alpha + sigma, w) * w, t, condition).mean) / expand_like(u, w)

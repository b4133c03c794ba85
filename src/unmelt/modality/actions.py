"""Actions: plans [frames, numbers], drawn as paths, judged by distances between densities.

A plan of two numbers an action is a path in the plane; of any other, a curve over time for each number (of the first
four). Real plans are drawn before the samples where there are some.

energy   Energy distance of the samples to held-out plans; `energy_floor` is that of the training plans.
sliced   Sliced Wasserstein-2 distance, squared, and its floor.

Both say how alike the plans are over all situations. How good a policy is, only its environment can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from jaxtyping import Float, Int64
from PIL.Image import Image
from torch import Tensor

from unmelt.data import Source
from unmelt.metric import SampleSet
from unmelt.modality.files import check_suffix, write_array, write_picture
from unmelt.modality.modality import Distance
from unmelt.modality.points import Points
from unmelt.picture.style import INK, colours, figure, finish, quiet

PLANS, NUMBERS, PANELS = 48, 4, 6
"""Plans in a panel, numbers of an action that are drawn over time, and panels of a strip."""


@final
@dataclass(frozen=True)
class Actions:
    """Plans of actions, [rows, frames, numbers]."""

    @property
    def name(self) -> str:
        return "actions"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".png", ".npy")

    @property
    def hub_task(self) -> str:
        return "robotics"

    def preview_rows(self, classes: int) -> int:
        """Choose 48 plans."""
        return PLANS

    def samples_to_score(self, real: int) -> int:
        """Choose as many plans as there are training plans, up to 2000."""
        return min(real, 2000)

    def draw(
        self,
        x: Float[Tensor, "rows frames numbers"],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw the plans, after real ones where there are some."""
        panels = [("plans", x)]
        if real_data is not None:
            panels.insert(0, ("demonstrations", real_data.batch(0, len(x))[0]))
        return _paths(panels)

    def strip(
        self,
        frames: Sequence[Float[Tensor, "rows frames numbers"]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw the plans at six times, the last one first, which sets the axes."""
        last = len(frames) - 1
        some = sorted({round(k * last / (PANELS - 1)) for k in range(PANELS)}, reverse=True)
        return _paths([(f"t = {times[k]:.2f}", frames[k]) for k in some])

    def write(
        self,
        x: Float[Tensor, "rows frames numbers"],
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write the picture that `draw` makes (.png), or the numbers (.npy)."""
        check_suffix(path, self.suffixes)
        if path.suffix.lower() == ".npy":
            return write_array(path, x)
        return write_picture(path, self.draw(x, labels, classes, real_data))

    def score(self, made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
        """Score by energy distance and sliced Wasserstein distance."""
        return Points().score(made, real, held_out)

    def distance(
        self, real: Float[Tensor, "n frames numbers"], held_out: Float[Tensor, "m frames numbers"]
    ) -> Distance:
        """Choose the energy distance."""
        return Points().distance(real, held_out)


def _paths(panels: Sequence[tuple[str, Tensor]]) -> Image:
    """Panels of paths with the axes of the first."""
    drawn = figure(2.8 * len(panels) + 0.3, 3.1)
    axes = drawn.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (title, x) in zip(axes, panels, strict=True):
        quiet(axis, title)
        plans = x[:PLANS].detach().cpu().double().nan_to_num(0.0).numpy()
        numbers = plans.shape[2]
        for plan in plans:
            if numbers == 2:
                axis.plot(plan[:, 0], plan[:, 1], color=INK, alpha=0.35, linewidth=0.8)
                continue
            for number, colour in zip(plan.T[:NUMBERS], colours(min(numbers, NUMBERS)), strict=True):
                axis.plot(number, color=colour, alpha=0.35, linewidth=0.8)
    first = panels[0][1][:PLANS].detach().cpu().double()
    if len(first) and first.shape[2] == 2:
        (left, low), (right, high) = first.flatten(0, 1).amin(0).tolist(), first.flatten(0, 1).amax(0).tolist()
        axes[0].set_xlim(left - 0.1 * (right - left) - 1e-6, right + 0.1 * (right - left) + 1e-6)
        axes[0].set_ylim(low - 0.1 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)
    return finish(drawn, None)

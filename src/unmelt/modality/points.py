"""Points: rows of a few numbers, shown as clouds and judged by distances between densities.

energy   Energy distance of the samples to fresh data.
sliced   Sliced Wasserstein-2 distance, squared.

`_floor` is the same between two fresh draws of real data of the same size. Rows of more than two numbers are shown in
the plane of the two main directions (principal components) of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from PIL.Image import Image
from torch import Tensor

from unmelt import picture
from unmelt.data import Source
from unmelt.metric import SampleSet, energy_distance, sliced_wasserstein
from unmelt.modality.files import check_suffix, write_array, write_picture
from unmelt.modality.modality import Distance
from unmelt.rng import Stream

MANY_POINTS, IN_STRIP = 2000, 1000
"""Points in a picture, and in each panel of a strip."""


@final
@dataclass(frozen=True)
class Points:
    """Rows of numbers of any shape, on the line or in the plane for choice."""

    @property
    def name(self) -> str:
        return "points"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".png", ".npy")

    @property
    def hub_task(self) -> str:
        return ""

    def preview_rows(self, classes: int) -> int:
        """Choose 2000 points."""
        return MANY_POINTS

    def samples_to_score(self, real: int) -> int:
        """Choose as many points as there are training points."""
        return real

    def draw(
        self,
        x: Float[Tensor, "rows *shape"],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw a cloud of the samples, and one of as many real points before it where there are some."""
        clouds = [("samples", x, labels)]
        if real_data is not None:
            real, condition = real_data.batch(0, len(x))
            clouds.insert(0, ("data", real, None if condition is None else condition.label))
        return _scatter(clouds, classes if labels is not None else ())

    def strip(
        self,
        frames: Sequence[Float[Tensor, "rows *shape"]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw a cloud for every second time, after the last one, which sets the axes."""
        few = slice(IN_STRIP)
        some = [len(frames) - 1, *range(0, len(frames) - 1, 2)]
        shown = None if labels is None else labels[few]
        clouds = [(f"t = {times[k]:.2f}", frames[k][few], shown) for k in some]
        return _scatter(clouds, classes if labels is not None else ())

    def write(
        self,
        x: Float[Tensor, "rows *shape"],
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
        return {
            "energy": energy_distance(made.x, held_out.x),
            "energy_floor": energy_distance(real.x, held_out.x),
            "sliced": sliced_wasserstein(made.x, held_out.x, Stream(0)),
            "sliced_floor": sliced_wasserstein(real.x, held_out.x, Stream(0)),
        }

    def distance(self, real: Float[Tensor, "n *shape"], held_out: Float[Tensor, "m *shape"]) -> Distance:
        """Choose the energy distance."""
        return Distance("energy distance", lambda x: energy_distance(x, held_out), energy_distance(real, held_out))


def _scatter(clouds: Sequence[tuple[str, Tensor, Tensor | None]], classes: Sequence[str]) -> Image:
    """Clouds side by side; rows of more than two numbers, in the main plane of the first cloud."""
    flat = [x.detach().cpu().flatten(1) for _, x, _ in clouds]
    if flat[0].shape[1] > 2:
        mean, axes = _main_plane(flat[0].double())
        flat = [(x.double() - mean) @ axes for x in flat]
    panels = [picture.Panel(title, x, labels) for (title, _, labels), x in zip(clouds, flat, strict=True)]
    return picture.scatter(panels, classes)


def _main_plane(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d 2"]]:
    """The mean of the finite rows, and the two directions in which they vary most."""
    finite = x[x.isfinite().all(1)]
    mean = finite.mean(0) if len(finite) else torch.zeros_like(x[0])
    axes = x.new_zeros(x.shape[1], 2)
    main = torch.linalg.svd(finite - mean, full_matrices=False).Vh[:2]
    axes[:, : len(main)] = main.T
    return mean, axes

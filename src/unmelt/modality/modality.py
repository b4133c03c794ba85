"""What a modality is: everything about a kind of data that has nothing to do with diffusion.

Processes, denoisers and samplers work on arrays. A modality says what the arrays are: which picture shows them, which
figures judge them, and which files hold them. A new kind of data is a class with these members; nothing else in the
library asks what the data are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Int64
from PIL.Image import Image
from torch import Tensor

from unmelt.data import Source
from unmelt.metric import SampleSet

Data_contra = TypeVar("Data_contra", contravariant=True)


class Distance(NamedTuple):
    """A distance of samples to held-out data, to draw curves with.

    Args:
        name: What the distance is called.
        measure: The distance of some samples to the held-out data.
        floor: The distance of real training data to the held-out data.
    """

    name: str
    measure: Callable[[Any], float]
    floor: float


@runtime_checkable
class Modality(Protocol[Data_contra]):
    """A kind of data: how it is shown, scored and written to disk.

    `x` is a tensor [rows, *shape] in data space, or a list of texts.
    """

    @property
    def name(self) -> str:
        """What the data are called in prose: "images", "points", "text", "sound"."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes of files that can be written, the default first."""

    @property
    def hub_task(self) -> str:
        """What the Hugging Face Hub calls making such data without a prompt; empty where it has no name for it."""

    def preview_rows(self, classes: int) -> int:
        """Choose how many samples a preview shows.

        Args:
            classes: The number of classes; 0 for none.

        Returns:
            The number of samples.
        """

    def samples_to_score(self, real: int) -> int:
        """Choose how many samples are scored where no number is given.

        Args:
            real: The number of training rows.

        Returns:
            The number of samples.
        """

    def draw(
        self,
        x: Data_contra,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw samples as a picture.

        Args:
            x: The samples.
            labels: The class of each sample.
            classes: The names of the classes.
            real_data: Real data, which are shown beside the samples where that helps to judge them.

        Returns:
            The picture.
        """

    def strip(
        self,
        frames: Sequence[Data_contra],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw samples at several times of a trajectory.

        Args:
            frames: The same samples at each time, in data space.
            times: The time of each frame, from noise (1) to data (0).
            labels: The class of each sample.
            classes: The names of the classes.

        Returns:
            The picture.
        """

    def write(
        self,
        x: Data_contra,
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write samples to disk, in the format that the path's suffix names.

        Args:
            x: The samples.
            path: Where to write; its folder must exist.
            labels: The class of each sample.
            classes: The names of the classes.
            real_data: Real data, as for `draw`.

        Returns:
            The files that were written. Formats that hold one sample a file give several.

        Raises:
            UsageError: If the suffix is none of `suffixes`, or the file cannot be written.
        """

    def score(self, made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
        """Score samples against held-out data.

        Args:
            made: The samples.
            real: The training data, from which floors are computed.
            held_out: Real data that were not trained on.

        Returns:
            Figures by name. `NAME_floor` is what real data get for NAME.
        """

    def distance(self, real: Data_contra, held_out: Data_contra) -> Distance:
        """Choose the distance that quality is drawn with, against the number of steps for example.

        Args:
            real: As many training rows as there will be samples; they set the floor.
            held_out: Real data that were not trained on.

        Returns:
            Its name, the distance of samples to the held-out data, and that of the training rows.
        """

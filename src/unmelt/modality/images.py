"""Images: [channels, height, width] in [0, 1], shown as tiles and judged by Fréchet distance over pixels.

frechet              Fréchet distance of the samples to held-out images, over pixels; `frechet_floor` is that of the
                     training images. n samples add about c / n to the distance: take many samples, as for an FID.
frechet_equal        The same of as many samples as there are training images.
frechet_extrapolated What the distance would come to with infinitely many samples.
frechet_detail       Fréchet distance over crops of 8 pixels at full resolution, which tells blurred images from sharp
                     ones; `frechet_detail_floor` is that of the training images. Only for images of over 8 pixels.
nearest_train        Median distance of a sample to its nearest training image; `nearest_floor` is that of held-out
                     images. A model that copies its training images falls far below the floor.
classifier_accuracy  Share of samples to which a classifier, fitted to the training images, gives their own class;
                     `classifier_floor` is its share of held-out images. Only where there are classes.
"""

from __future__ import annotations

import math
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
from unmelt.metric import (
    Classifier,
    Pixels,
    SampleSet,
    frechet_distance,
    frechet_extrapolated,
    image_crops,
    most_judged,
    nearest_neighbour,
)
from unmelt.modality.files import check_suffix, write_array, write_picture
from unmelt.modality.modality import Distance
from unmelt.rng import Stream

FEW_SAMPLES = 20_000
"""Scores of fewer images say more about the draw than about the model."""

PER_CLASS, MOST_TILES, IN_STRIP, MOMENTS = 8, 128, 8, 9
"""Images of each class in a picture, images in all, rows and columns of a strip."""


@final
@dataclass(frozen=True)
class Images:
    """Images [rows, channels, height, width] with 1 or 3 channels, in [0, 1]."""

    @property
    def name(self) -> str:
        return "images"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".png", ".npy")

    @property
    def hub_task(self) -> str:
        return "unconditional-image-generation"

    def preview_rows(self, classes: int) -> int:
        """Choose 8 images of each class, and at most 128."""
        return min(PER_CLASS * max(1, classes), MOST_TILES)

    def samples_to_score(self, real: int) -> int:
        """Choose a multiple of the number of training images, at least 20,000."""
        return math.ceil(FEW_SAMPLES / real) * real

    def draw(
        self,
        x: Float[Tensor, "rows c h w"],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw a grid of images, by class and with the names of the classes; real images are not shown."""
        if labels is None or not classes:
            return picture.tiles(x)
        return picture.by_class(x, labels, classes)

    def strip(
        self,
        frames: Sequence[Float[Tensor, "rows c h w"]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw a row for each of the first 8 samples, or for one sample of each class, and a column for each time."""
        rows = slice(IN_STRIP) if labels is None else one_of_each(labels)
        return picture.strip([frame[rows] for frame in frames], times, MOMENTS)

    def write(
        self,
        x: Float[Tensor, "rows c h w"],
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
        """Score by Fréchet distance, nearest training images and, where there are classes, a classifier."""
        features = Pixels()
        target = features(held_out.x)
        scores: dict[str, Any] = {
            "features": features.name,
            "frechet": frechet_distance(features(made.x), target),
            "frechet_equal": frechet_distance(features(made.x[: len(real.x)]), target),
            "frechet_extrapolated": frechet_extrapolated(features(made.x), target),
            "frechet_floor": frechet_distance(features(real.x), target),
            "nearest_train": nearest_neighbour(made.x, real.x).distance.median().item(),
            "nearest_floor": nearest_neighbour(held_out.x, real.x).distance.median().item(),
        }
        if max(real.x.shape[-2:]) > features.size:
            made_crops, real_crops, target = (_crops(each.x) for each in (made, real, held_out))
            scores["frechet_detail"] = frechet_distance(made_crops, target)
            scores["frechet_detail_floor"] = frechet_distance(real_crops, target)
        if made.labels is not None and real.labels is not None and held_out.labels is not None:
            some = torch.randperm(len(real.x), generator=Stream(0).generator)[: most_judged(real.x.shape[1:])]
            classifier = Classifier.fit(real.x[some], real.labels[some])
            scores["classifier_accuracy"] = classifier.accuracy(made.x, made.labels)
            scores["classifier_floor"] = classifier.accuracy(held_out.x, held_out.labels)
        return scores

    def distance(self, real: Float[Tensor, "n c h w"], held_out: Float[Tensor, "m c h w"]) -> Distance:
        """Choose the Fréchet distance over pixels."""
        features = Pixels()
        target = features(held_out)
        return Distance(
            "Fréchet distance",
            lambda x: frechet_distance(features(x), target),
            frechet_distance(features(real), target),
        )


def _crops(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "crops d"]:
    return image_crops(images).flatten(1)


def one_of_each(labels: Int64[Tensor, " rows"]) -> Int64[Tensor, " few"]:
    """Find the first row of every class.

    Args:
        labels: The class of each row.

    Returns:
        Row numbers, for the first ten of the classes that occur.
    """
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()[:10]])

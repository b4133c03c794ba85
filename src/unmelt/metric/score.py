"""The score card: which figures are reported for which kind of data, each beside what real data get.

Images     frechet        Fréchet distance of the samples to held-out images, over pixels; `frechet_floor` is that of
                          the real training images. A finite sample adds to the distance as 1 / n: take many samples,
                          as one does for an FID. `frechet_equal` is over as many as there are training images,
                          `frechet_extrapolated` what it would come to without end
           nearest_train  median distance of a sample to its nearest training image; `nearest_floor` is that of held-out
                          images, and a model that copies falls far below it
           classifier_accuracy
                          share of samples that a classifier fitted to the training images gives their own class;
                          `classifier_floor` is its share of held-out images (where there are classes)
Points     energy, sliced distances of samples to fresh data; `_floor` those between two fresh draws of the same size
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.data import Arrays, Source
from unmelt.metric.classifier import Classifier
from unmelt.metric.energy import energy
from unmelt.metric.features import Pixels
from unmelt.metric.frechet import extrapolated, frechet
from unmelt.metric.nearest import nearest
from unmelt.metric.sliced import sliced
from unmelt.rng import Stream

FRESH = 2000
"""How many points are drawn from a source that never ends."""

MOST_JUDGED = 4000
"""How many training images the judge learns from: its time grows with their square."""


class SampleSet(NamedTuple):
    """Some data, and their labels where they have any."""

    x: Float[Tensor, "n *shape"]
    labels: Int64[Tensor, " n"] | None = None


def collect(source: Source) -> SampleSet:
    """All of a finite source, or some of an endless one."""
    if isinstance(source, Arrays):
        return SampleSet(*source.all())
    x, condition = source.batch(0, FRESH)
    return SampleSet(x, None if condition is None else condition.label)


def score(made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
    """The figures for these samples."""
    return _images(made, real, held_out) if made.x.ndim == 4 else _points(made, real, held_out)


def _images(made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
    features = Pixels()
    aim = features(held_out.x)
    scores: dict[str, Any] = {
        "features": features.name,
        "frechet": frechet(features(made.x), aim),
        "frechet_equal": frechet(features(made.x[: len(real.x)]), aim),
        "frechet_extrapolated": extrapolated(features(made.x), aim),
        "frechet_floor": frechet(features(real.x), aim),
        "nearest_train": nearest(made.x, real.x).distance.median().item(),
        "nearest_floor": nearest(held_out.x, real.x).distance.median().item(),
    }
    if made.labels is not None and real.labels is not None and held_out.labels is not None:
        some = torch.randperm(len(real.x), generator=Stream(0).generator)[:MOST_JUDGED]
        judge = Classifier.fit(real.x[some], real.labels[some])
        scores["classifier_accuracy"] = judge.accuracy(made.x, made.labels)
        scores["classifier_floor"] = judge.accuracy(held_out.x, held_out.labels)
    return scores


def _points(made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
    def rng() -> Stream:
        return Stream(0)

    return {
        "energy": energy(made.x, held_out.x),
        "energy_floor": energy(real.x, held_out.x),
        "sliced": sliced(made.x, held_out.x, rng()),
        "sliced_floor": sliced(real.x, held_out.x, rng()),
    }

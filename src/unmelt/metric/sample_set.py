"""Samples, or real data, with their labels: what scores compare.

Which figures are reported is a matter of the kind of data, and stands in `unmelt.modality`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Int64
from torch import Tensor

from unmelt.data import Arrays, AspectRatioBuckets, Source

FRESH = 2000
"""Rows that are drawn from a source without end."""


class SampleSet(NamedTuple):
    """Samples or real data, and their labels where they have any.

    Args:
        x: The rows: a tensor [n, *shape], or a list of n texts.
        labels: The class of each row; None where there are no classes.
    """

    x: Any
    labels: Int64[Tensor, " n"] | None = None


def collect_samples(source: Source) -> SampleSet:
    """Collect a source's rows to compare samples with.

    Args:
        source: Where the rows come from.

    Returns:
        Every row of a finite source, in order, of one shape: of several, the main one. The first 2000 rows of a
        source without end.
    """
    if isinstance(source, AspectRatioBuckets):
        return collect_samples(source.main_bucket)
    if isinstance(source, Arrays):
        return SampleSet(*source.all())
    x, condition = source.batch(0, FRESH)
    return SampleSet(x, None if condition is None else condition.label)

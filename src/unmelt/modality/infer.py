"""The modality of models that name none: those of run folders before 0.2.0."""

from collections.abc import Sequence

from unmelt.modality.images import Images
from unmelt.modality.points import Points


def modality_of(shape: Sequence[int]) -> Images | Points:
    """Infer what data of a shape are.

    Args:
        shape: The shape of one row, in data space.

    Returns:
        `Images` for [channels, height, width], `Points` for any other shape.
    """
    return Images() if len(shape) == 3 else Points()

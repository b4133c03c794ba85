"""Inverse problems: denoisers whose belief also takes a measurement into account."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.inverse.dps import DPS
    from unmelt.inverse.exact import exact
    from unmelt.inverse.infill import Infill
    from unmelt.inverse.measured import Measured
    from unmelt.inverse.mmps import MMPS
    from unmelt.inverse.operator import Blur, Downsample, Inpainting, Masking, Matrix, Operator
    from unmelt.inverse.pigdm import PiGDM
    from unmelt.inverse.replacement import Replacement

__all__ = [
    "DPS",
    "MMPS",
    "Blur",
    "Downsample",
    "Infill",
    "Inpainting",
    "Masking",
    "Matrix",
    "Measured",
    "Operator",
    "PiGDM",
    "Replacement",
    "exact",
]

publish(__name__)

"""Inverse problems: denoisers whose belief also takes a measurement into account."""

from unmelt.inverse.dps import DPS
from unmelt.inverse.exact import exact
from unmelt.inverse.infill import Infill
from unmelt.inverse.measured import Measured
from unmelt.inverse.mmps import MMPS
from unmelt.inverse.operator import Blur, Downsample, Mask, Matrix, Operator
from unmelt.inverse.pigdm import PiGDM
from unmelt.inverse.replacement import Replacement

__all__ = [
    "DPS",
    "MMPS",
    "Blur",
    "Downsample",
    "Infill",
    "Mask",
    "Matrix",
    "Measured",
    "Operator",
    "PiGDM",
    "Replacement",
    "exact",
]

"""The times that a sampler visits: a number of steps, and how they are spread."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.sampler.grid.frame_grid import FrameGrid
    from unmelt.sampler.grid.grid import Grid, balanced, cosine, fixed, karras, log_snr, relative_levels, uniform
    from unmelt.sampler.grid.spacing import (
        MOST_STEPS,
        Balanced,
        Cosine,
        Fixed,
        Karras,
        LogSNR,
        RelativeLevels,
        Spacing,
        Uniform,
    )

__all__ = [
    "MOST_STEPS",
    "Balanced",
    "Cosine",
    "Fixed",
    "FrameGrid",
    "Grid",
    "Karras",
    "LogSNR",
    "RelativeLevels",
    "Spacing",
    "Uniform",
    "balanced",
    "cosine",
    "fixed",
    "karras",
    "log_snr",
    "relative_levels",
    "uniform",
]

publish(__name__)

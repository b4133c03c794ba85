"""Distillation: students that do in one to four network calls what their teacher does in fifty."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.distill.adversarial import Adversarial
    from unmelt.distill.autoregressive_head import AutoregressiveHead
    from unmelt.distill.consistency import Consistency
    from unmelt.distill.continuous_consistency import ContinuousConsistency
    from unmelt.distill.distillation import Distillation, Setup
    from unmelt.distill.distribution_matching import DistributionMatching
    from unmelt.distill.drifting import Drifting
    from unmelt.distill.jump_times import JumpTimes
    from unmelt.distill.mean_flow import MeanFlow
    from unmelt.distill.progressive import Progressive
    from unmelt.distill.reflow import Reflow
    from unmelt.distill.sdtt import SDTT
    from unmelt.distill.shortcut import Shortcut

__all__ = [
    "SDTT",
    "Adversarial",
    "AutoregressiveHead",
    "Consistency",
    "ContinuousConsistency",
    "Distillation",
    "DistributionMatching",
    "Drifting",
    "JumpTimes",
    "MeanFlow",
    "Progressive",
    "Reflow",
    "Setup",
    "Shortcut",
]

publish(__name__)

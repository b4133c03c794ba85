"""Samplers: from noise to data, one step at a time."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.sampler import grid, tokens
    from unmelt.sampler.adams import Adams
    from unmelt.sampler.adaptive import Adaptive
    from unmelt.sampler.ancestral import Ancestral
    from unmelt.sampler.churn import Churn
    from unmelt.sampler.continuation import continue_frames
    from unmelt.sampler.ddim import DDIM
    from unmelt.sampler.default import adams_sampler, default_sampler, learned_sampler
    from unmelt.sampler.deis import DEIS
    from unmelt.sampler.dpmpp import DPMpp
    from unmelt.sampler.dpmpp_single import DPMppSingle
    from unmelt.sampler.edit import edit
    from unmelt.sampler.euler import Euler
    from unmelt.sampler.grid import Grid
    from unmelt.sampler.heun import Heun
    from unmelt.sampler.invert import invert
    from unmelt.sampler.jump import Jump
    from unmelt.sampler.langevin import Langevin
    from unmelt.sampler.leapfrog import Leapfrog
    from unmelt.sampler.lms import LMS
    from unmelt.sampler.loop import advance, knots, sample, trajectory, walk
    from unmelt.sampler.predictor_corrector import PredictorCorrector
    from unmelt.sampler.restart import Restart
    from unmelt.sampler.rk4 import RK4
    from unmelt.sampler.sampler import Sampler
    from unmelt.sampler.sasolver import SASolver
    from unmelt.sampler.state import State
    from unmelt.sampler.tune import TuneResult, tune
    from unmelt.sampler.tuned import Tuned
    from unmelt.sampler.unipc import UniPC

__all__ = [
    "DDIM",
    "DEIS",
    "LMS",
    "RK4",
    "Adams",
    "Adaptive",
    "Ancestral",
    "Churn",
    "DPMpp",
    "DPMppSingle",
    "Euler",
    "Grid",
    "Heun",
    "Jump",
    "Langevin",
    "Leapfrog",
    "PredictorCorrector",
    "Restart",
    "SASolver",
    "Sampler",
    "State",
    "TuneResult",
    "Tuned",
    "UniPC",
    "adams_sampler",
    "advance",
    "continue_frames",
    "default_sampler",
    "edit",
    "grid",
    "invert",
    "knots",
    "learned_sampler",
    "sample",
    "tokens",
    "trajectory",
    "tune",
    "walk",
]

publish(__name__)

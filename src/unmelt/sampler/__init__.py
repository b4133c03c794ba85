"""The way back."""

from unmelt.sampler import grid
from unmelt.sampler.ancestral import Ancestral
from unmelt.sampler.ddim import DDIM
from unmelt.sampler.dpmpp import DPMpp
from unmelt.sampler.euler import Euler
from unmelt.sampler.grid import Grid
from unmelt.sampler.heun import Heun
from unmelt.sampler.langevin import Langevin
from unmelt.sampler.loop import advance, knots, sample, trajectory, walk
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State

__all__ = [
    "DDIM",
    "Ancestral",
    "DPMpp",
    "Euler",
    "Grid",
    "Heun",
    "Langevin",
    "Sampler",
    "State",
    "advance",
    "grid",
    "knots",
    "sample",
    "trajectory",
    "walk",
]

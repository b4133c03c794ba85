"""How straight paths are, against closed forms."""

import math

import pytest
import torch
from conformance.subjects import F64, column, unchecked
from scipy.integrate import quad

from unmelt import UsageError
from unmelt.denoiser import Mixture
from unmelt.metric import straightness
from unmelt.process import Gaussian
from unmelt.sampler import Adams, grid, trajectory


def states(model, steps):
    settings = {"rows": 200, "sampler": Adams(4), "grid": grid.balanced(steps), "seed": 0, "dtype": F64}
    with unchecked():
        return list(trajectory(model, **settings))


def test_paths_to_a_point_are_straight(plain_schedule):
    process = Gaussian(plain_schedule)
    model = Mixture.gaussian(column(0.7, -1.3), torch.zeros(2, 2, dtype=F64), process)
    found = straightness(states(model, 12), process)
    assert found.bend.max() < 1e-9
    assert found.s < 1e-12
    assert abs(found.detour) < 1e-9


def test_paths_to_a_gaussian_bend_as_in_the_closed_form(plain_schedule):
    """w(u) is noise times sqrt((1 - u)^2 sd^2 + u^2), from the u the schedule begins at."""
    sd, process = 0.2, Gaussian(plain_schedule)
    model = Mixture.gaussian(torch.zeros(2, dtype=F64), sd**2 * torch.eye(2, dtype=F64), process)
    found = straightness(states(model, 300), process)
    top = found.u[0].item()

    def size(u):
        return math.sqrt((1 - u) ** 2 * sd**2 + u**2)

    def slope(u):
        return (u - (1 - u) * sd**2) / size(u)

    whole = (size(top) - sd) / top
    wanted = quad(lambda u: (slope(u) - whole) ** 2, 0, top)[0] / whole**2
    assert found.s == pytest.approx(wanted, rel=0.01)
    bend = [abs(size(u) - sd - u * whole) / abs(size(top) - sd) for u in found.u.tolist()]
    assert (found.bend - column(*bend)).abs().max() < 1e-3


def test_two_states_are_refused(plain_schedule):
    process = Gaussian(plain_schedule)
    model = Mixture.gaussian(column(0.0, 0.0), torch.eye(2, dtype=F64), process)
    with pytest.raises(UsageError, match="at least three"):
        straightness(states(model, 1), process)

"""Shapes are checked in tests, however often the function was called with the right ones."""

import pytest
import torch
from jaxtyping import TypeCheckError, jaxtyped

from unmelt import schedule
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds

PROCESS = Gaussian(schedule.Cosine())
RNG = RowSeeds.of([0, 1, 2], 3)


@pytest.mark.parametrize("again", [0, 1])
def test_a_wrong_shape_is_found_in_every_call_and_every_test(again):
    x, t = torch.zeros(3, 2), torch.full((3,), 0.5)
    for _ in range(5):
        PROCESS.level(t)
        PROCESS.bridge(x, Point(x), t, t / 2, RNG)
    for _ in range(2):
        with pytest.raises(TypeCheckError):
            PROCESS.bridge(x, Point(x), t[:2], t / 2, RNG)
        with pytest.raises(TypeCheckError):
            PROCESS.level(t.long())


def test_the_import_hook_checks_by_this_decorator():
    assert jaxtyped.__module__ == "shape_checks"
    assert "shape_checks" in PROCESS.level.__func__.__code__.co_filename

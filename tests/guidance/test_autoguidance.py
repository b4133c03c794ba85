import pytest
import torch
from conformance.subjects import tilted
from kinds import batch, classes, worse

from unmelt import schedule
from unmelt.errors import UsageError
from unmelt.guidance import CFG, Autoguidance


def test_autoguidance_extrapolates_from_the_worse_belief_through_the_good_one(any_schedule):
    (x, t, condition), good, bad = batch(), classes(any_schedule), worse(any_schedule)
    strong, weak = good(x, t, condition).mean, bad(x, t, condition).mean
    guided = Autoguidance(good, bad, 2.5)(x, t, condition).mean
    torch.testing.assert_close(guided, weak + 2.5 * (strong - weak), rtol=1e-12, atol=1e-12)


def test_cfg_of_autoguidance_equals_autoguidance_of_cfg(any_schedule):
    """Both weigh the same four beliefs."""
    (x, t, condition), good, bad = batch(), classes(any_schedule), worse(any_schedule)
    outside = CFG(Autoguidance(good, bad, 2.0), 3.0)(x, t, condition).mean
    inside = Autoguidance(CFG(good, 3.0), CFG(bad, 3.0), 2.0)(x, t, condition).mean
    torch.testing.assert_close(outside, inside, rtol=1e-11, atol=1e-11)


def test_denoisers_of_different_processes_are_refused():
    with pytest.raises(UsageError, match="one process"):
        Autoguidance(tilted(schedule.Cosine()), tilted(schedule.Straight()), 2.0)

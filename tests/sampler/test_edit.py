"""SDEdit: nothing changed at one end, all anew at the other, and the closed form between them."""

import math

import pytest
import torch
from conformance.subjects import F64, SAMPLERS, Anisotropic, full, name, ring, tilted, unchecked

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds, Stream
from unmelt.sampler import DPMpp, Euler, Heun, Tuned, grid, sample
from unmelt.sampler.edit import edit

EVERY = [one for one in SAMPLERS if not isinstance(one, Tuned)]  # which is made for times of its own


def last(*args, **settings):
    *_, state = edit(*args, **settings)
    return state.x


@pytest.mark.parametrize("a_sampler", EVERY, ids=name)
def test_frames_are_those_of_a_walk_from_strength(plain_schedule, a_sampler):
    model, x0 = tilted(plain_schedule), torch.randn(3, 2, dtype=F64)
    with unchecked():
        frames = list(edit(model, x0, strength=0.4, sampler=a_sampler, grid=grid.karras(4), seed=7))
    assert len(frames) == 5
    assert frames[0].t.tolist() == [0.4] * 3
    assert frames[-1].t.tolist() == [0.0] * 3
    assert torch.equal(frames[0].x, model.process.corrupt(x0, full(3, 0.4), RowSeeds.of(7, 3))[0])
    assert torch.isfinite(frames[-1].x).all()
    assert not frames[-1].x.requires_grad


@pytest.mark.parametrize("a_sampler", EVERY, ids=name)
def test_little_strength_changes_little(plain_schedule, a_sampler):
    """What changes is of the size of the noise that was put in."""
    model = tilted(plain_schedule)
    x0 = model.sample(5, Stream(0), F64)
    for strength in (1e-2, 1e-4, 1e-8):
        noise = model.process.level(full(1, strength)).sigma.item()
        changed = last(model, x0, strength=strength, sampler=a_sampler, grid=grid.uniform(3)) - x0
        assert changed.abs().max() < 40 * noise


@pytest.mark.parametrize("a_sampler", EVERY, ids=name)
@pytest.mark.parametrize("on", [schedule.Cosine(), schedule.Straight()])
def test_full_strength_is_sampling_where_no_signal_is_left(on, a_sampler):
    settings = {"sampler": a_sampler, "grid": grid.karras(5), "seed": 3}
    edited = last(ring(on), torch.randn(4, 2, dtype=F64), strength=1.0, **settings)
    assert torch.equal(edited, sample(ring(on), rows=4, dtype=F64, **settings))


def test_edited_gaussian_in_closed_form(any_schedule):
    """Melted to t and walked back by the ODE: along each axis a scale of x0 plus a scale of the noise."""
    truth, strength = Anisotropic.make(), 0.5
    x0 = torch.randn(6, 3, dtype=F64)
    t = torch.tensor(strength, dtype=F64)
    frames = edit(
        truth.denoiser(any_schedule), x0, strength=strength, sampler=Heun(), grid=grid.log_snr(150, sigma_min=1e-3)
    )
    with unchecked():
        melted, *_, made = [frame.x for frame in frames]
    wanted = truth.flow(melted, any_schedule, t, torch.zeros((), dtype=F64))
    assert (made - wanted).abs().max() < 2e-3


def test_rows_seeds_and_conditions():
    model, x0 = ring(schedule.VarianceExploding()), torch.randn(4, 2)
    label = Condition(label=torch.tensor([0, 3, 5, 2]))
    settings = {"strength": 0.9, "sampler": DPMpp(), "grid": grid.karras(12)}
    made = last(model, x0, seed=1, condition=label, **settings)
    assert (torch.cdist(made.double(), model.means).argmin(1) == label.label).all()
    torch.testing.assert_close(last(model, x0[:2], seed=1, condition=label[:2], **settings), made[:2])


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.1, math.nan])
def test_strengths_outside_0_to_1_are_refused(strength):
    with pytest.raises(UsageError, match="strength"):
        last(ring(schedule.Cosine()), torch.zeros(1, 2), strength=strength, sampler=Euler(), grid=grid.karras(3))

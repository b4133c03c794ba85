"""Up to noise and down again, exactly; and that the way up is the ODE's."""

from dataclasses import replace

import pytest
import torch
from conformance.subjects import F64, Anisotropic, full, ring, tilted, unchecked

from unmelt import schedule
from unmelt.backbone import MLP
from unmelt.condition import Condition
from unmelt.denoiser import Network, prediction
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream, seeded
from unmelt.sampler import grid
from unmelt.sampler.grid import Grid
from unmelt.sampler.invert import invert
from unmelt.sampler.leapfrog import Leapfrog
from unmelt.sampler.loop import knots, walk
from unmelt.sampler.state import State


@torch.no_grad()
def down(denoiser, up, times: Grid):
    *_, state = walk(denoiser, Leapfrog(), up, knots(times, denoiser.process.schedule, len(up))[1:])
    return state


@pytest.mark.parametrize("steps", [1, 16])
def test_inversion_and_sampling_return_to_the_data_up_to_rounding(any_schedule, steps):
    """Any number of steps, on every schedule; also points that no sample of the mixture would be."""
    for model, times in ((ring(any_schedule), grid.karras(steps)), (tilted(any_schedule), grid.cosine(steps))):
        x0 = torch.cat([model.sample(8, Stream(0), F64), 3 * torch.randn(4, 2, dtype=F64)])
        with unchecked():
            up = invert(model, x0, grid=times)
            back = down(model, up, times)
        assert up.t.tolist() == [1.0] * 12
        assert torch.isfinite(up.x).all()
        assert (back.x - x0).abs().max() < 1e-10


def untrained(on, by):
    with seeded(0):
        backbone = MLP(shape=(2,), width=32, depth=2, classes=3)
    for parameter in backbone.parameters():  # no layer left at zero
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return Network(backbone, Gaussian(on), by, (2,))


def test_inversion_returns_to_the_data_with_a_float32_network(any_schedule):
    model = untrained(any_schedule, prediction.Preconditioned(1.0))
    x0, condition = torch.randn(50, 2), Condition(label=torch.arange(50) % 3)
    up = invert(model, x0, grid=grid.karras(12), condition=condition)
    assert up.x.dtype == torch.float32
    assert (down(model, up, grid.karras(12)).x - x0).abs().max() < 1e-6


def test_inverting_a_sample_gives_its_noise(any_schedule):
    """The other round: noise down to a sample, and the sample, with the slope it came with, up to its noise."""
    model, times = tilted(any_schedule), grid.cosine(8)(any_schedule)
    top = any_schedule.sigma(times[0])
    noise = top * torch.randn(6, 2, dtype=F64)
    state = Leapfrog().init(model, noise, full(6, 1.0), RowSeeds.of(0, 6))
    *_, made = walk(model, Leapfrog(), state, [full(6, t) for t in times[1:]])
    *_, back = walk(model, Leapfrog(), made, [full(6, t) for t in times.flip(0)[1:]])
    assert (back.x - noise).abs().max() < 1e-10 * top.clamp_min(1)
    *_, alone = walk(
        model, Leapfrog(), Leapfrog().init(model, made.x, made.t, made.rng), [full(6, t) for t in times.flip(0)[1:]]
    )
    assert (alone.x - noise).abs().max() > 1e-6  # x0 without its slope goes somewhere near


def test_inversion_converges_to_the_odes_noise(any_schedule):
    """The flow of one Gaussian is known in closed form; its noise is normal again."""
    truth = Anisotropic.make()
    model = truth.denoiser(any_schedule)
    x0 = model.sample(20, Stream(0), F64)
    noise = truth.flow(x0, any_schedule, *torch.tensor([0.0, 1.0], dtype=F64))
    with unchecked():
        errors = [(invert(model, x0, grid=grid.karras(n)).x - noise).abs().max() / noise.std() for n in (10, 30)]
    assert errors[0] < 0.05
    assert errors[1] < 1e-6


def test_rows_go_up_alone_as_together(any_schedule):
    model, x0 = tilted(any_schedule), torch.randn(4, 2, dtype=F64)
    together = invert(model, x0, grid=grid.karras(6)).x
    alone = torch.cat([invert(model, row, grid=grid.karras(6)).x for row in x0.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_rows_can_part_on_the_way():
    """Rows turned round at different times come back each to its own x0."""
    model = tilted(schedule.Cosine())
    x0 = torch.randn(3, 2, dtype=F64)
    t = torch.linspace(0, 0.9, 10, dtype=F64)
    states = [Leapfrog().init(model, x0[row : row + 1], full(1, 0.0), RowSeeds.of(row, 1)) for row in range(3)]
    for row, far in enumerate((9, 6, 3)):
        *_, states[row] = walk(model, Leapfrog(), states[row], [full(1, s) for s in t[1 : far + 1]])
    state = State.join(states)
    for lag in range(9):
        at = torch.tensor([max(9 - lag - 1, 0), max(6 - lag - 1, 0), max(3 - lag - 1, 0)])
        moves = t[at] < state.t
        state = state.put(moves, Leapfrog().step(model, state[moves], t[at][moves]))
    assert (state.x - x0).abs().max() < 1e-12


def test_another_label_on_the_way_down():
    """Up as one class, down as another: the place within the mode is kept, as the modes are alike."""
    model = ring(schedule.Straight())
    x0 = model.sample(30, Stream(2), F64, label=1)
    times = grid.log_snr(80, sigma_min=0.005)
    with unchecked():
        up = invert(model, x0, grid=times, condition=Condition(label=torch.ones(30).long()))
        made = down(model, replace(up, condition=Condition(label=torch.full((30,), 4))), times).x
    assert (made - model.means[4] - (x0 - model.means[1])).abs().max() < 0.01

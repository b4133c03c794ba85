"""Times finer than rows against closed forms: frames of one Gaussian that are correlated, each at its own time."""

import pytest
import torch
from conformance.subjects import F64, Silent, column, unchecked

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.sampler import Adams, DPMpp, grid, walk

FRAMES, NUMBERS = 3, 2
DIM = FRAMES * NUMBERS


def gaussian(seed=0):
    """(mean, covariance) of correlated frames."""
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(DIM, DIM, dtype=F64, generator=rng)
    return torch.randn(DIM, dtype=F64, generator=rng), root @ root.T / DIM + 0.1 * torch.eye(DIM, dtype=F64)


def correlated(on):
    (a, s), (b, r) = gaussian(0), gaussian(1)
    return Mixture(torch.stack([a, b]).view(2, FRAMES, NUMBERS), torch.stack([s, r]), Gaussian(on), column(0.3, 0.7))


def test_times_equal_along_frames_are_times_of_rows(any_schedule):
    model, t = correlated(any_schedule), column(0.05, 0.4, 0.9, 1.0)
    x = model.process.mix(model.sample(4, Stream(0), F64), torch.randn(4, FRAMES, NUMBERS, dtype=F64), t)
    fine = t[:, None].expand(4, FRAMES)
    torch.testing.assert_close(model(x, fine).mean, model(x, t).mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.score(x, fine), model.score(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.log_density(x, fine), model.log_density(x, t), rtol=1e-8, atol=1e-8)


def test_tweedie_s_formula_holds_frame_by_frame(any_schedule):
    """alpha E[x0 | x_t] = x_t + sigma^2 score with alpha and sigma of each frame; the score by autograd."""
    model = correlated(any_schedule)
    t = torch.tensor([[0.9, 0.1, 0.5], [0.3, 0.7, 0.05]], dtype=F64)
    x = model.process.mix(model.sample(2, Stream(0), F64), torch.randn(2, FRAMES, NUMBERS, dtype=F64), t)
    x.requires_grad_()
    (score,) = torch.autograd.grad(model.log_density(x, t).sum(), x)
    alpha, sigma = (each[..., None] for each in model.process.level(t))
    torch.testing.assert_close(model.score(x, t), score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alpha * model(x, t).mean, x + sigma**2 * score, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("sampler", [Adams(4), DPMpp(order=2)], ids=["Adams", "DPMpp"])
def test_frames_sampled_beside_a_clean_one_have_the_conditional_law(sampler):
    """A clean first frame waits at t = 0: what is sampled is the flow of the Gaussian of the others given that frame.

    From x_1 = noise the flow of N(m, S) ends at m + S^(1/2) noise along each axis of S, and here m and S are the
    conditional ones (as the noise levels of the sampled frames are equal).
    """
    on, (mean, covariance) = schedule.Cosine(), gaussian()
    model = Mixture.gaussian(mean.view(FRAMES, NUMBERS), covariance, Gaussian(on))
    known, rows = NUMBERS, 5
    first = torch.randn(rows, known, dtype=F64, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(rows, DIM - known, dtype=F64, generator=torch.Generator().manual_seed(3))
    gain = covariance[known:, :known] @ torch.linalg.inv(covariance[:known, :known])
    spread, axes = torch.linalg.eigh(covariance[known:, known:] - gain @ covariance[:known, known:])
    conditional = mean[known:] + (first - mean[:known]) @ gain.T
    wanted = conditional + noise @ axes * spread.sqrt() @ axes.T

    x = torch.cat([first, noise], 1).view(rows, FRAMES, NUMBERS)
    moving = torch.tensor([0.0, 1.0, 1.0], dtype=F64)
    start, *times = (t * moving.expand(rows, FRAMES) for t in grid.log_snr(300, sigma_min=1e-4, sigma_max=1e4)(on))
    draws = torch.zeros(rows, dtype=torch.int64)
    with unchecked():
        *_, state = walk(model, sampler, sampler.init(model, x, start, Silent(draws, draws)), times)
    assert torch.equal(state.x[:, 0], first)
    torch.testing.assert_close(state.x[:, 1:].flatten(1), wanted, rtol=0, atol=2e-3)

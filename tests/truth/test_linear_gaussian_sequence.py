"""The linear-Gaussian sequence against linear algebra, and samplers and likelihoods of frames against it."""

import pytest
import torch
from conformance.subjects import F64, Silent, unchecked

from unmelt import UsageError, schedule
from unmelt.denoiser import LinearGaussianSequence
from unmelt.likelihood import log_likelihood_of_frames
from unmelt.objective import FlatWeight, PerFrame, Regression, Stratified, Uniform
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.sampler import DPMpp, continue_frames, grid, sample, walk

FRAMES, NUMBERS, STEPS = 3, 2, 160
DIM = FRAMES * NUMBERS
TURN = torch.tensor([[0.8, 0.4], [-0.4, 0.8]], dtype=F64)
NOISE = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=F64)
MEAN, FIRST = torch.tensor([0.5, -1.0], dtype=F64), torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=F64)


def sequence(is_causal=False, on=None, frames=FRAMES):
    return LinearGaussianSequence(TURN, NOISE, MEAN, FIRST, frames, Gaussian(on or schedule.Cosine()), is_causal)


def law(frames=FRAMES):
    """Mean and covariance of all frames, from x = L noise with L written out block by block."""
    root = torch.zeros(frames, NUMBERS, frames, NUMBERS, dtype=F64)
    for f in range(frames):
        for g in range(f + 1):
            first = torch.linalg.cholesky(FIRST if g == 0 else NOISE)
            root[f, :, g] = torch.linalg.matrix_power(TURN, f - g) @ first
    mean = torch.stack([torch.linalg.matrix_power(TURN, f) @ MEAN for f in range(frames)])
    root = root.view(frames * NUMBERS, -1)
    return mean.flatten(), root @ root.T


def noisy(model, t, seed=0):
    x0 = model.sample(len(t), Stream(seed), F64)
    return model.process.corrupt(x0, t, Stream(seed + 1))[0]


def times(rows=3):
    return torch.rand(rows, FRAMES, dtype=F64, generator=torch.Generator().manual_seed(4))


def test_the_joint_law_is_that_of_the_recursion():
    mean, covariance = law()
    joint = sequence().joint
    torch.testing.assert_close(joint.means[0], mean)
    torch.testing.assert_close(joint.basis[0] * joint.spread[0] @ joint.basis[0].T, covariance)


def test_the_conditional_law_is_the_precision_weighted_one(any_schedule):
    """In information form: precision V^-1 + alpha^2 / sigma^2, another formula than the one in the code."""
    model, (mean, covariance), t = sequence(on=any_schedule), law(), times()
    x = noisy(model, t)
    found = model.conditional(x, t)
    alpha, sigma = (each.repeat_interleave(NUMBERS, 1) for each in model.process.level(t))
    for row in range(len(x)):
        precision = torch.linalg.inv(covariance) + torch.diag((alpha[row] / sigma[row]) ** 2)
        wanted = torch.linalg.inv(precision)
        pulled = torch.linalg.inv(covariance) @ mean + alpha[row] / sigma[row] ** 2 * x[row].flatten()
        torch.testing.assert_close(found.covariance[row], wanted, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(found.mean[row].flatten(), wanted @ pulled, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(model(x, t).mean, found.mean, rtol=1e-8, atol=1e-8)


def test_a_causal_belief_is_that_of_the_frames_so_far():
    causal, t = sequence(is_causal=True), times()
    t[0, 1] = 0.0
    x = noisy(causal, t)
    believed = causal(x, t).mean
    for f in range(1, FRAMES + 1):
        wanted = sequence(frames=f).conditional(x[:, :f], t[:, :f]).mean[:, -1]
        torch.testing.assert_close(believed[:, f - 1], wanted, rtol=1e-9, atol=1e-9)


def flow(model, plan):
    """Mean and covariance of what the sampler makes of noise: its map is affine, and is read off basis vectors."""
    start, *stops = (t.expand(1 + DIM, FRAMES) for t in plan(model.process.schedule))
    x = torch.cat([torch.zeros(1, DIM, dtype=F64), torch.eye(DIM, dtype=F64)]).view(-1, FRAMES, NUMBERS)
    draws = torch.zeros(len(x), dtype=torch.int64)
    sampler = DPMpp(order=2)
    with unchecked(), torch.no_grad():
        *_, state = walk(model, sampler, sampler.init(model, x, start, Silent(draws, draws)), stops)
    ends = state.x.flatten(1)
    axes = ends[1:] - ends[0]
    return ends[0], axes.T @ axes


def plan(delay, known=0, steps=STEPS):
    return grid.FrameGrid(grid.log_snr(steps, sigma_min=1e-4, sigma_max=1e4), FRAMES, delay, known)


@pytest.mark.parametrize("delay", [0, STEPS // 4, STEPS], ids=["together", "pyramid", "one by one"])
def test_every_order_of_frames_samples_the_exact_law(delay):
    mean, covariance = flow(sequence(), plan(delay))
    torch.testing.assert_close(mean, law()[0], rtol=0, atol=5e-3)
    torch.testing.assert_close(covariance, law()[1], rtol=0, atol=5e-3)


def test_causal_frames_have_the_exact_law_one_by_one_and_another_together():
    mean, covariance = flow(sequence(is_causal=True), plan(STEPS))
    torch.testing.assert_close(mean, law()[0], rtol=0, atol=5e-3)
    torch.testing.assert_close(covariance, law()[1], rtol=0, atol=5e-3)
    _, together = flow(sequence(is_causal=True), plan(0))
    assert (together - law()[1]).abs().max() > 0.05


@pytest.mark.parametrize("delay", [0, 1, 3], ids=["together", "pyramid", "one by one"])
@pytest.mark.parametrize("known", [0, 1])
def test_likelihoods_are_exact_along_every_path(delay, known):
    model = sequence()
    x0 = model.sample(1, Stream(0), F64)
    path = plan(delay, known, steps=3)(model.process.schedule)
    found = log_likelihood_of_frames(model, x0, path, tolerance=1e-6).value
    mean, covariance = law()
    wanted = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x0.flatten(1))
    if known:
        n = known * NUMBERS
        before = torch.distributions.MultivariateNormal(mean[:n], covariance[:n, :n]).log_prob(x0.flatten(1)[:, :n])
        wanted = wanted - before
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_the_minimum_of_diffusion_forcing_is_the_conditional_variance():
    """The loss of the exact denoiser, weighted, is the trace of the exact conditional covariance at the drawn times."""
    model, rows = sequence(), 4000
    objective = Regression(times=PerFrame(Stratified(Uniform()), FRAMES), weight=FlatWeight())
    x0 = model.sample(rows, Stream(0), F64)
    loss = objective(model, x0, None, Stream(3))
    t = objective.times.draw(rows, model.process.schedule, Stream(3))
    spread = model.conditional(x0, t).covariance.diagonal(dim1=1, dim2=2).view(rows, FRAMES, NUMBERS).mean(2)
    wanted = (objective.weight(t, model.process.schedule, objective.times) * spread).mean(1)
    error = (loss - wanted).std() / rows**0.5
    assert abs((loss - wanted).mean()) < 4 * error
    assert error < 0.02 * wanted.mean()


def test_continued_frames_follow_the_transition():
    """Known frames are kept bit for bit, and each new frame is A x + noise given the one before it."""
    model, rows = sequence(), 1500
    past = model.sample(rows, Stream(0), F64)[:, -2:]
    with unchecked():
        new = continue_frames(model, past, frames=5, sampler=DPMpp(order=2), grid=plan(20, known=1, steps=40), seed=1)
    # The law of the window is stationary only in the transition: residuals are N(0, Q).
    assert new.shape == (rows, 5, NUMBERS)
    whole = torch.cat([past[:, -1:], new], 1)
    residual = (whole[:, 1:] - whole[:, :-1] @ TURN.T).flatten(0, 1)
    assert residual.mean(0).abs().max() < 0.05
    torch.testing.assert_close(residual.T @ residual / len(residual), NOISE, rtol=0, atol=0.03)


def test_a_sample_is_drawn_with_a_frame_grid_and_rows_are_independent():
    model, settings = sequence(), {"sampler": DPMpp(order=2), "grid": plan(4, steps=8), "dtype": F64}
    whole = sample(model, rows=3, seed=5, **settings)
    assert torch.allclose(sample(model, rows=1, seed=5, **settings), whole[:1], atol=1e-12)


def test_what_does_not_fit_is_refused():
    model = sequence()
    with pytest.raises(UsageError, match="positive definite"):
        LinearGaussianSequence(TURN, 0 * NOISE, MEAN, FIRST, FRAMES, model.process)
    with pytest.raises(UsageError, match="a matrix of shape"), unchecked():
        LinearGaussianSequence(TURN[:1], NOISE, MEAN, FIRST, FRAMES, model.process)
    with pytest.raises(UsageError, match="delay=9"):
        grid.FrameGrid(grid.uniform(8), FRAMES, delay=9)
    with pytest.raises(UsageError, match="continue_frames"):
        sample(model, rows=2, sampler=DPMpp(), grid=plan(0, known=1))
    with pytest.raises(UsageError, match="known frames of shape"):
        continue_frames(model, torch.zeros(2, 1, 2), frames=1, sampler=DPMpp(), grid=plan(0, known=2))
    with pytest.raises(UsageError, match="a path of times"):
        log_likelihood_of_frames(model, torch.zeros(1, FRAMES, NUMBERS), torch.ones(3, FRAMES, dtype=F64))

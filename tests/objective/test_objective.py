import itertools
import math

import pytest
import torch
from conformance.subjects import F64, PREDICTIONS, Anisotropic, Frames, Through, column, full, name, tilted, unchecked
from scipy.stats import kstest

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective import (
    EDMWeight,
    ELBOWeight,
    FlatWeight,
    Independent,
    KnownPrefix,
    LogitNormal,
    LogNormalSigma,
    MinSNR,
    OptimalTransport,
    PerFrame,
    Regression,
    Stratified,
    Times,
    Uniform,
)
from unmelt.posterior import Point
from unmelt.rng import Part, Stream

U = torch.linspace(0.0005, 0.9995, 1000, dtype=F64)
GAUSSIAN = Anisotropic.make()


def test_quantile_and_density_agree(any_times, any_schedule):
    t = any_times.quantile(U, any_schedule)
    assert ((t > 0) & (t <= 1)).all()
    assert (t.diff() >= 0).all()
    inside = (t > 1e-9) & (t < 1 - 1e-6)
    u = U[inside].clone().requires_grad_()
    (stretch,) = torch.autograd.grad(any_times.quantile(u, any_schedule).sum(), u)
    torch.testing.assert_close(
        any_times.density(t[inside], any_schedule) * stretch, torch.ones_like(u), rtol=1e-6, atol=0
    )


def test_density_integrates_to_one(any_times, any_schedule):
    edges = any_times.quantile(torch.linspace(1e-7, 1 - 1e-7, 4001, dtype=F64), any_schedule)
    t = torch.cat([a + (b - a) * torch.linspace(0, 1, 5, dtype=F64)[:-1] for a, b in itertools.pairwise(edges)])
    total = torch.trapezoid(any_times.density(t, any_schedule), t)
    assert total.item() == pytest.approx(1, abs=2e-3)


def test_draws_follow_the_law(any_times, any_schedule):
    drawn = any_times.draw(4000, any_schedule, Stream(0))
    assert drawn.dtype == F64
    given = drawn == 0  # frames that are known
    assert not given.any() or isinstance(any_times, KnownPrefix)
    t = drawn.max(1).values if given.any() else drawn.flatten()
    assert ((t > 0) & (t <= 1)).all()
    quantiles = any_times.quantile(torch.linspace(0, 1, 20_001, dtype=F64)[1:-1], any_schedule).numpy()
    assert kstest(t.numpy(), quantiles).pvalue > 1e-3


@pytest.mark.parametrize("of", [Uniform(), LogitNormal(0.3, 0.8), LogNormalSigma()], ids=name)
def test_stratified_puts_one_draw_in_each_slice(of, any_schedule):
    rows = 64
    t = Stratified(of).draw(rows, any_schedule, Stream(3))
    edges = of.quantile(torch.linspace(0, 1, rows + 1, dtype=F64)[1:-1], any_schedule)
    assert (torch.bucketize(t, edges) == torch.arange(rows)).all()


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=name)
def test_flat_is_the_mean_squared_error_of_that_prediction(any_schedule, prediction):
    class Said:
        """Notes what was asked and answers wrongly by a known amount."""

        process = tilted(any_schedule).process

        def __call__(self, x_t, t, condition=None):
            self.x_t, self.t = x_t, t
            self.mean = tilted(any_schedule)(x_t, t).mean + 0.1
            return Point(self.mean)

    said, x0 = Said(), torch.randn(50, 2, dtype=F64)
    loss = Regression(weight=FlatWeight(prediction), times=LogNormalSigma(-0.5, 0.8))(said, x0, None, Stream(0))
    target, output = (prediction.output(mean, said.x_t, said.t, said.process) for mean in (x0, said.mean))
    torch.testing.assert_close(loss, (output - target).square().mean(1), rtol=1e-6, atol=1e-12)


def test_weights_are_the_formulas_of_their_papers(any_schedule):
    t, times = torch.linspace(0.01, 0.95, 60, dtype=F64), Uniform()
    alpha, sigma = any_schedule.alpha(t), any_schedule.sigma(t)
    snr = (alpha / sigma) ** 2
    edm = (sigma**2 + alpha**2 * 0.25) / (sigma * 0.5) ** 2
    torch.testing.assert_close(EDMWeight(0.5)(t, any_schedule, times), edm, rtol=1e-10, atol=0)
    torch.testing.assert_close(MinSNR(5.0)(t, any_schedule, times), snr.clamp_max(5), rtol=1e-10, atol=0)
    torch.testing.assert_close(FlatWeight()(t, any_schedule, times), snr, rtol=1e-10, atol=0)
    t.requires_grad_()
    (rate,) = torch.autograd.grad(any_schedule.log_snr(t).exp().sum(), t)
    torch.testing.assert_close(ELBOWeight()(t, any_schedule, times).detach(), -rate / 2, rtol=1e-9, atol=1e-12)


def test_the_exact_belief_has_the_least_loss(any_schedule, any_weight):
    """In expectation; judged on the same draws, so that the difference is all that is left."""
    exact, x0 = tilted(any_schedule), tilted(any_schedule).sample(4000, Stream(1), F64)
    times = Above(LogNormalSigma(0.0, 1.0), 0.2, any_schedule)  # no rare, enormous weights

    def loss(change):
        class Changed:
            process = exact.process

            def __call__(self, x_t, t, condition=None):
                return Point(change(exact(x_t, t).mean))

        objective = Regression(weight=any_weight, times=times)
        return objective(Changed(), x0, None, Stream(2))

    with unchecked():
        best = loss(lambda mean: mean)
        for worse in (lambda m: 1.15 * m, lambda m: 0.85 * m, lambda m: m + 0.15, lambda m: m - 0.15):
            gap = loss(worse) - best
            assert gap.mean() > 2 * gap.std() / len(gap) ** 0.5


class Above(Times):
    """Another law of times, cut to t > low: an integral from there on, and a test that a user's own law plugs in."""

    def __init__(self, of: Times, share: float, on: schedule.Schedule) -> None:
        self.of, self.share = of, share
        self.low = of.quantile(column(share), on)[0]

    def quantile(self, u, on):
        return self.of.quantile(self.share + (1 - self.share) * u, on)

    def density(self, t, on):
        return self.of.density(t, on) / (1 - self.share)

    def draw(self, rows, on, rng):
        return self.quantile(1 - rng.uniform((rows,), F64), on)


@pytest.mark.parametrize("of", [Uniform(), LogitNormal(-0.5, 1.2), LogNormalSigma(-1.0, 1.5)], ids=name)
def test_elbo_is_the_entropy_whatever_the_times(any_schedule, of):
    """Exact Gaussian data: prior + diffusion + reconstruction = the entropy of the data, in nats."""
    times = Above(of, 0.1, any_schedule)
    high = any_schedule.log_snr(times.low).exp()
    low = any_schedule.log_snr(column(1.0)).exp()[0]
    spread = GAUSSIAN.spread
    prior = 0.5 * torch.log1p(spread * low).sum()
    rest = 0.5 * torch.log(2 * math.pi * math.e * spread / (1 + spread * high)).sum()
    u = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000
    t = times.quantile(u, any_schedule)
    snr = any_schedule.log_snr(t).exp()
    error = (spread / (1 + spread * snr[:, None])).sum(1)
    diffusion = (ELBOWeight()(t, any_schedule, times) * error).nanmean()
    entropy = 0.5 * torch.log(2 * math.pi * math.e * spread).sum()
    assert (prior + diffusion + rest).item() == pytest.approx(entropy.item(), abs=5e-3)


def test_elbo_by_the_objective_itself():
    on, rows = schedule.VarianceExploding(), 20_000
    times = Stratified(Above(LogNormalSigma(0.0, 1.2), 0.05, on))
    model = GAUSSIAN.denoiser(on)
    x0 = model.sample(rows, Stream(0), F64)
    loss = 3 * Regression(weight=ELBOWeight(), times=times)(model, x0, None, Stream(1))
    high, low = on.log_snr(times.of.low).exp(), on.log_snr(column(1.0)).exp()[0]
    wanted = 0.5 * torch.log((1 + GAUSSIAN.spread * high) / (1 + GAUSSIAN.spread * low)).sum()
    assert (loss.mean() - wanted).abs() < 4 * loss.std() / rows**0.5


def test_optimal_transport_is_the_least_of_all_assignments():
    for seed in range(10):
        rng = torch.Generator().manual_seed(seed)
        x0, noise = (torch.randn(5, 2, 3, dtype=F64, generator=rng) for _ in range(2))
        cost = lambda pairing: (x0 - noise[list(pairing)]).square().sum().item()  # noqa: B023, E731
        least = min(itertools.permutations(range(5)), key=cost)
        torch.testing.assert_close(OptimalTransport().pair(x0, noise), noise[list(least)])


def test_couplings_keep_the_noise_and_the_classes():
    x0, noise, label = torch.randn(30, 2), torch.randn(30, 2), torch.arange(30) % 3
    assert Independent().pair(x0, noise, label) is noise
    for given in (None, label):
        paired = OptimalTransport().pair(x0, noise, given)
        match = (paired[:, None] == noise).all(-1)
        assert (match.sum(0) == 1).all()
        assert (match.sum(1) == 1).all()
        if given is not None:
            assert (label[match.int().argmax(1)] == label).all()
    assert (x0 - OptimalTransport().pair(x0, noise)).square().sum() < (x0 - noise).square().sum()


def test_drop_is_the_share_of_null_rows():
    class Noting:
        process = tilted(schedule.Cosine()).process

        def __call__(self, x_t, t, condition=None):
            self.condition = condition
            return Point(x_t)

    noting, condition = Noting(), Condition(label=torch.arange(4000) % 2)
    Regression(drop=0.2)(noting, torch.randn(4000, 2), condition, Stream(0))
    assert 1 - noting.condition.given["label"].double().mean().item() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(noting.condition.label, condition.label)
    Regression(drop=0.0)(noting, torch.randn(4000, 2), condition, Stream(0))
    assert noting.condition is condition
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="share"):
            Regression(drop=bad)
        with pytest.raises(UsageError, match="drop_each"):
            Regression(drop_each=bad)
    known = Condition(
        label=condition.label, context=torch.randn(4000, 1), extra={"kept": condition.label}, kept=("kept",)
    )
    Regression(drop=0.1, drop_each=0.25)(noting, torch.randn(4000, 2), known, Stream(0))
    label, context = (noting.condition.given[name] for name in ("label", "context"))
    shares = {(True, True): 0.9 * 0.75**2, (True, False): 0.9 * 0.75 * 0.25, (False, True): 0.9 * 0.75 * 0.25}
    for (one, other), share in shares.items():
        found = ((label == one) & (context == other)).double().mean().item()
        assert found == pytest.approx(share, abs=0.03)
    assert "kept" not in noting.condition.given


def test_losses_are_one_a_row_and_the_same_through_every_prediction(any_schedule):
    x0 = torch.randn(20, 2, dtype=F64)
    plain = Regression(times=LogNormalSigma(0.0, 0.5))(tilted(any_schedule), x0, None, Stream(5))
    assert plain.shape == (20,)
    for prediction in PREDICTIONS:
        spoken = Through(tilted(any_schedule), prediction)
        torch.testing.assert_close(
            Regression(times=LogNormalSigma(0.0, 0.5))(spoken, x0, None, Stream(5)), plain, rtol=1e-8, atol=1e-10
        )
    assert full(2, 0.5).shape == (2,)


def test_times_of_frames_are_stratified_and_independent(any_schedule):
    rows, frames, of = 64, 3, LogitNormal(0.3, 0.8)
    edges = of.quantile(torch.linspace(0, 1, rows + 1, dtype=F64)[1:-1], any_schedule)
    drawn = [PerFrame(Stratified(of), frames).draw(rows, any_schedule, Stream(seed)) for seed in range(40)]
    slices = torch.stack([torch.bucketize(t.contiguous(), edges) for t in drawn])
    assert torch.equal(slices.sort(1).values, torch.arange(rows)[:, None].expand(40, rows, frames))
    assert torch.corrcoef(slices.double().flatten(0, 1).T).fill_diagonal_(0).abs().max() < 4 / (40 * rows) ** 0.5


def test_times_of_frames_do_not_depend_on_how_a_batch_is_divided():
    times, on = PerFrame(Stratified(Uniform()), 3), schedule.Cosine()
    whole = times.draw(12, on, Stream(4))
    parts = [times.draw(4, on, Part(Stream(4), part, 3)) for part in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_regression_on_frames_is_the_mean_of_regressions_on_each_frame(any_weight):
    """An exact denoiser of independent frames, with times, noise and weights frame by frame."""
    on, rows, frames = schedule.Cosine(), 20, 3
    one, times = tilted(on), PerFrame(LogNormalSigma(0.0, 0.5), frames)
    x0 = torch.randn(rows, frames, 2, dtype=F64)
    loss = Regression(times=times, weight=any_weight)(Frames(one, frames), x0, None, Stream(5))
    rng = Stream(5)
    t = times.draw(rows, on, rng)
    noise = rng.normal(x0.shape, F64)
    alone = torch.zeros(rows, dtype=F64)
    for f in range(frames):
        x_t = one.process.mix(x0[:, f], noise[:, f], t[:, f])
        error = (one(x_t, t[:, f]).mean - x0[:, f]).square().mean(1)
        alone += error * any_weight(t[:, f], on, times) / frames
    torch.testing.assert_close(loss, alone, rtol=1e-10, atol=1e-12)


def test_times_of_frames_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="frames=4"):
        Regression(times=PerFrame(Uniform(), 3))(tilted(schedule.Cosine()), torch.randn(5, 4, 2), None, Stream(0))
    with pytest.raises(UsageError, match="one time a row"):
        PerFrame(PerFrame(Uniform(), 3), 2)
    with pytest.raises(UsageError, match=r"PerFrame\(Stratified\(Uniform\(\)\), frames=3\)"):
        Stratified(PerFrame(Uniform(), 3))


def test_a_known_prefix_is_clean_and_has_no_loss():
    on, rows, frames = schedule.Cosine(), 4000, 4
    times = KnownPrefix(Uniform(), frames, share=0.5)
    t = times.draw(rows, on, Stream(0))
    known = (t == 0).sum(1)
    assert torch.equal(t == 0, torch.arange(frames) < known[:, None])
    assert torch.equal(torch.where(t == 0, t[:, -1:], t), t[:, -1:].expand_as(t))
    counts = torch.bincount(known, minlength=frames) / rows
    torch.testing.assert_close(counts, torch.tensor([0.5, 1 / 6, 1 / 6, 1 / 6]), atol=0.03, rtol=0)
    model, x0 = Frames(tilted(on), frames), torch.randn(rows, frames, 2, dtype=F64)
    x0.requires_grad_()
    loss = Regression(times=times)(model, x0, None, Stream(0))
    assert torch.isfinite(torch.autograd.grad(loss.sum(), x0)[0]).all()
    rng = Stream(0)
    t = times.draw(rows, on, rng)
    noise = rng.normal(x0.shape, F64)
    error = (model(model.process.mix(x0, noise, t), t).mean - x0).square().mean(2)
    wanted = torch.where(t > 0, FlatWeight()(t.clamp_min(1e-9), on, times) * error, 0.0).mean(1)
    torch.testing.assert_close(loss, wanted, rtol=1e-9, atol=1e-12)
    with pytest.raises(UsageError, match=r"KnownPrefix\(Stratified\(Uniform\(\)\), frames=3\)"):
        Stratified(KnownPrefix(Uniform(), 3))
    with pytest.raises(UsageError, match="frames=1"):
        KnownPrefix(Uniform(), 1)


def test_known_frames_may_be_noisy_each_at_its_own_time():
    on, rows = schedule.Cosine(), 4000
    t = KnownPrefix(Uniform(), 5, share=1.0, known=4, noise=0.3).draw(rows, on, Stream(0))
    known = t[:, :4]
    assert 0.29 < known.max() < 0.3
    assert kstest((known / 0.3).flatten().numpy(), "uniform").pvalue > 1e-3
    assert kstest(t[:, 4].numpy(), "uniform").pvalue > 1e-3
    assert torch.corrcoef(t.T).fill_diagonal_(0).abs().max() < 0.06
    with pytest.raises(UsageError, match="known=5"):
        KnownPrefix(Uniform(), 5, known=5)

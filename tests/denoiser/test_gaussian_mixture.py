"""The fitted belief against the exact one, and what a network adds to it."""

from itertools import pairwise

import pytest
import torch
from conformance.subjects import column
from torch import nn

from unmelt.backbone import MLP
from unmelt.condition import Condition
from unmelt.denoiser import GaussianMixtureDenoiser, Mixture, NetworkDenoiser, ResidualDenoiser, ResidualFlowMap
from unmelt.denoiser.prediction import X0
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.rng import Stream
from unmelt.schedule import Cosine


def skewed(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes of correlated points, [rows, 1, 3], in float64."""
    rng, labels = Stream(0), torch.arange(rows) % 2
    mix = torch.tensor([[1.0, 0.4, 0.0], [0.0, 0.5, 0.3], [0.0, 0.0, 0.2]], dtype=torch.float64)
    x = rng.normal((rows, 3), torch.float64) @ mix
    return (x * (1 + labels[:, None]) + 3 * labels[:, None]).view(rows, 1, 3), labels


def fitted(process: Gaussian, shrink: float) -> tuple[GaussianMixtureDenoiser, torch.Tensor, torch.Tensor]:
    x, labels = skewed(400)
    return GaussianMixtureDenoiser(process, (1, 3), classes=2, shrink=shrink).double().fit(x, labels), x, labels


def test_it_is_the_exact_belief_about_the_gaussian_of_each_class(any_schedule):
    process = Gaussian(any_schedule)
    base, x, labels = fitted(process, shrink=0.0)
    t = torch.tensor([0.05, 0.3, 0.7, 0.99], dtype=torch.float64)
    x_t = torch.randn(4, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for label in (0, 1):
        group = x[labels == label].flatten(1)
        exact = Mixture.gaussian(group.mean(0).view(1, 3), torch.cov(group.T), process)
        believed = base(x_t, t, Condition(label=torch.full((4,), label))).mean
        torch.testing.assert_close(believed, exact(x_t, t).mean, rtol=1e-9, atol=1e-11)
    everything = Mixture.gaussian(x.flatten(1).mean(0).view(1, 3), torch.cov(x.flatten(1).T), process)
    torch.testing.assert_close(base(x_t, t).mean, everything(x_t, t).mean, rtol=1e-9, atol=1e-11)


T, S = column(1.0, 0.99, 0.7, 0.4, 0.4, 0.0), column(0.0, 0.6, 0.0, 0.3, 0.4, 0.0)


def flow(mean, covariance, on, x_t, t, s):
    """The probability-flow ODE's solution for one Gaussian, by its covariances at both times, of the same axes."""
    eye = torch.eye(3, dtype=torch.float64)
    (alpha, sigma), (alpha_s, sigma_s) = ((on.alpha(each), on.sigma(each)) for each in (t, s))
    before, after = alpha**2 * covariance + sigma**2 * eye, alpha_s**2 * covariance + sigma_s**2 * eye
    values, axes = torch.linalg.eigh(after @ torch.linalg.inv(before))
    root = (axes * values.sqrt()) @ torch.linalg.inv(axes)
    return alpha_s * mean + root @ (x_t - alpha * mean)


def test_its_jump_is_the_exact_flow_of_the_gaussian_of_each_class(any_schedule):
    process = Gaussian(any_schedule)
    base, x, labels = fitted(process, shrink=0.0)
    x_t = 1.5 * torch.randn(len(T), 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for label in (0, 1):
        group = x[labels == label].flatten(1)
        belief = base.jump(x_t, T, S, Condition(label=torch.full((len(T),), label))).mean
        found = process.ode_step(x_t, belief, T, S)
        for row, (t, s) in enumerate(zip(T, S, strict=True)):
            wanted = flow(group.mean(0), torch.cov(group.T), any_schedule, x_t[row, 0], t, s)
            torch.testing.assert_close(found[row, 0], wanted, rtol=1e-8, atol=1e-8)


def test_a_jump_of_no_length_has_the_belief(any_schedule):
    base, _, _ = fitted(Gaussian(any_schedule), shrink=0.3)
    x_t, known = torch.randn(len(T), 1, 3, dtype=torch.float64), Condition(label=torch.arange(len(T)) % 2)
    torch.testing.assert_close(base.jump(x_t, T, T, known).mean, base(x_t, T, known).mean, rtol=1e-9, atol=1e-9)
    near = base.jump(x_t, T, T - 1e-7 * T, known).mean  # nothing cancels in a short jump
    torch.testing.assert_close(near, base(x_t, T, known).mean, rtol=1e-4, atol=1e-4)


def test_several_gaussians_are_followed_in_four_jumps_each_their_mean_by_responsibility(any_schedule):
    process, (x, labels) = Gaussian(any_schedule), skewed(200)
    base = GaussianMixtureDenoiser(process, (1, 3), classes=2, components=2).double().fit(x, labels)
    x_t = any_schedule.sigma(T)[:, None, None] * torch.randn(len(T), 1, 3, dtype=torch.float64, generator=seeded(1))
    found = process.ode_step(x_t, base.jump(x_t, T, S, Condition(label=torch.ones(len(T)).long())).mean, T, S)
    moment = [(base.basis[1, k] * base.spread[1, k]) @ base.basis[1, k].T for k in range(2)]
    alone = [Mixture.gaussian(base.mean[1, k].view(1, 3), moment[k], process) for k in range(2)]
    for row, (t, s) in enumerate(zip(T[:4], S[:4], strict=True)):
        shares = [any_schedule.sigma(each) / (any_schedule.alpha(each) + any_schedule.sigma(each)) for each in (t, s)]
        steps = [shares[0] + k / 4 * (shares[1] - shares[0]) for k in range(1, 4)]
        times = [t, *(any_schedule.time(2 * torch.log((1 - u) / u)) for u in steps), s]
        at = x_t[row, 0]
        for before, after in pairwise(times):
            log_joint = [base.weight[1, k].log() + alone[k].log_density(at.view(1, 1, 3), before[None]) for k in (0, 1)]
            parts = torch.stack([flow(base.mean[1, k], moment[k], any_schedule, at, before, after) for k in (0, 1)])
            at = torch.stack(log_joint).softmax(0)[:, 0] @ parts
        torch.testing.assert_close(found[row, 0], at, rtol=1e-6, atol=1e-6)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_residual_flow_map_without_a_network_jumps_as_its_base(any_schedule):
    process = Gaussian(any_schedule)
    base, _, _ = fitted(process, shrink=0.3)
    backbone = MLP(shape=(2, 3), width=8, depth=1, with_arrival=True)  # a fresh network's output is 0
    model, known = ResidualFlowMap(backbone.double(), base), Condition(label=None)
    x_t = torch.randn(len(T), 1, 3, dtype=torch.float64)
    torch.testing.assert_close(model.jump(x_t, T, S, known).mean, base.jump(x_t, T, S, known).mean)
    torch.testing.assert_close(model(x_t, T, known).mean, base(x_t, T, known).mean)


class Echo(nn.Module):
    """The base's jump as the network is given it, so that it is counted."""

    def forward(self, x, level, condition=None, arrival=None):
        return x.roll(1, 1)


def test_a_residual_flow_map_shows_its_network_the_jump_that_it_corrects():
    process = Gaussian(Cosine())
    base, _, _ = fitted(process, shrink=0.3)
    model = ResidualFlowMap(Echo(), base, residual_sd=0.4)
    x_t, t, s = torch.randn(len(T), 1, 3, dtype=torch.float64), T, S
    jump, (alpha, sigma) = base.jump(x_t, t, s).mean, process.level(t)
    c_out = sigma * 0.4 / torch.sqrt((alpha * 0.4) ** 2 + sigma**2)
    torch.testing.assert_close(model.jump(x_t, t, s).mean, jump * (1 + c_out[:, None, None]))


def test_null_rows_have_the_gaussian_of_all(any_schedule):
    base, _, _ = fitted(Gaussian(any_schedule), shrink=0.3)
    t, x_t = torch.full((3,), 0.4, dtype=torch.float64), torch.ones(3, 1, 3, dtype=torch.float64)
    label = Condition(label=torch.tensor([0, 1, 0]))
    dropped = base(x_t, t, label.drop(torch.tensor([False, True, False]))).mean
    assert torch.equal(dropped[1], base(x_t, t).mean[1])
    assert torch.equal(dropped[[0, 2]], base(x_t, t, label).mean[[0, 2]])
    assert torch.equal(base(x_t, t, label.null()).mean, base(x_t, t).mean)


def test_shrinking_wholly_gives_every_class_one_covariance_and_keeps_the_means():
    apart, x, labels = fitted(Gaussian(Cosine()), shrink=0.0)
    shared, _, _ = fitted(Gaussian(Cosine()), shrink=1.0)
    assert torch.equal(shared.mean, apart.mean)
    torch.testing.assert_close(shared.spread[0], shared.spread[1])
    assert not torch.allclose(apart.spread[0], apart.spread[1])
    torch.testing.assert_close(apart.mean[1, 0], x[labels == 1].flatten(1).mean(0))


@pytest.mark.parametrize("components", [1, 2])
def test_covariances_are_shrunk_towards_the_pooled_covariance_within_clusters(components):
    """(1 - shrink) S_k + shrink S, with S the mean of the clusters' own covariances by their number of rows."""
    x, labels = skewed(401)
    process = Gaussian(Cosine())
    apart, half, whole = (
        GaussianMixtureDenoiser(process, (1, 3), 2, components, shrink=share, floor=1e-12).double().fit(x, labels)
        for share in (0.0, 0.5, 1.0)
    )

    def covariances(base):
        return (base.basis * base.spread[..., None, :] @ base.basis.mT)[:2]

    counts = apart.weight[:2] * torch.tensor([[201.0], [200.0]], dtype=torch.float64)
    pooled = (counts[..., None, None] * covariances(apart)).sum((0, 1)) / 401
    if components == 1:
        within = [torch.cov(x[labels == k].flatten(1).T) for k in (0, 1)]
        torch.testing.assert_close(pooled, (201 * within[0] + 200 * within[1]) / 401, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(covariances(whole), pooled.expand(2, components, 3, 3), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(covariances(half), (covariances(apart) + pooled) / 2, rtol=1e-6, atol=1e-9)


def test_no_variance_is_below_the_floor():
    x = torch.randn(50, 1, 3, dtype=torch.float64) * torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    base = GaussianMixtureDenoiser(Gaussian(Cosine()), (1, 3), floor=0.01).double().fit(x)
    assert base.spread[-1, 0].min().item() == pytest.approx(0.01)
    assert base.spread[-1, 0].max() > 0.3


def test_the_network_sees_scaled_inputs_and_its_output_is_scaled_by_what_is_left_to_believe(any_schedule):
    seen = []

    class Spy(nn.Module):
        def forward(self, x, level, condition=None):
            seen.append((x, level, condition))
            return x.flip(1)

    base, _, _ = fitted(Gaussian(any_schedule), shrink=0.3)
    refined = ResidualDenoiser(Spy(), base, data_sd=1.7, residual_sd=0.4)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x_t, label = torch.randn(3, 1, 3, dtype=torch.float64), Condition(label=torch.tensor([0, 1, 0]))
    found = refined(x_t, t, label).mean
    alpha, sigma = (each.view(3, 1, 1) for each in base.process.level(t))
    ((x, level, condition),) = seen
    believed = base(x_t, t, label).mean
    torch.testing.assert_close(x[:, :1], x_t / torch.sqrt((alpha * 1.7) ** 2 + sigma**2))
    torch.testing.assert_close(x[:, 1:], believed)
    torch.testing.assert_close(level, torch.log(sigma / alpha).flatten().clamp(-10, 10) / 4)
    assert condition is label
    c_out = sigma * 0.4 / torch.sqrt((alpha * 0.4) ** 2 + sigma**2)
    torch.testing.assert_close(found, believed + c_out * believed)  # of the flipped channels the first is the belief


@pytest.mark.parametrize("sd", [0.5, 1.7])
def test_a_network_sees_inputs_of_unit_size_and_a_quarter_of_the_log_ratio(any_schedule, sd):
    seen = []

    class Spy(nn.Module):
        def forward(self, x, level, condition=None):
            seen.append((x, level, condition))
            return torch.zeros_like(x)

    model = NetworkDenoiser(Spy(), Gaussian(any_schedule), X0(), (3,), data_sd=sd)
    t, x_t = torch.tensor([0.0, 0.1, 0.9], dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    label = Condition(label=torch.tensor([0, 1, 0]))
    model(x_t, t, label)
    alpha, sigma = model.process.level(t)
    ((x, level, condition),) = seen
    torch.testing.assert_close(x, x_t / torch.sqrt((alpha * sd) ** 2 + sigma**2)[:, None])
    torch.testing.assert_close(level, torch.log(sigma / alpha).clamp(-10, 10) / 4)
    assert condition is label


def test_a_network_that_outputs_0_leaves_the_belief_of_the_base(any_schedule):
    class Silent(nn.Module):
        def forward(self, x, level, condition=None):
            assert x.shape[1] == 2
            return torch.zeros_like(x)

    base, _, _ = fitted(Gaussian(any_schedule), shrink=0.3)
    refined = ResidualDenoiser(Silent(), base)
    t, x_t = torch.full((3,), 0.4, dtype=torch.float64), torch.ones(3, 1, 3, dtype=torch.float64)
    assert torch.equal(refined(x_t, t).mean, base(x_t, t).mean)
    assert refined.shape == (1, 3)


def test_its_mixture_is_the_exact_mixture(any_schedule):
    process = Gaussian(any_schedule)
    x, labels = skewed(400)
    base = GaussianMixtureDenoiser(process, (1, 3), classes=2, components=3, shrink=0.4).double().fit(x, labels)
    x_t = torch.randn(5, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.02, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64)
    for kind in (0, 1):
        covariances = base.basis[kind] @ torch.diag_embed(base.spread[kind]) @ base.basis[kind].mT
        exact = Mixture(base.mean[kind].view(3, 1, 3), covariances, process, base.weight[kind])
        believed = base(x_t, t, Condition(label=torch.full((5,), kind))).mean
        torch.testing.assert_close(believed, exact(x_t, t).mean, rtol=1e-8, atol=1e-10)
        assert base.weight[kind].sum().item() == pytest.approx(1)
    group = x[labels == 0].flatten(1)
    torch.testing.assert_close((base.weight[0, :, None] * base.mean[0]).sum(0), group.mean(0), rtol=1e-6, atol=1e-8)


def test_more_components_than_items_are_left_empty():
    x, labels = torch.randn(6, 1, 2), torch.tensor([0, 0, 0, 1, 1, 1])
    base = GaussianMixtureDenoiser(Gaussian(Cosine()), (1, 2), classes=2, components=5).fit(x, labels)
    belief = base(
        torch.randn(4, 1, 2), torch.full((4,), 0.5, dtype=torch.float64), Condition(label=torch.tensor([0, 1, 0, 1]))
    )
    assert torch.isfinite(belief.mean).all()


def test_mistakes_are_told():
    process = Gaussian(Cosine())
    for wrong in ({"shape": (3, 64, 64)}, {"shape": (2,), "shrink": 1.5}, {"shape": (2,), "floor": 0.0}):
        with pytest.raises(UsageError):
            GaussianMixtureDenoiser(process, **wrong)
    with pytest.raises(UsageError):
        GaussianMixtureDenoiser(process, (2,), classes=2).fit(torch.randn(3, 2), torch.tensor([0, 0, 1]))


def test_times_finer_than_rows_are_refused():
    base, x, _ = fitted(Gaussian(Cosine()), shrink=0.1)
    with pytest.raises(UsageError, match="one time a row"):
        base(x[:2], torch.full((2, 1), 0.5, dtype=torch.float64))
    with pytest.raises(UsageError, match="one time a row"):
        ResidualDenoiser(nn.Identity(), base)(x[:2], torch.full((2, 1), 0.5, dtype=torch.float64))

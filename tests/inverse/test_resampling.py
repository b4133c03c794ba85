"""Inpainting by replacement, with and without resampling; measurements and settings of each method, row by row."""

import torch
from conformance.subjects import F64, Fast, column, run, unchecked

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.inverse import DPS, MMPS, Inpainting, Masking, PiGDM, Replacement, exact
from unmelt.process import Gaussian
from unmelt.sampler import Ancestral, Restart, grid

ROWS, KNOWN = 6000, torch.tensor([True, False])


def test_resampling_reduces_the_error_of_replacement():
    """Of two correlated numbers one is known; the mean and deviation of the other are known in closed form."""
    on = schedule.Cosine()
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), covariance, Gaussian(on))
    value = column(1.5, float("nan"))[None]
    truth = exact(prior, Inpainting(KNOWN), value[:, KNOWN], 0.0)
    mean, sd = truth.means[0, 1].item(), (1 - 0.8**2) ** 0.5
    assert abs(mean - 0.8 * 1.5) < 1e-9

    times = grid.cosine(25)(on)
    x = torch.randn(ROWS, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    off = {}
    for again in (0, 1, 8):
        with torch.no_grad(), unchecked():
            ended = run(
                Restart(Ancestral(), times=again), Replacement(prior, value, KNOWN), x, times, Fast.many(ROWS)
            ).x
        assert (ended[:, 0] - 1.5).abs().max() < 1e-9
        off[again] = abs(ended[:, 1].mean().item() - mean) + abs(ended[:, 1].std().item() - sd)
    assert off[1] < 0.75 * off[0]
    assert off[8] < 0.3 * off[0]


def test_every_row_is_certain_of_its_own_values():
    """One row of values for each row, or one for all; what is not known is believed as the denoiser believes it."""
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64), Gaussian(schedule.Cosine()))
    x, t = column(0.3, -0.2, 0.7).repeat(2, 1).T.contiguous(), column(0.2, 0.5, 0.9)
    values = torch.tensor([[1.0, float("nan")], [2.0, 7.0], [3.0, 8.0]], dtype=F64)
    for given, wanted in ((values, [1.0, 2.0, 3.0]), (values[1:2], [2.0, 2.0, 2.0])):
        belief = Replacement(prior, given, KNOWN)(x, t).mean
        assert belief[:, 0].tolist() == wanted
        assert torch.equal(belief[:, 1], prior(x, t).mean[:, 1])


def test_measurements_of_every_row_are_its_own():
    """Each method with a measurement for each row is that method with each row alone."""
    on = schedule.Cosine()
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), covariance, Gaussian(on))
    x, t, y = torch.randn(3, 2, dtype=F64), column(0.2, 0.5, 0.9), column(1.0, -2.0, 3.0)[:, None]
    for kind in (DPS, MMPS, PiGDM):
        found = kind(prior, Inpainting(KNOWN), y, 0.1)(x, t).mean
        alone = [kind(prior, Inpainting(KNOWN), y[k : k + 1], 0.1)(x[k : k + 1], t[k : k + 1]).mean for k in range(3)]
        torch.testing.assert_close(found, torch.cat(alone), rtol=1e-9, atol=1e-9)
        shared = kind(prior, Inpainting(KNOWN), y[:1], 0.1)(x, t).mean
        torch.testing.assert_close(shared[0], found[0], rtol=1e-9, atol=1e-9)
        assert (shared[1] - found[1]).abs().max() > 1e-3


def test_the_settings_of_each_method_are_those_of_its_formula():
    """On white data of deviation sd, seen through a mask: mean + V (y - mean) / S at the known number."""
    on, sd, noise = schedule.Cosine(), 1.7, 0.4
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), sd**2 * torch.eye(2, dtype=F64), Gaussian(on))
    x, t, y = torch.randn(4, 2, dtype=F64), column(0.2, 0.4, 0.6, 0.8), column(1.0, -2.0, 3.0, 0.5)[:, None]
    alpha, sigma = prior.process.level(t)
    variance = (sigma * sd) ** 2 / ((alpha * sd) ** 2 + sigma**2)
    mean = prior(x, t).mean
    gap = y[:, 0] - mean[:, 0]
    of = {
        PiGDM: ({"data_sd": 0.6}, noise**2 + (sigma * 0.6) ** 2 / ((alpha * 0.6) ** 2 + sigma**2)),
        MMPS: ({}, noise**2 + variance),
        DPS: ({"strength": 0.3}, gap.square().clamp_min(noise**2) / 0.3),
    }
    for kind, (settings, size) in of.items():
        found = kind(prior, Inpainting(KNOWN), y, noise, covariance_sigma_max=1e6, **settings)(x, t).mean
        torch.testing.assert_close(found[:, 0], mean[:, 0] + variance / size * gap, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found[:, 1], mean[:, 1], rtol=1e-9, atol=1e-9)


def test_masks_of_each_row_measure_what_masks_of_all_rows_measure():
    """Masking leaves zeros where nothing is measured: a strength for each row takes them out of DPS's mean square.

    DPS is compared without noise: the least mean square, noise_sd^2, would count the zeros too.
    """
    spread = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.0]], dtype=F64)
    prior = Mixture.gaussian(torch.zeros(3, dtype=F64), spread, Gaussian(schedule.Cosine()))
    x, t = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0)), column(0.3, 0.6)
    known = torch.tensor([[True, False, True], [False, True, False]])
    values = torch.tensor([[1.0, 0.0, -2.0], [0.0, 0.5, 0.0]], dtype=F64)
    share = (known.double().sum(1) + 2) / (3 + 2)

    together = [
        Replacement(prior, values, known),
        MMPS(prior, Masking(known), values, 0.1),
        PiGDM(prior, Masking(known), values, 0.1),
        DPS(prior, Masking(known), values, 0.0, strength=known.double().mean(1)),
        DPS(prior, Masking(known), values, 0.0, strength=share, shrinkage=2.0),
    ]
    for row, mask in enumerate(known):
        one, y, seen = values[row : row + 1], values[row : row + 1, mask], Inpainting(mask)
        alone = [
            Replacement(prior, one, mask),
            MMPS(prior, seen, y, 0.1),
            PiGDM(prior, seen, y, 0.1),
            DPS(prior, seen, y, 0.0),
            DPS(prior, seen, y, 0.0, shrinkage=2.0),
        ]
        for whole, single in zip(together, alone, strict=True):
            wanted = single(x[row : row + 1], t[row : row + 1]).mean[0]
            torch.testing.assert_close(whole(x, t).mean[row], wanted, rtol=1e-9, atol=1e-9)


def test_shrinkage_averages_the_residual_with_the_variance_of_white_data():
    on, sd, k = schedule.Cosine(), 1.7, 3.0
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), sd**2 * torch.eye(2, dtype=F64), Gaussian(on))
    x, t, y = torch.randn(3, 2, dtype=F64), column(0.2, 0.5, 0.8), column(1.0, -2.0, 0.01)[:, None]
    alpha, sigma = prior.process.level(t)
    white = (sigma * 0.6) ** 2 / ((alpha * 0.6) ** 2 + sigma**2)
    mean = prior(x, t).mean
    gap = y[:, 0] - mean[:, 0]
    variance = (sigma * sd) ** 2 / ((alpha * sd) ** 2 + sigma**2)
    made = DPS(prior, Inpainting(KNOWN), y, 0.0, covariance_sigma_max=1e6, shrinkage=k, data_sd=0.6)(x, t).mean
    wanted = mean[:, 0] + variance / ((gap.square() + k * white) / (1 + k)) * gap
    torch.testing.assert_close(made[:, 0], wanted, rtol=1e-9, atol=1e-9)


def test_beyond_its_ratio_the_covariance_is_that_at_the_ratio():
    on, ratio = schedule.Cosine(), 2.0
    prior = Mixture.gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64), Gaussian(on))
    x, y = torch.randn(2, 2, dtype=F64), column(1.0, -2.0)[:, None]
    t = on.time(-2 * column(1.0, 6.0).log())
    r2 = column(1.0, ratio).square()
    variance = r2 / (1 + r2)
    mean = prior(x, t).mean
    found = MMPS(prior, Inpainting(KNOWN), y, 0.4, covariance_sigma_max=ratio)(x, t).mean
    wanted = mean[:, 0] + variance / (0.4**2 + variance) * (y[:, 0] - mean[:, 0])
    torch.testing.assert_close(found[:, 0], wanted, rtol=1e-8, atol=1e-8)

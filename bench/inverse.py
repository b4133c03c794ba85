"""Restoring what was measured: how far each method's samples are from the true posterior, and how digits come out.

The posterior of a mixture of Gaussians given y = A x0 + noise is a mixture again, so on mixtures everything is known
(`um.inverse.exact`). For each of several (x0, y) drawn from the joint law:

    mean        distance between the samples' mean and the posterior's, over the posterior's standard deviation (root
                of its trace); root mean square over the measurements
    covariance  distance between the covariances, over the size of the posterior's (Frobenius), median
    coverage    how often a number of x0 lies within the samples' central 90 %: 0.90 if all is well
    energy      energy distance to as many exact draws; `sliced` the root of the sliced Wasserstein-2 distance

`exact draws` is what as many exact draws give, the floor; `exact belief` is the sampler with the exact E[x0 | x_t, y].
Digits, held out, have no such truth: `error` is the root mean square over the pixels not seen (of the mean of the
samples: `error of mean`), `residual` that of y - A x in units of the noise, and docs/inverse.png shows them.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

import unmelt as um
from unmelt import inverse
from unmelt.denoiser import Mixture

F64 = torch.float64
MEASUREMENTS, DRAWS, STEPS, NOISE = 32, 128, 100, 0.3
SHOWN, EACH = 5, 2
PICTURE = Path(__file__).parent.parent / "docs" / "inverse.png"

Make = Callable[[Any, Any, Tensor, float], Any]
METHODS: dict[str, Make] = {
    "MMPS": inverse.MMPS,
    "PiGDM": inverse.PiGDM,
    "DPS": inverse.DPS,
}


def mixtures() -> dict[str, tuple[Mixture, inverse.Operator]]:
    """From the case where the best method is exact to the case that none is made for."""
    draw = torch.Generator().manual_seed(0)
    process = um.process.Gaussian(um.schedule.Cosine())
    roots = torch.randn(4, 4, 4, dtype=F64, generator=draw) / 2
    spread = roots @ roots.mT + 0.01 * torch.eye(4, dtype=F64)
    places = torch.randn(4, 4, dtype=F64, generator=draw)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=F64)
    two = inverse.Matrix(torch.randn(2, 4, dtype=F64, generator=draw))
    half = inverse.Mask(torch.tensor([True, True, False, False]))
    return {
        "Gaussian, mixed": (Mixture(places[:1], spread[:1], process), two),
        "Gaussian, masked": (Mixture(places[:1], spread[:1], process), half),
        "overlapping, mixed": (Mixture(0.7 * places, spread, process, weights), two),
        "overlapping, masked": (Mixture(0.7 * places, spread, process, weights), half),
        "apart, mixed": (Mixture(2 * places, 0.2 * spread, process, weights), two),
    }


def moments(mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Mean and covariance."""
    mean = mixture.weights @ mixture.means
    gap = mixture.means - mean
    within = mixture.basis * mixture.spread[:, None] @ mixture.basis.mT
    return mean, torch.einsum("k,kde->de", mixture.weights, within + gap[:, :, None] * gap[:, None])


def compare(made: Tensor, truths: list[Mixture], x0: Tensor) -> dict[str, float]:
    """Samples [measurements, draws, dim] beside the posteriors that they should come from."""
    rows = []
    for number, (mine, truth) in enumerate(zip(made, truths, strict=True)):
        mean, covariance = moments(truth)
        drawn = truth.sample(DRAWS, um.rng.Stream(1000 + number), F64)
        rows.append(
            (
                (mine.mean(0) - mean).square().sum() / covariance.trace(),
                (torch.cov(mine.T) - covariance).norm() / covariance.norm(),
                um.metric.energy_distance(mine, drawn),
                um.metric.sliced_wasserstein(mine, drawn, um.rng.Stream(0)) ** 0.5,
            )
        )
    mean_error, covariance_error, energy, sliced = torch.tensor(rows).unbind(1)
    low, high = made.quantile(torch.tensor([0.05, 0.95], dtype=F64), dim=1)
    return {
        "mean": mean_error.mean().sqrt().item(),
        "covariance": covariance_error.median().item(),
        "coverage": ((x0 > low) & (x0 < high)).double().mean().item(),
        "energy": energy.mean().item(),
        "sliced": sliced.mean().item(),
    }


def on_mixture(name: str, prior: Mixture, operator: inverse.Operator) -> list[dict[str, Any]]:
    x0 = prior.sample(MEASUREMENTS, um.rng.Stream(1), F64)
    seen = operator.forward(x0)
    y = seen + NOISE * um.rng.Stream(2).normal(seen.shape, F64)
    truths = [inverse.exact(prior, operator, one[None], NOISE) for one in y]
    many = y.repeat_interleave(DRAWS, 0)
    grid = um.grid.log_snr(STEPS, sigma_min=0.01)

    def drawn(denoiser: Any, rows: int, seed: int = 0) -> Tensor:
        return um.sample(denoiser, rows=rows, sampler=um.sampler.Ancestral(), grid=grid, seed=seed, dtype=F64)

    ways: dict[str, Callable[[], Tensor]] = {
        "exact draws": lambda: torch.cat([t.sample(DRAWS, um.rng.Stream(k), F64) for k, t in enumerate(truths)]),
        "exact belief": lambda: torch.cat([drawn(truth, DRAWS, seed) for seed, truth in enumerate(truths)]),
        **{key: partial(drawn, make(prior, operator, many, NOISE), len(many)) for key, make in METHODS.items()},
    }
    if isinstance(operator, inverse.Mask):
        values = torch.zeros(len(many), *prior.shape, dtype=F64)
        values[:, operator.known] = many
        ways["Hold"] = lambda: drawn(inverse.Replacement(prior, values, operator.known), len(many))
    ways["prior"] = lambda: drawn(prior, len(many))
    rows = []
    for key, way in ways.items():
        start = time.perf_counter()
        made = way()
        seconds = time.perf_counter() - start
        residual = (operator.forward(made) - many).square().mean().sqrt().item() / NOISE
        scores = compare(made.view(MEASUREMENTS, DRAWS, -1), truths, x0)
        rows.append({"problem": name, "method": key, **scores, "residual": residual, "seconds": seconds})
    return rows


def on_digits(model: um.Model, count: int, draws: int) -> list[dict[str, Any]]:
    """Held-out digits, their class not told; the picture shows the first of them."""
    x, _ = um.data.digits(held_out=True).all()
    x0, noise = model.codec.encode(x[:count]), 0.05
    top = torch.zeros(1, 8, 8, dtype=torch.bool)
    top[:, :4] = True
    grid = um.grid.karras(40, sigma_min=0.02)
    rows, tiles = [], []
    for name, operator in {"digits, half": inverse.Mask(top), "digits, 2x": inverse.Downsample(2)}.items():
        seen = operator.forward(x0)
        y = (seen + noise * um.rng.Stream(0).normal(seen.shape)).repeat_interleave(draws, 0)
        masked = isinstance(operator, inverse.Mask)
        hidden = ~top if masked else torch.ones_like(top)
        if masked:
            values = torch.full((len(y), 1, 8, 8), -1.0)
            values[:, top] = y
        else:
            values = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        sheet = [model.codec.decode(part) for part in (x0, values[::draws])]
        ways = {key: make(model.denoiser, operator, y, noise) for key, make in METHODS.items()}
        ways["PiGDM"] = inverse.PiGDM(model.denoiser, operator, y, noise, data_sd=0.75)
        if masked:
            ways["Hold"] = inverse.Replacement(model.denoiser, values, top)
        for key, denoiser in ways.items():
            start = time.perf_counter()
            made = um.sample(denoiser, rows=len(y), sampler=um.sampler.Ancestral(), grid=grid, shape=(1, 8, 8))
            seconds = time.perf_counter() - start
            each = made.view(count, draws, 1, 8, 8)
            gap, middle = (each - x0[:, None])[..., hidden], (each.mean(1) - x0)[:, hidden]
            rows.append(
                {
                    "problem": name,
                    "method": key,
                    "error": gap.square().mean().sqrt().item(),
                    "middle": middle.square().mean().sqrt().item(),
                    "residual": (operator.forward(made) - y).square().mean().sqrt().item() / noise,
                    "seconds": seconds,
                }
            )
            sheet += model.codec.decode(each).unbind(1)[:EACH]
        sheet += [torch.ones_like(x0)] * (2 + EACH * (len(METHODS) + 1) - len(sheet))
        tiles.append(torch.stack(sheet, 1)[:SHOWN])
    columns = ["truth", "measured", *(key for key in [*METHODS, "Hold"] for _ in range(EACH))]
    um.picture.tiles(torch.cat(tiles).flatten(0, 1), len(columns), column_labels=columns, path=PICTURE)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/inverse.json and inverse.md")
    parser.add_argument("--run", default="runs/digits", help="the run folder of a digits model; skipped if not there")
    parser.add_argument("--digits", type=int, default=40, help="how many held-out digits to restore (40)")
    options = parser.parse_args()
    options.rounds = 1
    start = time.perf_counter()
    report = timing.Report(
        "inverse",
        f"Posterior sampling: y = A x0 + {NOISE} noise, {STEPS} ancestral steps; digits: 0.05 noise, 40 steps",
        [
            ("problem", "problem", ""),
            ("method", "method", ""),
            ("mean", "mean", ".2f"),
            ("covariance", "covariance", ".2f"),
            ("coverage", "coverage", ".2f"),
            ("energy", "energy", ".3f"),
            ("sliced", "sliced", ".2f"),
            ("residual", "residual", ".2f"),
            ("error", "error", ".3f"),
            ("middle", "error of mean", ".3f"),
            ("seconds", "seconds", ".1f"),
        ],
    )
    for name, (prior, operator) in mixtures().items():
        report.rows += on_mixture(name, prior, operator)
    if (Path(options.run) / "config.json").exists():
        model = um.load(options.run, device="cpu")
        report.rows += on_digits(model, options.digits, 4)
        report.notes.append(f"digits: {options.digits} held out, 4 samples each, a model of {model.steps_done} steps")
    else:
        report.notes.append(f"no digits: {options.run} is not a run folder; make one with `unmelt train digits`")
    report.notes += [
        f"{MEASUREMENTS} measurements of each mixture, {DRAWS} samples for each; mixed: 2 random combinations "
        "of 4 numbers; masked: 2 of the 4 seen; prior: the measurement ignored",
        "mean, covariance: errors relative to the posterior's own spread; coverage of the central 90 % intervals",
        "exact draws: the floor; exact belief: the sampler given the true E[x0 | x_t, y]",
        "residual: root mean square of y - A x over the noise's standard deviation",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

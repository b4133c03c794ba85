"""Inpainting: how far each method's law is from the exact conditional one, at what cost, and how digits come out.

The conditional law of a mixture of Gaussians is a mixture again (`um.inverse.exact`). Half of the numbers are hidden:
2 of 4 in two small mixtures, the lower half of 8 x 8 pixels in one Gaussian for each class of the digits. For several
pictures, drawn from the prior:

    energy   mean energy distance of the versions to as many exact draws; near 0 if all is well
    mean     distance between the means, over the conditional law's standard deviation; root mean square
    spread   trace of the versions' covariance over that of the conditional law

One digit with a single known pixel says whether a method stays sound where little is known. `seconds` are those of this
run. docs/pictures.png shows held-out digits of a trained model, with `Model.inpaint`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

import unmelt as um
from unmelt import inverse
from unmelt.denoiser import Mixture
from unmelt.model import painting
from unmelt.sampler import Ancestral, Restart

F64 = torch.float64
PICTURES, VERSIONS, STEPS, DATA_SD = 8, 64, 20, 0.7
PICTURE = Path(__file__).parent.parent / "docs" / "pictures.png"

Way = tuple[Callable[[Any, Tensor, Tensor], Any], Any]


def problems() -> dict[str, tuple[Mixture, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    roots = torch.randn(4, 4, 4, dtype=F64, generator=draw) / 2
    spread = roots @ roots.mT + 0.01 * torch.eye(4, dtype=F64)
    places = torch.randn(4, 4, dtype=F64, generator=draw)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=F64)
    half = torch.tensor([True, True, False, False])
    x, labels = um.data.digits().all()
    classes = [(2 * x[labels == label].double() - 1).flatten(1) for label in range(10)]
    means = torch.stack([each.mean(0) for each in classes]).view(-1, 1, 8, 8)
    covariances = torch.stack([torch.cov(each.T) + 1e-3 * torch.eye(64) for each in classes])
    digits = Mixture(means, covariances, process)
    upper, one = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    upper[:, :4], one[:, 4, 3] = True, True
    return {
        "overlapping": (Mixture(0.7 * places, spread, process, weights), half),
        "apart": (Mixture(2 * places, 0.2 * spread, process, weights), half),
        "digits, half": (digits, upper),
        "digits, one pixel": (digits, one),
    }


def ways() -> dict[str, Way]:
    def replaced(denoiser: Any, values: Tensor, known: Tensor) -> Any:
        return inverse.Replacement(denoiser, values, known)

    def measured(kind: Any, **settings: Any) -> Any:
        def make(denoiser: Any, values: Tensor, known: Tensor) -> Any:
            return replaced(kind(denoiser, inverse.Inpainting(known), values[:, known], 0.0, **settings), values, known)

        return make

    def default(denoiser: Any, values: Tensor, known: Tensor) -> Any:
        return painting.hold(denoiser, values, known.expand(values.shape), DATA_SD)

    again, ode = Restart(Ancestral(), times=1), um.sampler.adams_sampler(STEPS)[0]
    return {
        "prior": (lambda denoiser, values, known: denoiser, Ancestral()),
        "Replacement, ODE": (replaced, ode),
        "Replacement": (replaced, Ancestral()),
        "Replacement, resampled once": (replaced, again),
        "Replacement, resampled 4 times": (replaced, Restart(Ancestral(), times=4)),
        "PiGDM": (measured(inverse.PiGDM, data_sd=DATA_SD), Ancestral()),
        "PiGDM, resampled once": (measured(inverse.PiGDM, data_sd=DATA_SD), again),
        "MMPS, 2 solves": (measured(inverse.MMPS, solves=2), Ancestral()),
        "MMPS, 2 solves, resampled once": (measured(inverse.MMPS, solves=2), again),
        "DPS": (measured(inverse.DPS), Ancestral()),
        "DPS, resampled once": (measured(inverse.DPS), again),
        "default: DPS, shrunk, resampled once": (default, again),
    }


def on_problem(name: str, prior: Mixture, known: Tensor) -> list[dict[str, Any]]:
    x0 = prior.sample(PICTURES, um.rng.Stream(1), F64)
    truths = [inverse.exact(prior, inverse.Inpainting(known), each[known][None], 0.0) for each in x0]
    drawn = [truth.sample(VERSIONS, um.rng.Stream(100 + k), F64) for k, truth in enumerate(truths)]
    many = x0.repeat_interleave(VERSIONS, 0)
    grid, rows = um.grid.balanced(STEPS), []
    for way, (make, sampler) in ways().items():
        start = time.perf_counter()
        made = um.sample(make(prior, many, known), rows=len(many), sampler=sampler, grid=grid, dtype=F64)
        seconds = time.perf_counter() - start
        scores = []
        for mine, exact, truth in zip(torch.where(known, many, made).split(VERSIONS), drawn, truths, strict=True):
            mean = truth.weights @ truth.means
            within = (truth.basis**2 * truth.spread[:, None]).sum(-1)
            variance = (truth.weights @ (within + truth.means**2) - mean**2).sum()
            flat = mine.flatten(1)
            energy = um.metric.energy_distance(flat, exact.flatten(1))
            scores.append((energy, (flat.mean(0) - mean).square().sum() / variance, flat.var(0).sum() / variance))
        energy, mean_error, spread = torch.tensor(scores).mean(0).tolist()
        one = {"energy": energy, "mean": mean_error**0.5, "spread": spread, "seconds": seconds}
        rows.append({"problem": name, "method": way, **one})
    return rows


def draw_digits(model: um.Model) -> None:
    x = um.data.digits(held_out=True).all()[0][:6]
    mask = torch.zeros(8, 8)
    mask[4:] = 1
    columns = ["picture", "masked"] + 4 * ["inpainted"] + 3 * ["variation"]
    sheet = [x, torch.lerp(x, torch.full_like(x, 0.5), mask)]
    sheet += [model.inpaint(x, mask, seed=[100 * seed + row for row in range(6)]) for seed in range(4)]
    versions = [model.variations(one[None], rows=3, strength=0.5, seed=row) for row, one in enumerate(x)]
    sheet += torch.stack(versions, 1).unbind(0)
    um.picture.tiles(torch.stack(sheet, 1).flatten(0, 1), len(columns), column_labels=columns, path=PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--save", action="store_true", help="also write bench/results/inpainting.json and inpainting.md"
    )
    parser.add_argument(
        "--run", default="runs/digits", help="a digits model, for docs/pictures.png; skipped if not there"
    )
    options = parser.parse_args()
    options.rounds = 1
    start = time.perf_counter()
    columns = [("problem", "problem", ""), ("method", "method", "")]
    columns += [(name, name, form) for name, form in (("energy", ".3f"), ("mean", ".2f"), ("spread", ".2f"))]
    report = timing.Report("inpainting", f"Inpainting, {STEPS} steps", [*columns, ("seconds", "seconds", ".1f")])
    for name, (prior, known) in problems().items():
        report.rows += on_problem(name, prior, known)
    report.notes.append(f"{PICTURES} pictures of each problem, {VERSIONS} versions of each; known values have no noise")
    report.notes.append("samples are ancestral unless ODE is said; known values are replaced in all but the prior")
    if (Path(options.run) / "config.json").exists():
        draw_digits(um.load(options.run, device="cpu"))
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

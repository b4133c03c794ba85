"""What every kind of guidance buys and costs on the digits model: judge accuracy against Fréchet distance, by scale.

A guidance is better where its curve lies higher and further to the left: more samples that look like what they should
be, at less cost in variety. All take the same seeds, steps and sampler (Euler's, which CFG++ needs), within all of t.

    CFG             away from the model without its class
    CFG, rescaled   the same, with the standard deviation of the unguided belief (share 0.7)
    APG             the same difference, orthogonal to the belief, at most 2.5 long
    CFG++           renoised with noise that was not guided; scales nearer to 1, as its gain is about 4 on this grid
    CFG-Zero*       away from the best multiple of the null velocity
    autoguidance    away from a worse model: the Gaussians that the model's network refines
    classifier      along the gradient of a small classifier of noisy digits, trained here in seconds
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
import torch.nn.functional as F
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from torch import Tensor, nn

import unmelt as um
from unmelt.denoiser.precondition import noise_level, unit_scale
from unmelt.guidance import APG, CFG, Autoguidance, CFGpp, CFGZero, ClassifierGuidance, Rescale
from unmelt.picture.style import FAINT, INK, colours, figure, finish, quiet

SCALES = (1.5, 2.0, 3.0, 5.0, 8.0)
GENTLER = 4.0
"""By how much scale - 1 is divided for CFG++."""

PICTURE = Path(__file__).parent.parent / "docs" / "guidance.png"


class NoisyJudge(nn.Module):
    """log p(class | x_t) for x_t of any noise level.

    Under noise sigma what x_t tells fades as 1 / sigma, and so do the logits: their gradient times sigma^2 is finite.
    """

    def __init__(self, model: um.Model, classes: int, width: int = 256) -> None:
        super().__init__()
        self.model = model
        self.network = nn.Sequential(
            nn.Linear(math.prod(model.denoiser.shape) + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, classes),
        )

    def logits(self, x_t: Tensor, t: Tensor) -> Tensor:
        level = self.model.denoiser.process.level(t)
        seen = unit_scale(x_t, level, self.model.denoiser.data_sd).flatten(1)
        faded = torch.rsqrt(1 + (level.sigma / level.alpha) ** 2).to(x_t.dtype)
        return self.network(torch.cat([seen, noise_level(level, x_t.dtype)[:, None]], 1)) * faded[:, None]

    def forward(self, x_t: Tensor, t: Tensor, condition: um.Condition | None) -> Tensor:
        assert condition is not None
        assert condition.label is not None
        return self.logits(x_t, t).log_softmax(1).gather(1, condition.label[:, None])[:, 0]

    @classmethod
    def trained(cls, model: um.Model, x: Tensor, labels: Tensor, steps: int = 1500) -> "NoisyJudge":
        with um.rng.seeded(0):
            made = cls(model, len(model.classes))
        rng, clean, process = um.rng.Stream(0), model.codec.encode(x), model.denoiser.process
        optimizer = torch.optim.AdamW(made.network.parameters(), 2e-3, weight_decay=0.05)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            rows = (rng.uniform((128,)) * len(clean)).long()
            ratio = torch.exp(1.5 * rng.normal((128,), torch.float64) - 0.5)
            t = process.schedule.time(-2 * torch.log(ratio)).clamp(0, 1)
            loss = F.cross_entropy(made.logits(process.corrupt(clean[rows], t, rng)[0], t), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        return made.requires_grad_(False)


def kinds(model: um.Model, judge: NoisyJudge, grid: um.Grid) -> dict[str, Callable[[float], Any]]:
    """Each kind, made with a scale."""
    base = model.denoiser
    assert isinstance(base, um.denoiser.ResidualDenoiser)
    return {
        "CFG": lambda scale: CFG(base, scale),
        "CFG, rescaled": lambda scale: Rescale(CFG(base, scale)),
        "APG": lambda scale: APG(base, scale, limit=2.5),
        "CFG++": lambda scale: CFGpp(base, 1 + (scale - 1) / GENTLER, grid),
        "CFG-Zero*": lambda scale: CFGZero(base, scale),
        "autoguidance": lambda scale: Autoguidance(base, base.base, scale),
        "classifier": lambda scale: ClassifierGuidance(base, judge, scale),
    }


class Scorer:
    """Samples of a guided denoiser, judged as `Model.evaluate` judges."""

    def __init__(self, model: um.Model, grid: um.Grid, samples: int) -> None:
        self.model, self.grid = model, grid
        self.real, self.held_out = (um.metric.collect_samples(um.data.digits(held_out=held)) for held in (False, True))
        assert self.real.labels is not None
        self.judge = um.metric.Classifier.fit(self.real.x, self.real.labels)
        self.label = self.real.labels.repeat(math.ceil(samples / len(self.real.x)))[:samples]
        self.features = um.metric.Pixels()

    def __call__(self, denoiser: Any, seed: int) -> tuple[float, float]:
        """(accuracy, Fréchet distance)."""
        seeds = [um.rng.fold(seed, row) for row in range(len(self.label))]
        chunks = [slice(first, first + 512) for first in range(0, len(seeds), 512)]
        x = torch.cat([self._sample(denoiser, seeds[chunk], self.label[chunk]) for chunk in chunks])
        return self.judge.accuracy(x, self.label), self.frechet(x)

    def _sample(self, denoiser: Any, seeds: list[int], label: Tensor) -> Tensor:
        x = um.sample(denoiser, rows=len(seeds), seed=seeds, label=label, sampler=um.sampler.Euler(), grid=self.grid)
        return self.model.codec.decode(x)

    def frechet(self, x: Tensor) -> float:
        return um.metric.frechet_distance(self.features(x), self.features(self.held_out.x))


def draw(rows: list[dict[str, Any]], real: tuple[float, float], path: Path | None) -> None:
    """One curve a kind, from no guidance on: what it costs by scale, and what is had for the cost."""
    start, kinds = rows[0], list(dict.fromkeys(row["kind"] for row in rows))[1:]
    drawn = figure(9.6, 4.2)
    by_scale, against = drawn.subplots(1, 2, gridspec_kw={"wspace": 0.1})
    for axis, title in ((by_scale, "what it costs"), (against, "what is had for it; numbers are scales")):
        quiet(axis, title)
        axis.grid(True, which="major", color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
    for kind, colour in zip(kinds, colours(len(kinds)), strict=True):
        mine = [start, *(row for row in rows if row["kind"] == kind)]
        scale, distance, accuracy = ([row[key] for row in mine] for key in ("scale", "frechet", "accuracy"))
        line = {"color": colour, "linewidth": 1.4, "markersize": 3.5}
        by_scale.plot(scale, distance, "o-", **line, label=kind)
        against.plot(distance, accuracy, "o-", **line)
        last = f"{scale[-1]:g}"
        against.annotate(
            last, (distance[-1], accuracy[-1]), (0, -11), textcoords="offset points", fontsize=7, color=colour
        )
    around = {"mfc": "none", "mec": INK, "markersize": 8, "zorder": 3}
    by_scale.plot(1, start["frechet"], "o", **around, label="no guidance")
    against.plot(start["frechet"], start["accuracy"], "o", **around)
    by_scale.axhline(real[0], color=FAINT, linewidth=1, linestyle="--", label="real digits")
    against.plot(*real, "*", color=FAINT, markersize=10)
    numbers = FuncFormatter(lambda value, _: f"{value:g}")
    for axis in (by_scale.xaxis, by_scale.yaxis, against.xaxis):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(numbers)
        axis.set_minor_formatter(NullFormatter())
    distance_of = "Fréchet distance to held-out digits"
    by_scale.set_xlabel("scale", fontsize=9, color=INK)
    by_scale.set_ylabel(distance_of, fontsize=9, color=INK)
    against.set_xlabel(distance_of, fontsize=9, color=INK)
    against.set_ylabel("judged to be what they should be", fontsize=9, color=INK)
    against.margins(y=0.1)
    drawn.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8, labelcolor=INK)
    finish(drawn, path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/digits"), help="a digits run folder (runs/digits)")
    parser.add_argument("--samples", type=int, default=1438, help="at each scale (1438, as many as training images)")
    parser.add_argument("--steps", type=int, default=20, help="of Euler's sampler (20)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/guidance.* and docs/guidance.png")
    parser.add_argument("--rounds", type=int, default=1, help="draws of noise to take means over (1)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    start = time.perf_counter()
    try:
        model = um.load(options.run, device="cpu")
    except um.UsageError as error:
        raise SystemExit(str(error)) from None
    grid = um.grid.karras(options.steps, sigma_min=0.02)
    score = Scorer(model, grid, options.samples)
    assert score.real.labels is not None
    assert score.held_out.labels is not None
    judge = NoisyJudge.trained(model, score.real.x, score.real.labels)
    report = timing.Report(
        "guidance",
        "Guiding the digits model: accuracy against Fréchet distance",
        [
            ("kind", "guidance", ""),
            ("scale", "scale", "g"),
            ("accuracy", "accuracy", ".4f"),
            ("frechet", "Fréchet distance", ".3f"),
        ],
    )

    def measure(kind: str, scale: float, denoiser: Any) -> None:
        each = [score(denoiser, seed) for seed in range(options.rounds)]
        accuracy, distance = (statistics.fmean(values) for values in zip(*each, strict=True))
        report.rows.append({"kind": kind, "scale": scale, "accuracy": accuracy, "frechet": distance})

    measure("none", 1.0, model.denoiser)
    for kind, make in kinds(model, judge, grid).items():
        for scale in SCALES:
            guided = make(scale)
            measure(kind, getattr(guided, "scale", scale), guided)
    real = score.judge.accuracy(score.held_out.x, score.held_out.labels), score.frechet(score.real.x)
    report.found = {
        f"best Fréchet distance of {kind}": min(row["frechet"] for row in report.rows if row["kind"] == kind)
        for kind in dict.fromkeys(row["kind"] for row in report.rows)
    }
    report.notes += [
        f"real digits: accuracy {real[0]:.4f} of those held out, Fréchet distance {real[1]:.3f} of the training images",
        f"{options.samples} samples at each scale, {options.steps} steps of Euler; fewer samples raise all distances",
        f"CFG++ at 1 + (scale - 1) / {GENTLER:g}",
    ]
    draw(report.rows, (real[1], real[0]), PICTURE if options.save else None)
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

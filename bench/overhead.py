"""What sampling costs beyond the network: 50 steps by us, diffusers and k-diffusion, less the 50 network calls.

All run the network of the digits recipe with class labels, from the same noise levels (Karras, 80 to 0.02), at batch 1
and 64, each the way its own documentation drives it, and all are asked for the same sample, which is
checked (diffusers' EulerDiscrete and DPMSolverMultistep are for another parameterization: they do as much work and
give another sample).

Three estimates of the same thing, each a share of the time of the network's calls:

    between calls    a stopwatch at the network's door: the time of a whole sample that was not spent behind it.
                     Both parts come from the same sample, and caches are as cold as in real use. The figure to quote.
    empty network    the same sample with a network that returns its input: no noise from the network, but everything
                     stays in the caches, which flatters
    whole less bare  the time of a sample less that of 50 bare calls in the same round: no instrument at all, and
                     the difference of two large numbers
"""

import time
from collections.abc import Callable
from typing import Any

import peers
import subject
import timing
import torch
from torch import Tensor, nn

import unmelt as um

STEPS, BATCHES, CLASS, TARGET = 50, (1, 64), 3, 0.03
LOW, HIGH, SPREAD = 0.02, 80.0, 0.75
"""Noise levels and the data's standard deviation, as in the digits recipe."""

SHAPE = (1, 8, 8)
SOLVERS = ("Euler", "DPM++(2M)")

Sample = Callable[[Tensor | None], Tensor]
"""A whole sample, from this noise or from noise of its own."""


class Watched(nn.Module):
    """A network with a stopwatch at its door, and a switch that swaps it for one that returns its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.empty, self.inside = network, False, 0.0

    def forward(self, x: Tensor, level: Tensor, condition: um.Condition | None = None) -> Tensor:
        start = time.perf_counter()
        out = x if self.empty else self.network(x, level, condition)
        self.inside += time.perf_counter() - start
        return out


def digits() -> tuple[um.Model, Watched]:
    """The digits model, its network watched. Untrained, but with no layer left at zero: a real output takes part."""
    model = subject.digits()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02, generator=generator)
    watched = Watched(model.denoiser.backbone)
    model.denoiser.backbone = watched
    model.denoiser.eval()
    return model, watched


def drawn(rows: int) -> Tensor:
    """Noise as the peers' users draw it: one generator, one call."""
    return torch.randn((rows, *SHAPE), generator=torch.Generator().manual_seed(0))


def unmelt(model: um.Model, backbone: nn.Module, rows: int) -> dict[tuple[str, str], Sample]:
    """`um.sample` is what the peers do; `model.sample` also checks what it is asked, decodes and clamps."""
    grid = um.grid.karras(STEPS, sigma_min=LOW, sigma_max=HIGH)
    samples: dict[tuple[str, str], Sample] = {}

    def add(solver: str, sampler: um.sampler.Sampler) -> None:
        samples[solver, "unmelt, um.sample"] = lambda noise: um.sample(
            model.denoiser, rows=rows, sampler=sampler, grid=grid, seed=0, label=CLASS
        )
        samples[solver, "unmelt, model.sample"] = lambda noise: model.sample(
            rows, sampler=sampler, grid=grid, seed=0, label=CLASS
        )

    add(SOLVERS[0], um.sampler.Euler())
    add(SOLVERS[1], um.sampler.DPMpp(order=2))
    return samples


def k_diffusion(model: um.Model, backbone: nn.Module, rows: int) -> dict[tuple[str, str], Sample]:
    """As its own sample.py: its Denoiser around the network, its sampler, extra_args for what is known.

    Its networks take sigma and make log(sigma) / 4 of it themselves, hence the wrapper around ours.
    """
    sampling, layers = peers.k_diffusion()

    class Inner(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor) -> Tensor:
            return backbone(x, sigma.log() / 4, um.Condition(label=class_cond))

    denoiser = layers.Denoiser(Inner(), sigma_data=SPREAD).eval()

    def by(sampler: Callable[..., Tensor]) -> Sample:
        @torch.no_grad()
        def sample(noise: Tensor | None) -> Tensor:
            sigmas = sampling.get_sigmas_karras(STEPS, LOW, HIGH, rho=7.0)
            x = (drawn(rows) if noise is None else noise) * HIGH
            known = {"class_cond": torch.full((rows,), CLASS)}
            return sampler(denoiser, x, sigmas, extra_args=known, disable=True)

        return sample

    return {
        (SOLVERS[0], "k-diffusion"): by(sampling.sample_euler),
        (SOLVERS[1], "k-diffusion"): by(sampling.sample_dpmpp_2m),
    }


def diffusers(model: um.Model, backbone: nn.Module, rows: int) -> dict[tuple[str, str], Sample]:
    """As its guide to schedulers: scale_model_input, network, step, for every timestep; `step` returns a tuple.

    Its EDM schedulers know this kind of network. The plain ones, which most people use, count timesteps from 999 to 0;
    the network is shown them as levels of its usual size, worked out once for all steps.
    """
    library = peers.diffusers()

    def by(scheduler: Any, unit: float) -> Sample:
        @torch.no_grad()
        def sample(noise: Tensor | None) -> Tensor:
            scheduler.set_timesteps(STEPS)
            x = (drawn(rows) if noise is None else noise) * scheduler.init_noise_sigma
            known = um.Condition(label=torch.full((rows,), CLASS))
            for t, level in zip(scheduler.timesteps, scheduler.timesteps.float() * unit, strict=True):
                output = backbone(scheduler.scale_model_input(x, t), level.expand(rows), known)
                x = scheduler.step(output, t, x, return_dict=False)[0]
            return x

        return sample

    edm = {"sigma_min": LOW, "sigma_max": HIGH, "sigma_data": SPREAD}
    return {
        (SOLVERS[0], "diffusers, EulerDiscrete"): by(library.EulerDiscreteScheduler(), 1e-3),
        (SOLVERS[0], "diffusers, EDMEuler"): by(library.EDMEulerScheduler(**edm), 1.0),
        (SOLVERS[1], "diffusers, DPMSolverMultistep"): by(library.DPMSolverMultistepScheduler(), 1e-3),
        (SOLVERS[1], "diffusers, EDMDPMSolverMultistep"): by(library.EDMDPMSolverMultistepScheduler(**edm), 1.0),
    }


SAME = ("um.sample", "k-diffusion", "EDM")
"""Who is asked for the very same sample."""


def measure(batch: int, rounds: int, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of the table for one batch size."""
    model, watched = digits()
    samples: dict[tuple[str, str], Sample] = {}
    for ways in (unmelt, diffusers, k_diffusion):
        try:
            samples |= ways(model, watched, batch)
        except peers.MissingError as missing:
            if str(missing) not in notes:
                notes.append(str(missing))

    def run(sample: Sample, empty: bool) -> Callable[[], tuple[float, float]]:
        """(seconds inside the network, seconds outside it) of one sample."""

        def timed() -> tuple[float, float]:
            watched.empty, watched.inside = empty, 0.0
            start = time.perf_counter()
            sample(None)
            whole = time.perf_counter() - start
            return watched.inside, whole - watched.inside

        return timed

    @torch.no_grad()
    def bare() -> tuple[float, float]:
        x, level, known = drawn(batch), torch.zeros(batch), um.Condition(label=torch.full((batch,), CLASS))
        start = time.perf_counter()
        for _ in range(STEPS):
            watched.network(x, level, known)
        return time.perf_counter() - start, 0.0

    contestants = {("bare", "", False): bare}
    for (solver, library), sample in samples.items():
        for empty in (False, True):
            contestants[solver, library, empty] = run(sample, empty)
    times = timing.interleave(contestants, rounds, warmup=1)

    watched.empty = False
    noise = um.rng.RowSeeds.of(0, batch).normal((batch, *SHAPE))
    alone = [inside for inside, _ in times["bare", "", False]]
    rows = []
    for solver, library in sorted(samples, key=lambda key: SOLVERS.index(key[0])):
        inside, outside = zip(*times[solver, library, False], strict=True)
        without = [outside for _, outside in times[solver, library, True]]
        shares = timing.ratios(outside, inside)
        low, high = timing.spread(shares)
        whole = [a + b for a, b in zip(inside, outside, strict=True)]
        differs = None
        if any(name in library for name in SAME):
            mine = samples[solver, "unmelt, um.sample"](None)
            differs = (samples[solver, library](noise) - mine).abs().max().item()
        rows.append(
            {
                "batch": batch,
                "solver": solver,
                "library": library,
                "share": timing.median(shares),
                "share_quartiles": [low, high],
                "range": f"{low:.1%} to {high:.1%}",
                "microseconds": timing.median(outside) / STEPS * 1e6,
                "empty_share": timing.median(timing.ratios(without, alone)),
                "empty_microseconds": timing.median(without) / STEPS * 1e6,
                "difference_share": timing.median(timing.ratios(timing.differences(whole, alone), alone)),
                "network_microseconds": timing.median(alone) / STEPS * 1e6,
                "differs": differs,
            }
        )
    return rows


def main() -> None:
    options = timing.arguments(__doc__, rounds=24)
    start = time.perf_counter()
    report = timing.Report(
        "overhead",
        f"Sampling beyond the network: {STEPS} steps of the digits network, as a share of its calls",
        [
            ("batch", "batch", "d"),
            ("solver", "solver", ""),
            ("library", "library", ""),
            ("share", "between calls", ".1%"),
            ("microseconds", "us a step", ".0f"),
            ("range", "half of rounds", ""),
            ("empty_share", "empty network", ".1%"),
            ("difference_share", "whole less bare", ".1%"),
        ],
    )
    for batch in BATCHES:
        rounds = _rounds(options.rounds, batch)
        rows = measure(batch, rounds, report.notes)
        report.rows += rows
        us = max(row["share"] for row in rows if row["library"].startswith("unmelt"))
        slower = [_beaten(rows, solver) for solver in SOLVERS]
        report.found[f"batch {batch}"] = {
            "our worst share": us,
            "at most 3 %": us <= TARGET,
            "below every peer": all(slower) if None not in slower else None,
        }
        report.notes.append(
            f"batch {batch}, {rows[0]['network_microseconds']:,.0f} us a network call: "
            f"ours is at most {us:.1%} of it (target {TARGET:.0%}); below every peer measured: "
            + ", ".join(f"{solver} {_word(won)}" for solver, won in zip(SOLVERS, slower, strict=True))
        )
    differs = max(row["differs"] or 0.0 for row in report.rows)
    report.found["largest difference between the same samples"] = differs
    report.notes += [
        "between calls: a stopwatch at the network's door, within each sample; the figure to quote",
        "empty network: the same with a network that returns its input, over the time of 50 bare calls",
        "whole less bare: the whole sample less 50 bare calls of the same round, over those calls; noisy",
        f"from the same noise, k-diffusion and diffusers' EDM schedulers end at most {differs:.0e} away from us",
        "rounds: " + ", ".join(f"{_rounds(options.rounds, batch)} at batch {batch}" for batch in BATCHES),
    ]
    timing.publish(report, options, time.perf_counter() - start)


def _rounds(rounds: int, batch: int) -> int:
    """Larger batches are slower and steadier: a sixth of the rounds is enough, four at least."""
    return rounds if batch == 1 else max(4, rounds // 6)


def _beaten(rows: list[dict[str, Any]], solver: str) -> bool | None:
    """Whether both our ways are below every peer; None where there is no peer."""
    ours = [row["share"] for row in rows if row["solver"] == solver and row["library"].startswith("unmelt")]
    theirs = [row["share"] for row in rows if row["solver"] == solver and not row["library"].startswith("unmelt")]
    return max(ours) < min(theirs) if theirs else None


def _word(won: bool | None) -> str:
    return "no peer" if won is None else "yes" if won else "no"


if __name__ == "__main__":
    main()

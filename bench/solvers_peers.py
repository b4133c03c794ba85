"""The peers' deterministic samplers, each with every grid its library documents, asked for the end points of a problem.

All are driven the way their own documentation drives them, by one rule for what it leaves open:

    start       noise at the sampler's own highest level (`Problem.start`)
    network     the exact denoiser, converted without loss to the output the sampler wants, at the very noise level the
                sampler works with, even where a real network would only be told a rounded timestep
    end         what the library returns: k-diffusion takes a last step to 0, diffusers does so or stops at its lowest
                level, azula stops there
    evaluations calls of the denoiser: the largest number of steps that needs no more than are allowed

Their code is untouched, some of it works in float32 (an error of about 1e-6, below every number in the table).
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import peers
import torch
from contestant import Contestant
from problems import Problem, SpentError
from solvers_diffusers import diffusers
from torch import Tensor


def contestants(problem: Problem) -> tuple[list[Contestant], list[str]]:
    """Everybody who can run this problem, and who is missing."""
    found: list[Contestant] = []
    notes: list[str] = []
    for section in (k_diffusion, diffusers, azula, torchdiffeq):
        try:
            found += section(problem)
        except peers.MissingError as missing:
            notes.append(str(missing))
    return found, notes


# k-diffusion: x at alpha = 1, a model (x, sigma) -> x0, any sigmas that end in 0 -------------------------------------


def k_diffusion(problem: Problem) -> Iterator[Contestant]:
    """One evaluation a step, or two and one for the last."""
    sampling, _ = peers.k_diffusion()

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return problem.clean(x, 1.0, sigma[0])

    def grids() -> Iterator[tuple[str, Callable[[int], Tensor]]]:
        for low, high in problem.ranges:
            of = f"{low:g} to {high:g}"
            for rho in (5.0, 7.0, 10.0):
                yield f"Karras {rho:g}, {of}", lambda n, a=low, b=high, r=rho: sampling.get_sigmas_karras(n, a, b, r)
            for rho in (0.5, 1.0, 2.0):  # 1 is get_sigmas_exponential
                named = "exponential" if rho == 1 else f"polyexponential {rho:g}"
                yield (
                    f"{named}, {of}",
                    lambda n, a=low, b=high, r=rho: sampling.get_sigmas_polyexponential(n, a, b, r),
                )
        if math.isinf(problem.high):
            yield "VP", lambda n: sampling.get_sigmas_vp(n)
            yield f"times of the {problem.name} schedule", lambda n: times(problem, n)

    def on_grid(sampler: Callable[..., Tensor], grid: Callable[[int], Tensor], each: int, **options: Any) -> Run:
        def run(problem: Problem, evaluations: int) -> Tensor:
            sigmas = grid((evaluations + each - 1) // each).double()
            return sampler(model, problem.start(1.0, sigmas[0]), sigmas, disable=True, **options)

        return run

    samplers = [
        ("Euler", sampling.sample_euler, 1, {}),
        ("Heun", sampling.sample_heun, 2, {}),
        ("DPM 2", sampling.sample_dpm_2, 2, {}),
        *((f"LMS {order}", sampling.sample_lms, 1, {"order": order}) for order in (2, 3, 4)),
        ("DPM++(2S)", sampling.sample_dpmpp_2s_ancestral, 2, {"eta": 0.0}),
        ("DPM++(2M)", sampling.sample_dpmpp_2m, 1, {}),
        ("DPM++(2M) SDE Heun, eta 0", sampling.sample_dpmpp_2m_sde, 1, {"eta": 0.0, "solver_type": "heun"}),
        ("DPM++(3M) SDE, eta 0", sampling.sample_dpmpp_3m_sde, 1, {"eta": 0.0}),
    ]
    for (grid, spaced), (name, sampler, each, options) in itertools.product(grids(), samplers):
        yield Contestant("k-diffusion", f"{name}, {grid}", on_grid(sampler, spaced, each, **options))

    def fast(low: float, high: float) -> Run:
        def run(problem: Problem, evaluations: int) -> Tensor:
            return sampling.sample_dpm_fast(model, problem.start(1.0, high), low, high, evaluations, disable=True)

        return run

    def adaptive(low: float, high: float, **options: float) -> Run:
        def run(problem: Problem, evaluations: int) -> Tensor:
            return sampling.sample_dpm_adaptive(model, problem.start(1.0, high), low, high, disable=True, **options)

        return run

    for low, high in problem.ranges:
        of = f"{low:g} to {high:g}"
        yield Contestant("k-diffusion", f"DPM fast, {of}", fast(low, high))
        for order, rtol, first in itertools.product((2, 3), (0.05, 0.2, 1.0, 5.0), (0.05, 0.5, 2.0)):
            named = f"DPM adaptive {order}, rtol {rtol:g}, h_init {first:g}, {of}"
            yield Contestant("k-diffusion", named, adaptive(low, high, order=order, rtol=rtol, h_init=first))


def times(problem: Problem, steps: int) -> Tensor:
    """sigma / alpha at equal times of the problem's own schedule, from just below 1 to 0."""
    schedule = problem.denoiser.process.schedule
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    t[0] = 1 - 1e-3
    return schedule.sigma(t) / schedule.alpha(t)


# azula: a schedule on equal times, and a sampler; the network does not mind which schedule ---------------------------


def azula(problem: Problem) -> Iterator[Contestant]:
    """One evaluation a step, two for Heun. It stops at its lowest noise."""
    sample, noise, denoise = peers.azula()

    class Karras(noise.Schedule):
        """A schedule of one's own, as its abstract class invites: equal times are Karras' sigmas."""

        def __init__(self, low: float, high: float, rho: float) -> None:
            self.ends, self.rho = (low ** (1 / rho), high ** (1 / rho)), rho

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            low, high = self.ends
            return torch.ones_like(t), (low + t * (high - low)) ** self.rho

    def schedules() -> Iterator[tuple[str, Any]]:
        default = (1e-3, 1e3)
        ranges = (default, *problem.ranges[::2]) if math.isinf(problem.high) else problem.ranges
        for low, high in ranges:
            of = f"{low:g} to {high:g}"
            floors = {"alpha_min": 1 / high, "sigma_min": low}
            yield f"VE, {of}", noise.VESchedule(low, high)
            yield f"VP, {of}", noise.VPSchedule(**floors)
            yield f"cosine, {of}", noise.CosineSchedule(**floors)
            yield f"rectified, {of}", noise.RectifiedSchedule(**floors)
            for gamma in (0.3, 0.1):
                yield f"decay {gamma:g}, {of}", noise.DecaySchedule(**floors, gamma=gamma)
            yield f"Karras 7, {of}", Karras(low, high, 7.0)

    @dataclass
    class Seen:
        schedule: Any

        def __call__(self, x_t: Tensor, t: Tensor) -> Any:
            return denoise.DiracPosterior(problem.clean(x_t, *self.schedule(t)))

    def by(sampler: Any, schedule: Any, each: int, **options: int) -> Run:
        def run(problem: Problem, evaluations: int) -> Tensor | None:
            steps = evaluations // each
            if steps == 0:
                return None
            x = problem.start(*schedule(torch.ones((), dtype=torch.float64)))
            return sampler(Seen(schedule), steps=steps, silent=True, dtype=torch.float64, **options)(x)

        return run

    for named, schedule in schedules():
        yield Contestant("azula", f"DDIM, {named}", by(sample.DDIMSampler, schedule, 1))
        yield Contestant("azula", f"Heun, {named}", by(sample.HeunSampler, schedule, 2))
        for family, order in itertools.product(("zAB", "vAB", "zEAB", "xEAB", "REAB"), (2, 3, 4)):
            run = by(getattr(sample, f"{family}Sampler"), schedule, 1, order=order)
            yield Contestant("azula", f"{family} {order}, {named}", run)


# torchdiffeq: any ODE; as flow matching's own solver calls it, t = 0 is noise and t = 1 data --------------------------


def torchdiffeq(problem: Problem) -> Iterator[Contestant]:
    """The velocity of straight paths, and for the cosine schedule that of its own paths."""
    library = peers.torchdiffeq()
    schedule = problem.denoiser.process.schedule

    def straight_path(s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, sigma and their rates in s = 1 - u."""
        one = torch.ones_like(s)
        return s, 1 - s, one, -one

    def own_path(s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        t = 1 - s
        return schedule.alpha(t), schedule.sigma(t), -schedule.alpha_rate(t), -schedule.sigma_rate(t)

    def by(path: Callable[[Tensor], Any], grid: Callable[[int], Tensor], each: int, method: str, **how: Any) -> Run:
        def velocity(s: Tensor, x: Tensor) -> Tensor:
            alpha, sigma, alpha_rate, sigma_rate = path(s)
            x0 = problem.clean(x, alpha, sigma)
            noise = (x - alpha * x0) / sigma if sigma > 0 else torch.zeros_like(x)
            return alpha_rate * x0 + sigma_rate * noise

        def run(problem: Problem, evaluations: int) -> Tensor | None:
            steps = evaluations // each
            while steps > 0:  # Adams starts with steps that cost more
                s = grid(steps)
                problem.denoiser.allow(evaluations)
                try:
                    return library.odeint(velocity, problem.start(*path(s[0])[:2]), s, method=method, **how)[-1]
                except SpentError:
                    steps = steps - 1 if "adams" in method else 0
            return None

        return run

    first = 0.0 if math.isinf(problem.high) else 1 / (1 + problem.high)

    def uniform(steps: int) -> Tensor:
        return torch.linspace(first, 1, steps + 1, dtype=torch.float64)

    def edm(steps: int) -> Tensor:
        """Of flow matching's examples: Karras' sigmas / (1 + sigmas)."""
        low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
        ratio = torch.linspace(high, low, steps, dtype=torch.float64) ** 7
        return torch.cat([1 / (1 + ratio), ratio.new_ones(1)])

    paths = [("straight", straight_path, uniform), ("straight, EDM times", straight_path, edm)]
    if problem.name == "cosine":
        paths.append(("cosine", own_path, uniform))
    for name, path, grid in paths:
        methods = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
        for method, each in methods.items():
            yield Contestant("torchdiffeq", f"{method}, {name}", by(path, grid, each, method))
        if grid is edm:
            continue
        for method, order in itertools.product(("explicit_adams", "implicit_adams"), (4, 5, 6, 12)):
            run = by(path, grid, 1, method, options={"max_order": order})
            yield Contestant("torchdiffeq", f"{method} {order}, {name}", run)
        for method in ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"):
            for exponent in range(1, 9):
                tolerance = 10 ** (-exponent / 2 + 0.5)
                run = by(path, lambda steps: uniform(1), 1, method, rtol=tolerance, atol=tolerance)
                yield Contestant("torchdiffeq", f"{method}, tolerance {tolerance:.1g}, {name}", run)


def quiet() -> None:
    """The peers' deprecations and failures to converge are not news here."""
    warnings.simplefilter("ignore")

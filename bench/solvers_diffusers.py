"""The schedulers of diffusers, each with every setting that makes sense, as contestants of `bench/solvers.py`."""

import copy
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import peers
import torch
from contestant import Contestant
from problems import Problem
from torch import Tensor

# diffusers: a scheduler holds schedule, grid and solver ---------------------------------------------------------------

Grid = tuple[str, dict[str, Any]]
Level = Callable[[Any, int, Any], tuple[float, float]]
"""(alpha, sigma) at which a scheduler stands at its step i and timestep t."""


def exploding(scheduler: Any, i: int, t: Any) -> tuple[float, float]:
    """x at alpha = 1."""
    if not getattr(scheduler, "state_in_first_order", True) and hasattr(scheduler, "sigmas_interpol"):
        return 1.0, scheduler.sigmas_interpol[i].item()
    return 1.0, scheduler.sigmas[i].item()


def preserving(scheduler: Any, i: int, t: Any) -> tuple[float, float]:
    """alpha^2 + sigma^2 = 1."""
    sigma = scheduler.sigmas[i].item()
    return 1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)


def tabled(scheduler: Any, i: int, t: Any) -> tuple[float, float]:
    """One of the thousand entries."""
    kept = scheduler.alphas_cumprod[int(t)].item()
    return math.sqrt(kept), math.sqrt(1 - kept)


def straight(scheduler: Any, i: int, t: Any) -> tuple[float, float]:
    """alpha = 1 - sigma."""
    sigma = scheduler.sigmas[i].item()
    return 1 - sigma, sigma


def angled(scheduler: Any, i: int, t: Any) -> tuple[float, float]:
    """IPNDM's own."""
    return scheduler.alphas[i].item(), scheduler.betas[i].item()


def output(kind: str, x0: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """What a network of this kind of prediction would say for x0."""
    if kind == "sample":
        return x0
    if kind == "preconditioned":
        variance = sigma**2 + SPREAD**2
        return (x0 - SPREAD**2 / variance * x) * (math.sqrt(variance) / (sigma * SPREAD))
    noise = (x - alpha * x0) / sigma
    return {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "flow_prediction": noise - x0}[kind]


SPREAD = 0.5
"""sigma_data of the EDM schedulers; with an exact denoiser nothing depends on it."""


def most_steps(scheduler: Any, evaluations: int) -> Any:
    """A copy with its timesteps set, as many as these evaluations allow."""
    for steps in range(evaluations, 0, -1):
        ready = copy.deepcopy(scheduler)
        ready.set_timesteps(steps)
        if len(ready.timesteps) <= evaluations:
            return ready
    return None


def diffusers(problem: Problem) -> list[Contestant]:
    """Every scheduler that is deterministic, or can be made so, on the kind of schedule it is for."""
    library = peers.diffusers()
    library.utils.logging.set_verbosity_error()
    found: list[Contestant] = []

    def add(solver: str, grids: list[Grid], level: Level, kind: str, **options: Any) -> None:
        for grid, spaced in grids:
            said = (f"{key} {value}" for key, value in options.items() if value != "sample" and not callable(value))
            name = ", ".join(part for part in (solver, *said, grid) if part)
            run = by(getattr(library, f"{solver}Scheduler"), {**options, **spaced}, level, kind)
            found.append(Contestant("diffusers", name, run, bidirectional_fraction=False))

    def by(scheduler: Any, settings: dict[str, Any], level: Level, kind: str) -> Run:
        fresh = functools.cache(lambda: scheduler(**settings))

        def run(problem: Problem, evaluations: int) -> Tensor | None:
            ready = most_steps(fresh(), evaluations)
            if ready is None:
                return None
            if hasattr(ready, "set_begin_index"):
                ready.set_begin_index(0)
            x = problem.start(*level(ready, 0, ready.timesteps[0]))
            for i, t in enumerate(ready.timesteps):
                alpha, sigma = level(ready, i, t)
                if hasattr(ready, "scale_model_input"):
                    ready.scale_model_input(x, t)  # its answer is for the network; some schedulers count by it
                x = ready.step(output(kind, problem.clean(x, alpha, sigma), x, alpha, sigma), t, x)[0]
            return x

        return run

    settings = flow_settings if problem.name == "straight" else table_settings
    settings(problem, add)
    return found


def table_settings(problem: Problem, add: Callable[..., None]) -> None:
    """The ring from a table of betas of its own, and EDM's schedulers; the cosine schedule from diffusers' table."""
    if math.isinf(problem.high):
        table: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
        ends: list[Grid] = [("", {})]
    else:
        low, high = problem.ranges[0]
        sigma = torch.logspace(math.log10(low), math.log10(high), 1000, dtype=torch.float64)
        kept = 1 / (1 + sigma**2)
        betas = 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])
        table = {"trained_betas": betas.tolist()}
        ends = [("", {}), ("own ends, ", {"sigma_min": low, "sigma_max": high})]
    spacing = [(name, {**table, "timestep_spacing": name}) for name in ("linspace", "leading", "trailing")]
    spread = [(name, {**table, f"use_{name}_sigmas": True}) for name in ("karras", "exponential", "beta")]
    lu = [("lu lambdas", {**table, "use_lu_lambdas": True})]
    if not math.isinf(problem.high):
        for steps, (low, high) in itertools.product(("karras", "exponential"), problem.ranges):
            edm = {"sigma_min": low, "sigma_max": high, "sigma_data": SPREAD, "sigma_schedule": steps}
            rhos = (5.0, 7.0, 10.0) if steps == "karras" else (7.0,)
            grids = [(f"{steps} {rho:g}, {low:g} to {high:g}", {**edm, "rho": rho}) for rho in rhos]
            add("EDMEuler", grids, exploding, "preconditioned")
            for order, kind in ((2, "midpoint"), (2, "heun"), (3, "midpoint")):
                for final in ("zero", "sigma_min"):
                    options = {"solver_order": order, "solver_type": kind, "final_sigmas_type": final}
                    add("EDMDPMSolverMultistep", grids, exploding, "preconditioned", **options)
    add("EulerDiscrete", spacing, exploding, "epsilon")
    for end, limits in ends:
        add("EulerDiscrete", [(end + name, {**grid, **limits}) for name, grid in spread], exploding, "epsilon")
    add("EulerDiscrete", spacing[:1], exploding, "epsilon", interpolation_type="log_linear")
    for solver in ("HeunDiscrete", "KDPM2Discrete", "LMSDiscrete"):
        add(solver, spacing + spread, exploding, "epsilon")
    add("DDIM", spacing, tabled, "sample", prediction_type="sample", clip_sample=False)
    for kind in ("epsilon", "v_prediction"):
        for skip, one in itertools.product((True, False), repeat=2):
            options = {"prediction_type": kind, "skip_prk_steps": skip, "set_alpha_to_one": one}
            add("PNDM", spacing, tabled, kind, **options)
    if math.isinf(problem.high):
        add("IPNDM", [("", {})], angled, "v_prediction")
    clipped = [("linspace, clipped", {**table, "lambda_min_clipped": -5.1})]
    more = lu + clipped if math.isinf(problem.high) else lu
    multistep_settings(add, preserving, spacing + spread, dpm=more, single=[*spread, ("", table)], unipc=[])


def flow_settings(problem: Problem, add: Callable[..., None]) -> None:
    """Flow matching's two schedulers, and the multistep ones with flow sigmas."""
    shifts = (1.0, 3.0, 0.5)
    for shift in shifts:
        grids = [(f"shift {shift:g}", {"shift": shift})]
        add("FlowMatchHeunDiscrete", grids, straight, "flow_prediction")
        grids += [
            (f"shift {shift:g}, {name}", {"shift": shift, f"use_{name}_sigmas": True})
            for name in ("karras", "exponential", "beta")
        ]
        add("FlowMatchEulerDiscrete", grids, straight, "flow_prediction")
    flow = [(f"shift {shift:g}", {"use_flow_sigmas": True, "flow_shift": shift}) for shift in shifts]
    karras = [("karras", {"use_flow_sigmas": True, "use_karras_sigmas": True})]
    multistep_settings(add, straight, flow, dpm=[], single=flow, unipc=karras)


def multistep_settings(
    add: Callable[..., None], level: Level, grids: list[Grid], dpm: list[Grid], single: list[Grid], unipc: list[Grid]
) -> None:
    """The families that exist for tables and for flows alike, with grids for all and for some."""
    x0 = {"prediction_type": "sample"}
    families = [("dpmsolver++", "zero"), ("dpmsolver++", "sigma_min"), ("dpmsolver", "sigma_min")]
    for (algorithm, final), order, solver, low in itertools.product(
        families, (1, 2, 3), ("midpoint", "heun"), (True, False)
    ):
        if (solver == "heun" and order != 2) or (not low and order < 3) or (order == 1 and final == "sigma_min"):
            continue  # nearly the same samples as another
        options = {**x0, "algorithm_type": algorithm, "solver_order": order, "solver_type": solver}
        options |= {"lower_order_final": low, "final_sigmas_type": final}
        add("DPMSolverMultistep", grids + dpm, level, "sample", **options)
    for (algorithm, final), order in itertools.product(families, (2, 3)):
        options = {**x0, "algorithm_type": algorithm, "solver_order": order}
        options |= {"lower_order_final": True, "final_sigmas_type": final}
        add("DPMSolverSinglestep", single, level, "sample", **options)
    stopping = [grid for grid in grids if not any("_sigmas" in key and key != "use_flow_sigmas" for key in grid[1])]
    for solver, (order, low) in itertools.product(("bh1", "bh2"), ((2, True), (3, True), (3, False))):
        options = {**x0, "solver_type": solver, "solver_order": order, "lower_order_final": low}
        add("UniPCMultistep", grids + unipc, level, "sample", **options)
        options["final_sigmas_type"] = "sigma_min"  # where it differs from the last level
        add("UniPCMultistep", stopping, level, "sample", **options)
        add("UniPCMultistep", stopping, level, "sample", **options, predict_x0=False)
    for order in (1, 2, 3):
        add("DEISMultistep", grids, level, "sample", **x0, solver_order=order)
    for predictor, corrector in itertools.product((1, 2, 3), repeat=2):
        options = {**x0, "tau_func": lambda t: 0, "predictor_order": predictor, "corrector_order": corrector}
        add("SASolver", grids, level, "sample", **options)

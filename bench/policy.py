"""Policies that must commit to one of 24 routes: flow matching, mixtures of Gaussians, behaviour cloning, equal time.

    taskset -c 0 python bench/policy.py --save

A heavy point passes discs in rows of 1, 2 and 3 (`um.data.DiscRows`). Each arm learns 3,000 scripted demonstrations for
--seconds of processor time on one core, with the same width and depth, at the best of three rates (by success on one
other seed). Tasks:

    fixed       one plan of 32 waypoints, then the tracker alone; the discs are the same in every episode
    jittered    the same where the discs of every episode stand elsewhere and the observation says where
    replanned   a new plan every 16 waypoints, the discs fixed; flow also with the first 8 left waypoints held

Control: jittered discs of which the observation is another episode's. Every finished cell is kept in --cells: the same
command goes on from there.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor, nn

import unmelt as um
from unmelt.data.disc_rows import WAYPOINTS, DiscRows, PointState, route_entropy
from unmelt.rng import Stream, seeded

ARMS = ("flow", "behaviour cloning", "mixture of 5", "mixture of 24")
TASKS = ("fixed", "jittered", "replanned")
RATES = (1e-3, 2e-3, 4e-3)
JITTER, EPISODES, ASKED, EVERY, HELD = 0.05, 3000, 2000, 16, 8
NUMBERS = 2 * WAYPOINTS
TRIAL_SEED = 100
FLOW_STEPS = (16, 4, 1)


class Plain(nn.Module):
    """The perceptron of flow without x and time: observation in, numbers out."""

    def __init__(self, width: int, depth: int, out: int) -> None:
        super().__init__()
        self.into = nn.Linear(16, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.out = nn.Linear(width, out)

    def forward(self, seen: Tensor) -> Tensor:
        h = self.into(seen)
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)


class Learner:
    """One arm: a network, its loss, and how plans are made."""

    def __init__(self, arm: str, chunks: um.data.ActionChunks, options: argparse.Namespace, seed: int) -> None:
        self.arm, self.options = arm, options
        self.codec = um.codec.Standardize.of(chunks.actions)
        self.seen = um.codec.Standardize.of(chunks.observations)
        self.components = {"behaviour cloning": 0, "mixture of 5": 5, "mixture of 24": 24}.get(arm, -1)
        width, depth = options.width, options.depth
        with seeded(seed):
            if arm == "flow":
                inner = um.backbone.FrameMLP(frames=WAYPOINTS, shape=(2,), width=width, depth=depth, vector_width=16)
                backbone = um.backbone.StandardizedVector(inner, self.seen.mean, self.seen.sd)
                x0 = um.denoiser.prediction.X0()
                process = um.process.Gaussian(um.schedule.Straight())
                self.network: nn.Module = um.denoiser.NetworkDenoiser(backbone, process, x0, (WAYPOINTS, 2))
                times: Any = um.objective.Stratified(um.objective.Uniform())
                if chunks.stride:
                    times = um.objective.KnownPrefix(times, WAYPOINTS, 0.5)
                self.objective = um.objective.Regression(times=times, weight=um.objective.MinSNR(100.0))
            else:
                count = max(1, self.components)
                self.network = Plain(width, depth, NUMBERS if not self.components else count * (2 * NUMBERS + 1))

    def loss(self, x: Tensor, condition: um.Condition, rng: Stream) -> Tensor:
        z, seen = self.codec.encode(x), condition.vector
        if self.arm == "flow":
            return self.objective(self.network, z, condition, rng).mean()
        assert seen is not None
        out = self.network(self.seen.encode(seen))
        if not self.components:
            return (out - z.flatten(1)).square().mean()
        weight, mean, log_sd = self._mixture(out)
        gap = (z.flatten(1)[:, None] - mean) / log_sd.exp()
        log_p = -(gap.square() / 2 + log_sd + math.log(2 * math.pi) / 2).sum(2)
        return -(weight.log_softmax(1) + log_p).logsumexp(1).mean() / NUMBERS

    def _mixture(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, rest = out[:, : self.components], out[:, self.components :]
        mean, log_sd = rest.view(len(out), self.components, 2, NUMBERS).unbind(2)
        return weight, mean, log_sd.clamp(-5, 2)

    @torch.no_grad()
    def plan(self, seen: Tensor, steps: int, seed: int, held: Tensor | None = None) -> Tensor:
        """Plans [rows, 32, 2] in float64."""
        if self.arm == "flow":
            model = um.Model(
                denoiser=self.network, codec=self.codec, modality=um.modality.Actions(), grid=um.grid.uniform(steps)
            )
            policy = um.Policy(model, steps=steps, seed=seed)
            return policy.plan(seen[:, None], None if held is None else held.float()).double()
        out, rng = self.network(self.seen.encode(seen)), Stream(seed)
        if self.components:
            weight, mean, log_sd = self._mixture(out)
            which = (weight.softmax(1).cumsum(1) < rng.uniform((len(seen), 1))).sum(1).clamp_max(self.components - 1)
            rows = torch.arange(len(seen))
            out = mean[rows, which] + log_sd[rows, which].exp() * rng.normal((len(seen), NUMBERS))
        return self.codec.decode(out.view(-1, WAYPOINTS, 2)).double()


def train(learner: Learner, chunks: um.data.ActionChunks, rate: float, options: argparse.Namespace, seed: int) -> int:
    """Train for --seconds of processor time at a falling rate. The weights end as their average. Returns the steps."""
    network, rng, step = learner.network, Stream(seed), 0
    optimizer = torch.optim.AdamW(network.parameters(), rate, (0.9, 0.99), weight_decay=0.0, fused=True)
    average = um.train.EMA(network.parameters(), 0.998)
    begun = time.process_time()
    while (gone := (time.process_time() - begun) / options.seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * gone)) / 2)
        optimizer.zero_grad()
        learner.loss(*chunks.batch(step, options.batch), rng).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        average.update()
    average.swap()
    return step


Planner = Callable[[Tensor, int, Tensor | None], Tensor]


def play(env: DiscRows, planner: Planner, task: str, hold: int, seed: int) -> dict[str, float]:
    """Success, entropy and number of routes of --asked episodes."""
    state = env.start(ASKED, Stream(seed))
    if task != "replanned":
        state = env.follow(state, planner(env.observation(state), seed, None))
        return judged(env, state)
    left = None
    for number in range(WAYPOINTS // EVERY):
        plan = planner(env.observation(state), seed + number, None if left is None or not hold else left[:, :hold])
        state = env.follow(state, plan[:, :EVERY])
        left = plan[:, EVERY:]
    return judged(env, state)


def judged(env: DiscRows, state: PointState) -> dict[str, float]:
    fine = env.success(state)
    routes = env.route(state)[fine]
    entropy = route_entropy(routes) if len(routes) else 0.0
    return {"success": fine.double().mean().item(), "entropy": entropy, "routes": len(routes.unique())}


def cell(task: str, arm: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm once, and all figures of it."""
    env = DiscRows(jitter=JITTER if task == "jittered" else 0.0)
    stride = 1 if task == "replanned" else 0
    chunks = um.data.ActionChunks(env.demonstrations(EPISODES, seed), WAYPOINTS, 1, stride, seed)
    learner = Learner(arm, chunks, options, seed)
    steps = train(learner, chunks, rate, options, seed)
    found: dict[str, Any] = {"training_steps": steps}

    def planner(network_steps: int, shuffle: bool = False) -> Planner:
        def plan(seen: Tensor, number: int, held: Tensor | None) -> Tensor:
            if shuffle:
                seen = torch.cat([seen[:, :4], seen[:, 4:].roll(1, 0)], 1)
            return learner.plan(seen.float(), network_steps, number, held)

        return plan

    for network_steps in FLOW_STEPS if arm == "flow" else (1,):
        name = f"{arm}, {network_steps} steps" if arm == "flow" else arm
        found[name] = play(env, planner(network_steps), task, 0, 10_000 + seed)
        if task == "replanned" and arm == "flow":
            found[f"{name}, {HELD} held"] = play(env, planner(network_steps), task, HELD, 10_000 + seed)
    if task == "jittered":
        best = FLOW_STEPS[0] if arm == "flow" else 1
        found[f"control: {arm}, discs of others"] = play(env, planner(best, True), task, 0, 10_000 + seed)
    if arm == "flow":
        seen = torch.zeros(1, 16)
        learner.plan(seen, 4, 0)
        begun = time.process_time()
        for number in range(20):
            learner.plan(seen, 4, number)
        found["milliseconds_4_steps"] = 1000 * (time.process_time() - begun) / 20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100.0, help="processor time of every training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--cells", type=Path, default=Path("runs/policy_cells.json"), help="finished cells")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/policy.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    done: dict[str, Any] = json.loads(options.cells.read_text(encoding="utf-8")) if options.cells.exists() else {}

    def of(task: str, arm: str, rate: float, seed: int) -> dict[str, Any]:
        key = f"{task} | {arm} | {rate:g} | {seed} | {options.seconds:g} s | {options.width} x {options.depth}"
        if key not in done:
            done[key] = cell(task, arm, rate, seed, options)
            options.cells.parent.mkdir(parents=True, exist_ok=True)
            options.cells.write_text(json.dumps(done, indent=1), encoding="utf-8")
            if not options.json:
                print(key, json.dumps(done[key]), flush=True)
        return done[key]

    report = timing.Report(
        "policy",
        f"Plans of 32 waypoints past discs, {options.seconds:g} s of one core each, {len(options.seeds)} seeds",
        [
            ("task", "task", ""),
            ("who", "who", ""),
            ("success", "success", ".3f"),
            ("success_error", "±", ".3f"),
            ("entropy", "route entropy", ".3f"),
            ("entropy_error", "±", ".3f"),
            ("routes", "routes", ".1f"),
            ("rate", "rate", "g"),
        ],
    )
    latency = []
    for task in options.tasks:
        env = DiscRows(jitter=JITTER if task == "jittered" else 0.0)
        scripted = Stream(TRIAL_SEED)
        state = env.start(ASKED, scripted)
        ceiling = judged(env, env.follow(state, env.script(state, scripted)))
        report.rows.append({"task": task, "who": "the script", **ceiling})
        for arm in options.arms:
            main_name = f"{arm}, {FLOW_STEPS[0]} steps" if arm == "flow" else arm
            rate = options.rates[0]
            if len(options.rates) > 1:
                tried = {each: of(task, arm, each, TRIAL_SEED)[main_name]["success"] for each in options.rates}
                rate = max(tried, key=tried.__getitem__)
            each = [of(task, arm, rate, seed) for seed in options.seeds]
            latency += [one["milliseconds_4_steps"] for one in each if "milliseconds_4_steps" in one]
            for who in (name for name, value in each[0].items() if isinstance(value, dict)):
                row: dict[str, Any] = {"task": task, "who": who, "rate": rate}
                for figure in ("success", "entropy", "routes"):
                    values = [one[who][figure] for one in each]
                    row[figure] = statistics.mean(values)
                    row[f"{figure}_error"] = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
                report.rows.append(row)
    report.found = {"milliseconds_4_steps": statistics.median(latency) if latency else None}
    report.notes = [
        f"success of {ASKED} fresh episodes; entropy of the routes of those that succeed, as a share of log 24",
        "± is the standard error over seeds; rates are chosen on another seed",
    ]
    if latency:
        report.notes.append(f"a plan of 4 network calls takes {statistics.median(latency):.1f} ms of processor time")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

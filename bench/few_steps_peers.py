"""Latent consistency distillation as diffusers' training example does it, beside ours: same network, teacher and time.

diffusers has no distillation in its library, only a script for Stable Diffusion (examples/consistency_distillation).
Its recipe is written here for any network, with the script's own defaults: 50 DDIM steps of a scaled-linear chain of
1000, the boundary scalings of `LCMScheduler`, the pseudo-Huber loss with c = 0.001, AdamW with weight decay 0.01, a
target network with decay 0.95. Only the learning rate is chosen for it, the best of --lr, and the time: as long as our
student took. Both students begin with the teacher's weights in the same flow map; theirs samples by diffusers' own
`LCMScheduler`, ours by our own sampler.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import few_steps
import peers
import timing
import torch
from torch import Tensor, nn

import unmelt as um
from unmelt.distill.student import flow_map_of
from unmelt.train import update_target
from unmelt.train.loop import has_bfloat16

CHAIN, DDIM_STEPS, SCALING, DATA_SD, HUBER = 1000, 50, 10.0, 0.5, 0.001


class OnChain:
    """A flow map seen from a chain of 1000 timesteps: x on the chain's scale in, x0 out."""

    def __init__(self, flow_map: Any, scheduler: Any) -> None:
        self.flow_map = flow_map
        kept = scheduler.alphas_cumprod.double()
        self.alpha, self.sigma = kept.sqrt(), (1 - kept).sqrt()
        self.t = flow_map.process.schedule.time(torch.log(kept / (1 - kept))).clamp(0, 1)

    def noised(self, x0: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        return self._of(self.alpha, step, x0) * x0 + self._of(self.sigma, step, x0) * noise

    def x0(self, network: Any, x: Tensor, step: Tensor, known: um.Condition | None, jumps: bool = True) -> Tensor:
        """What the network says x0 is, at steps of the chain."""
        t = self.t[step]
        x_t = x / self._of(self.alpha, step, x)  # the process of the digits does not shrink its data
        return (network.jump(x_t, t, torch.zeros_like(t), known) if jumps else network(x_t, t, known)).mean

    def ddim(self, x: Tensor, x0: Tensor, step: Tensor, to: Tensor) -> Tensor:
        noise = (x - self._of(self.alpha, step, x) * x0) / self._of(self.sigma, step, x)
        return self._of(self.alpha, to, x) * x0 + self._of(self.sigma, to, x) * noise

    @staticmethod
    def _of(values: Tensor, step: Tensor, x: Tensor) -> Tensor:
        return values[step].to(x).view(-1, *(1,) * (x.ndim - 1))


def boundary(x: Tensor, x0: Tensor, step: Tensor) -> Tensor:
    """c_skip x + c_out x0, which is x itself at step 0."""
    scaled = (step * SCALING).view(-1, *(1,) * (x.ndim - 1)).to(x)
    size = scaled**2 + DATA_SD**2
    return DATA_SD**2 / size * x + scaled / size.sqrt() * x0


def trained(teacher: um.Model, scheduler: Any, lr: float, minutes: float, seed: int) -> tuple[Any, int]:
    """The student's flow map after so many minutes, and its training steps."""
    assert teacher.source is not None
    assert teacher.training is not None
    student = flow_map_of(teacher.denoiser, None, is_denoiser=False)
    target = copy.deepcopy(student)
    chain, rng = OnChain(student, scheduler), um.rng.Stream(seed)
    optimizer = torch.optim.AdamW(student.parameters(), lr, weight_decay=1e-2)
    start, steps, gap = time.perf_counter(), 0, CHAIN // DDIM_STEPS
    while time.perf_counter() - start < 60 * minutes:
        x, known = teacher.source.batch(steps, teacher.training.batch)
        x0 = teacher.codec.encode(x)
        index = (rng.uniform((len(x0),)) * DDIM_STEPS).long()
        begin = (index + 1) * gap - 1
        end = (begin - gap).clamp_min(0)
        x_begin = chain.noised(x0, rng.normal(x0.shape), begin)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu"))):
            made = boundary(x_begin, chain.x0(student, x_begin, begin, known), begin)
            with torch.no_grad():
                x_end = chain.ddim(x_begin, chain.x0(teacher.denoiser, x_begin, begin, known, jumps=False), begin, end)
                wanted = boundary(x_end, chain.x0(target, x_end, end, known), end)
        loss = (torch.sqrt((made.float() - wanted.float()) ** 2 + HUBER**2) - HUBER).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        update_target(target, student, 0.95)
        steps += 1
    return target.eval(), steps


@torch.no_grad()
def scores(teacher: um.Model, student: Any, scheduler: Any, evaluations: int, samples: int) -> dict[str, float]:
    """Scores of samples that `LCMScheduler` makes, judged as `Model.evaluate` judges."""
    real, held_out = (um.metric.collect_samples(each) for each in (teacher.source, teacher.held_out))  # type: ignore[arg-type]
    label = um.model.timed_samples.labels_in_proportion(real.labels, samples)
    chain, generator, parts = OnChain(student, scheduler), torch.Generator().manual_seed(1), []
    for rows in label.split(512):
        scheduler.set_timesteps(evaluations, original_inference_steps=DDIM_STEPS)
        x = torch.randn(len(rows), *teacher.denoiser.shape, generator=generator)
        for step in scheduler.timesteps:
            x0 = chain.x0(student, x, torch.full((len(rows),), int(step)), um.Condition(label=rows))
            out = scheduler.step(x0, step, x, generator=generator)
            x = out.prev_sample
        parts.append(teacher.decode(out.denoised))
    found = teacher.modality.score(um.metric.SampleSet(torch.cat(parts), label), real, held_out)
    return {name: found[name] for name in few_steps.SCORES if name in found}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--method", default="mean-flow", choices=few_steps.METHODS, help="ours (mean-flow)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--lr", type=float, nargs="+", default=[1e-5, 1e-4, 1e-3], help="rates for theirs; the best counts"
    )
    parser.add_argument("--training-steps", type=int, help="of ours, in place of the method's own")
    parser.add_argument("--samples", type=int, default=10_000, help="for each score (10,000)")
    parser.add_argument("--teachers", type=Path, default=Path("runs/few_steps"), help="where teachers are, or are put")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/few_steps_peers.*")
    return parser.parse_args()


def main() -> None:
    options, start = arguments(), time.perf_counter()
    torch.set_num_threads(1)
    scheduler = peers.diffusers().LCMScheduler(prediction_type="sample", clip_sample=False)
    make, one_for_all = few_steps.METHODS[options.method]
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        teacher = few_steps.teacher_of("digits", options.teachers, seed)
        unit = few_steps.scored(teacher, few_steps.TEACHER_EVALUATIONS, options.samples)["frechet"]

        def add(who: str, n: int, minutes: float, found: dict[str, Any], seed: int = seed, unit: float = unit) -> None:
            rows.append({"who": who, "evaluations": n, "seed": seed, "minutes": minutes, **found})
            rows[-1]["ratio"] = found["frechet"] / unit
            print(rows[-1], flush=True)

        minutes = 0.0
        for steps in (1,) if one_for_all else few_steps.EVALUATIONS:
            own = few_steps.Student(teacher, make(), steps, seed, options.training_steps)
            for n in few_steps.EVALUATIONS if one_for_all else (steps,):
                add("ours", n, own.minutes, own.scores(n, options.samples))
            minutes = max(minutes, own.minutes)
        for lr in options.lr:
            theirs, _ = trained(teacher, scheduler, lr, minutes, seed)
            for n in few_steps.EVALUATIONS:
                add(f"LCM, lr {lr:g}", n, minutes, scores(teacher, theirs, scheduler, n, options.samples))
    report = timing.Report(
        "few_steps_peers",
        f"{options.method} beside the LCM recipe of diffusers, equal training time, {len(options.seeds)} seeds",
        [
            ("who", "who", ""),
            ("evaluations", "evaluations", "d"),
            ("ratio", "Fréchet / teacher's", ".3f"),
            ("ratio_error", "±", ".3f"),
            ("classifier_accuracy", "accuracy", ".4f"),
            ("minutes", "minutes", ".1f"),
        ],
    )
    for who, n in dict.fromkeys((row["who"], row["evaluations"]) for row in rows):
        mine = [row for row in rows if (row["who"], row["evaluations"]) == (who, n)]
        ratio, error = few_steps.mean([row["ratio"] for row in mine])
        rest = {name: statistics.mean(row[name] for row in mine) for name in ("classifier_accuracy", "minutes")}
        report.rows.append({"who": who, "evaluations": n, "ratio": ratio, "ratio_error": error, **rest})
    for n in few_steps.EVALUATIONS:
        best = {
            own: min(row["ratio"] for row in report.rows if row["evaluations"] == n and (row["who"] == "ours") == own)
            for own in (True, False)
        }
        report.found[f"ours_over_theirs_at_{n}"] = best[True] / best[False]
        report.notes.append(
            f"at {n}: ours {best[True]:.3f}, the best of theirs {best[False]:.3f} of the teacher's distance"
        )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

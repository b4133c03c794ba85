"""Time to quality: how long until digits are good, by our recipe and by diffusers' unconditional-training recipe.

Good is a judge's accuracy of 0.98 and a Fréchet distance to the held-out digits no larger than that of the real
training images plus 2 %, over 20,132 samples. Time is processor time of the training steps alone, one thread each, so
that several runs at a time change it little.

    unmelt      `recipe.digits`, as `make demo` trains it, to its end; in bfloat16 where the processor multiplies it
    diffusers   what its training example does, told of classes: UNet2DModel of our network's number of weights, DDPM's
                1000 linear steps, the loss on the noise, AdamW (.95, .999), weight decay 1e-6, a cosine after 500 steps
                of warm-up, EMAModel, batches of 96, float32. Sampled by DPM-Solver++(2M) in 20 steps, from averaged
                weights. Each of four learning rates is given about five times our time, so many steps as that is by a
                pace taken before; the best of them, further seeds

    python bench/quality.py --jobs 2             all of it: an hour of one core
    python bench/quality.py --seeds 1 --rates 1e-3
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import Any

import peers
import timing
import torch
import torch.nn.functional as F
from torch import Tensor

import unmelt as um

RATES = (3e-4, 1e-3, 2e-3, 4e-3)
TIMES, ACCURACY, NEAR = 5, 0.98, 1.02
MARGIN = 1.1  # a pace is known only roughly, and nobody is to have less than TIMES
STEPS, CHUNK = 20, 512


def ours(seed: int) -> dict[str, Any]:
    model = um.recipe.digits(seed=seed)
    start = time.process_time()
    model.fit(device="cpu", quiet=True)
    seconds = time.process_time() - start
    scores = model.evaluate()
    return {
        "library": "unmelt",
        "seed": seed,
        "lr": model.training.lr,
        "steps": model.steps_done,
        **looked(seconds, scores),
    }


def looked(seconds: float, scores: dict[str, Any]) -> dict[str, Any]:
    ratio = scores["frechet"] / scores["frechet_floor"]
    good = scores["classifier_accuracy"] >= ACCURACY and ratio <= NEAR
    return {"seconds": seconds, "accuracy": scores["classifier_accuracy"], "frechet": ratio, "good": good}


def theirs(seed: int, lr: float, allowed: float) -> dict[str, Any]:
    """What it is worth after the time allowed."""
    library, helpers, accelerate = peers.diffusers_training()
    recipe = um.recipe.digits(seed=seed)
    x, labels = recipe.source.all()
    torch.manual_seed(seed)
    network = library.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=10,
    )
    weights = sum(each.numel() for each in network.parameters())
    accelerator = accelerate.Accelerator(cpu=True)
    scheduler = library.DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(network.parameters(), lr, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    pace = _pace(network, x, labels)
    steps = max(1, int(allowed / pace))
    rate = library.optimization.get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=steps)
    ema = helpers.EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    network, optimizer, rate = accelerator.prepare(network, optimizer, rate)
    start = time.process_time()
    for _ in range(steps):
        items = torch.randint(0, len(x), (96,))
        clean, label = 2 * x[items] - 1, labels[items]
        noise, timesteps = torch.randn_like(clean), torch.randint(0, 1000, (len(clean),))
        output = network(scheduler.add_noise(clean, noise, timesteps), timesteps, class_labels=label).sample
        accelerator.backward(F.mse_loss(output, noise))
        accelerator.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        ema.step(network.parameters())
    spent = time.process_time() - start
    ema.copy_to(network.parameters())
    row = {"library": "diffusers", "seed": seed, "lr": lr, "weights": weights, "steps": steps}
    return row | looked(spent, _scores(library, network, recipe))


def _pace(network: Any, x: Tensor, labels: Tensor) -> float:
    """Seconds a step, roughly: of the network's part, past the first few, and a tenth for the rest."""
    for step in range(45):
        if step == 5:
            start = time.process_time()
        network(x[:96], torch.zeros(96), class_labels=labels[:96]).sample.square().mean().backward()
    network.zero_grad()
    return 1.1 * (time.process_time() - start) / 40


@torch.no_grad()
def _scores(library: Any, network: Any, recipe: um.Model) -> dict[str, Any]:
    real, held_out = um.metric.collect_samples(recipe.source), um.metric.collect_samples(recipe.held_out)
    labels = real.labels.repeat(math.ceil(20_000 / len(real.x)))
    rng, parts = um.rng.Stream(7), []
    network.eval()
    for first in range(0, len(labels), CHUNK):
        label = labels[first : first + CHUNK]
        solver = library.DPMSolverMultistepScheduler(num_train_timesteps=1000)
        solver.set_timesteps(STEPS)
        image = rng.normal((len(label), 1, 8, 8))
        for t in solver.timesteps:
            image = solver.step(network(image, t, class_labels=label).sample, t, image).prev_sample
        parts.append(((image + 1) / 2).clamp(0, 1))
    network.train()
    return um.modality.Images().score(um.metric.SampleSet(torch.cat(parts), labels), real, held_out)


def report_of(rows: Sequence[dict[str, Any]]) -> timing.Report:
    """The table, and what it says."""
    report = timing.Report(
        "quality",
        "Time to quality on digits: accuracy 0.98, Fréchet distance within 2 % of real training images'",
        [
            ("library", "library", ""),
            ("seed", "seed", "d"),
            ("lr", "learning rate", "g"),
            ("seconds", "processor seconds", ".0f"),
            ("steps", "steps", ",d"),
            ("accuracy", "judge accuracy", ".4f"),
            ("frechet", "Fréchet / floor", ".3f"),
            ("good", "good", ""),
        ],
        rows=list(rows),
    )
    mine, others = ([row for row in rows if row["library"] == library] for library in ("unmelt", "diffusers"))
    ours = sum(row["seconds"] for row in mine) / len(mine)
    best = min(others, key=lambda row: row["frechet"])["lr"]
    at_best = [row["seconds"] for row in others if row["lr"] == best]
    good = [row["seconds"] for row in others if row["good"]]
    report.found = {"our seconds": ours, "all of ours good": all(row["good"] for row in mine)}
    report.found |= {"theirs at best": min(good, default=None), "best rate": best}
    said = f"{min(good):.0f}" if good else f"not reached in {min(at_best):.0f} to {max(at_best):.0f}"
    report.notes.append(f"processor seconds to quality: {ours:.0f} by unmelt, {said} by diffusers at lr={best:g}")
    report.notes.append(f"{sum(row['good'] for row in mine)} of {len(mine)} seeds of unmelt are good")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    rates = [float(each) for each in options.rates.split(",")]
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        mine = list(pool.map(ours, range(options.seeds)))
        allowed = MARGIN * TIMES * sum(row["seconds"] for row in mine) / len(mine)
        rows = mine
        print(*mine, sep="\n", file=sys.stderr)
        tried = list(pool.map(theirs, repeat(0), rates, repeat(allowed)))
        best = min(tried, key=lambda row: row["frechet"])["lr"]
        rows = mine + tried
        print(*tried, sep="\n", file=sys.stderr)
        rows += pool.map(theirs, range(1, options.seeds), repeat(best), repeat(allowed))
    report = report_of(rows)
    timing.publish(report, options, time.perf_counter() - begun)


if __name__ == "__main__":
    main()

"""A model learns a new class from 20 pictures, and what it then still knows.

    python bench/new_class.py --save

The model is the one of digits that comes with unmelt. The new class are crosses, drawn with strokes of random place,
turn and width. An adapter (LoRA of two ranks, DoRA) or all weights learn for --steps, at the better of two rates by the
distance to 200 other drawings. Samples are judged by a support vector machine that knows the ten digits and 200 further
drawings. Controls: the model before it learned, and the same training on 20 pictures of shuffled pixels.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import timing
import torch
import torch.nn.functional as F
from torch import Tensor

import unmelt as um
from unmelt.metric import Pixels, frechet_distance
from unmelt.metric.classifier import Classifier
from unmelt.metric.sample_set import collect_samples

SEEN, JUDGED, ASKED, FINE = 20, 200, 500, 64
RATES = {"weights": (3e-4, 1e-3), "adapter": (3e-3, 1e-2)}
NAME = "cross"


def crosses(count: int, seed: int) -> Tensor:
    """[count, 1, 8, 8] drawings of two strokes that cross, white on black."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda low, high: low + (high - low) * torch.rand(count, 1, 1, generator=rng)  # noqa: E731
    angle, width = draw(-0.35, 0.35), draw(0.09, 0.15)
    across, down, length = draw(0.42, 0.58), draw(0.42, 0.58), draw(0.3, 0.42)
    place = (torch.arange(FINE) + 0.5) / FINE
    x, y = place[None, None, :] - across, place[None, :, None] - down
    along, beside = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    strokes = [(a.abs() < length) & (b.abs() < width / 2) for a, b in ((along, beside), (beside, along))]
    ink = (strokes[0] | strokes[1]).float()[:, None]
    return F.avg_pool2d(ink, FINE // 8) * draw(0.8, 1.0)[..., None]


def shuffled(x: Tensor, seed: int) -> Tensor:
    """Pictures whose pixels are in another order, each in its own."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(64, generator=rng) for _ in x])
    return x.flatten(1).gather(1, order).view_as(x)


def learned(way: str, rate: float, x: Tensor, options: argparse.Namespace, seed: int) -> tuple[um.Model, float]:
    """The model after it learned the pictures, and the seconds that it took."""
    model = um.load("digits", device="cpu")
    model.source = um.data.Arrays(x.repeat(5, 1, 1, 1), seed=seed)
    settings = {"steps": options.steps, "batch": options.batch, "lr": rate, "ema": 0.98, "seed": seed}
    assert model.training is not None
    model.training = dataclasses.replace(model.training, optimizer=um.train.AdamW(), **settings)
    if way == "all weights":
        began = time.perf_counter()
        model.fit(device="cpu", quiet=True)
        return model, time.perf_counter() - began
    kind, rank = way.split(", rank ")
    model.add_adapter(NAME, um.adapter.LoRA(rank=int(rank), alpha=float(rank), decompose=kind == "DoRA"), seed=seed)
    began = time.perf_counter()
    model.fit(device="cpu", quiet=True, adapter=NAME)
    return model, time.perf_counter() - began


def scores(model: um.Model, judge: Classifier, real: Tensor, seed: int) -> dict[str, float]:
    """Of samples without a class, how many are crosses; of digits, how many are right, the adapter on and off."""
    pixels = Pixels()
    adapter = NAME if model.adapters else None
    made = model.sample(ASKED, adapter=adapter, seed=seed)
    label = torch.arange(ASKED) % 10
    digits = model.sample(ASKED, label=label, adapter=adapter, seed=seed)
    model.active_adapter = None
    without = model.sample(ASKED, label=label, seed=seed)
    return {
        "crosses": (judge.labels(made) == 10).double().mean().item(),
        "frechet": frechet_distance(pixels(made), pixels(real)),
        "digits": (judge.labels(digits) == label).double().mean().item(),
        "digits_off": (judge.labels(without) == label).double().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/new_class.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    known, found = (collect_samples(um.data.digits(held_out=part)) for part in (False, True))
    x = torch.cat([known.x, crosses(JUDGED, 1000)])
    judge = Classifier.fit(x, torch.cat([known.labels, torch.full((JUDGED,), 10)]))
    fresh, choice = crosses(2000, 2000), crosses(JUDGED, 3000)
    pixels = Pixels()
    floor = frechet_distance(pixels(crosses(ASKED, 4000)), pixels(fresh))
    report = timing.Report(
        "new_class",
        f"The digits' model learns crosses from {SEEN} pictures, {len(options.seeds)} seeds",
        [
            ("who", "who", ""),
            ("crosses", "crosses", ".3f"),
            ("crosses_error", "±", ".3f"),
            ("frechet", "Fréchet", ".3f"),
            ("frechet_error", "±", ".3f"),
            ("digits", "digits, it on", ".3f"),
            ("digits_error", "±", ".3f"),
            ("digits_off", "digits, it off", ".3f"),
            ("seconds", "seconds", ".0f"),
        ],
    )

    def row(who: str, each: list[dict[str, Any]]) -> None:
        means = {name: statistics.mean(one[name] for one in each) for name in each[0]}
        count = len(each) ** 0.5
        errors = {f"{name}_error": statistics.stdev(one[name] for one in each) / count for name in each[0]}
        report.rows.append({"who": who, **means, **errors})
        print(report.rows[-1], flush=True)

    row("before", [scores(um.load("digits", device="cpu"), judge, fresh, seed) for seed in options.seeds])
    for way in ("LoRA, rank 2", "LoRA, rank 8", "DoRA, rank 8", "all weights"):
        rates = RATES["weights" if way == "all weights" else "adapter"]
        tried = {}
        for rate in rates:
            model, _ = learned(way, rate, crosses(SEEN, 0), options, 0)
            tried[rate] = scores(model, judge, choice, 9)["frechet"]
        rate = min(tried, key=tried.__getitem__)
        each = []
        for seed in options.seeds:
            model, seconds = learned(way, rate, crosses(SEEN, seed), options, seed)
            each.append({**scores(model, judge, fresh, seed), "seconds": seconds})
        row(f"{way} (rate {rate:g})", each)
        if way == "LoRA, rank 8":
            each = []
            for seed in options.seeds:
                model, seconds = learned(way, rate, shuffled(crosses(SEEN, seed), seed), options, seed)
                each.append({**scores(model, judge, fresh, seed), "seconds": seconds})
            row("control: shuffled pixels", each)
    right = (judge.labels(found.x) == found.labels).double().mean().item()
    judged = (judge.labels(fresh) == 10).double().mean().item()
    report.found = {"floor": floor, "judge_digits": right, "judge_crosses": judged}
    report.notes = [
        f"the judge is right for {right:.3f} of held-out digits and {judged:.3f} of fresh drawings",
        f"Fréchet distance of {ASKED} fresh drawings to 2,000 others: {floor:.3f}",
        "± is the standard error over seeds; rates are chosen by 200 other drawings",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

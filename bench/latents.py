"""Diffusion on latents beside diffusion on pixels, on the same images: training and sampling to equal quality.

    python bench/latents.py --folder emoji --codec runs/ae --plain-codec runs/ae-plain --save

    pixels          `um.recipe.images`, a U-Net
    latents         `um.recipe.latents`, on the latents of --codec, whose training has the equivariance term
    plain latents   the same on the latents of --plain-codec, an autoencoder trained as long without that term

Each learns at a constant rate with averaged weights for --minutes of processor time, and is judged on the way, every
--every minutes: Fréchet distance of --samples samples to held-out images, over averages and over crops at full
resolution. "To equal" is the time, or the steps, in which an arm first has the distance that the arm before it ends
with. The training of an autoencoder is not counted: it is done once, for every model on its latents. What has been
measured is kept in --work, an arm at a time.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import timing
import torch
from few_steps import Measured

import unmelt as um
from unmelt.train import ObjectiveStep, Trainer

SCORES = ("frechet", "frechet_detail")


def arm_named(name: str, options: argparse.Namespace) -> um.Model:
    """The untrained model of an arm."""
    common: dict[str, Any] = {
        "folder": options.folder,
        "size": options.size,
        "held_out": 0.2,
        "batch": options.batch,
        "seed": options.seed,
    }
    if name == "pixels":
        model = um.recipe.images(**common, width=options.width, blocks=1, lr=options.pixel_lr)
    else:
        codec = options.plain_codec if name == "plain latents" else options.codec
        model = um.recipe.latents(**common, codec=codec, width=192, depth=6, heads=4, patch=1, lr=options.lr)
    assert isinstance(model, um.Model)
    return model


def curve(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Scores of an arm on the way, by processor minutes and steps; and what sampling takes."""
    model = arm_named(name, options)
    assert model.training is not None
    assert model.objective is not None
    schedule = um.train.lr_schedule.InverseRoot(warmup=100)
    training = dataclasses.replace(model.training, steps=10**9, save_every=10, picture_every=0, lr_schedule=schedule)
    source, held_out, codec = model.training_data(torch.device("cpu"))
    trainer = Trainer(ObjectiveStep(model.denoiser, model.objective), source, codec, training, held_out=held_out)
    marks: list[dict[str, float]] = []
    spent, began = 0.0, time.process_time()
    events = trainer.run()
    for event in events:
        if event.kind != "save":
            continue
        minutes = (spent + time.process_time() - began) / 60
        if minutes < options.every * (len(marks) + 1):
            continue
        spent = 60 * minutes
        found = model.evaluate(samples=options.samples, steps=options.steps, seed=1)
        marks.append({"minutes": minutes, "steps": event.step, **{each: found[each] for each in SCORES}})
        print(name, marks[-1], flush=True)
        if minutes >= options.minutes:
            break
        began = time.process_time()
    events.close()
    model.sample(16, steps=options.steps, seed=0)
    began = time.process_time()
    model.sample(64, steps=options.steps, seed=0)
    parameters = sum(each.numel() for each in model.denoiser.parameters())
    return {"marks": marks, "per_second": 64 / (time.process_time() - began), "parameters": parameters}


def first_at(marks: list[dict[str, float]], score: str, target: float) -> dict[str, float] | None:
    """The first mark at which a distance is as small as the target."""
    return next((mark for mark in marks if mark[score] <= target), None)


def row(name: str, found: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """A line of the table."""
    last = found["marks"][-1]
    line = {"who": name, "parameters": found["parameters"], "per_second": found["per_second"], **last}
    if before is not None:
        target = before["marks"][-1]
        equal = first_at(found["marks"], "frechet", target["frechet"])
        if equal is not None:
            line |= {"faster": target["minutes"] / equal["minutes"], "fewer": target["steps"] / equal["steps"]}
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="images")
    parser.add_argument("--codec", required=True, help="run of an autoencoder")
    parser.add_argument("--plain-codec", help="run of one that was trained without the equivariance term")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of each arm")
    parser.add_argument("--every", type=float, default=2.0, help="minutes between scores")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=32, help="of the U-Net of pixels")
    parser.add_argument("--lr", type=float, default=2e-3, help="of latents")
    parser.add_argument("--pixel-lr", type=float, default=2e-3, help="of pixels")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20, help="network calls for an image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/latents.jsonl"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/latents.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    options.work.parent.mkdir(parents=True, exist_ok=True)
    measured, rows, before = Measured(options.work), [], None
    for name in ("pixels", *(("plain latents",) if options.plain_codec else ()), "latents"):
        settings = (options.size, options.batch, options.width, options.lr, options.pixel_lr)
        key = f"{name} {settings} {options.minutes} {options.samples} {options.steps} {options.seed}"
        found = measured(key, lambda name=name: curve(name, options))
        rows.append(row(name, found, before))
        before = found
    columns = [("who", "who", ""), ("parameters", "parameters", ",d"), ("minutes", "minutes", ".1f")]
    columns += [("steps", "steps", ",d"), ("frechet", "Fréchet", ".3f"), ("frechet_detail", "over crops", ".3f")]
    columns += [("per_second", "images a second", ".2f")]
    columns += [("faster", "time of the one before / time to equal it", ".1f"), ("fewer", "the same in steps", ".1f")]
    report = timing.Report("latents", f"Latents and pixels, images of {options.size} pixels, one core", columns, rows)
    report.notes.append(f"{options.samples:,} samples of {options.steps} calls a score; one seed")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

"""Students of every method beside their teacher and its tuned sampler, at 1, 2 and 4 network evaluations.

For each seed a teacher is trained, or loaded from --teachers; every method then trains a student of it, with the
method's own settings. A method whose student samples at any number of steps trains one student, the others one for each
number. With --training-steps all methods train for so many steps, which compares them at one short budget. The
teacher's distance at 32 evaluations is the unit. Every figure is a mean over seeds with its standard
error; all scores have the same number of samples from the same seeds. What has been measured is kept in --work, so that
a run that was stopped goes on.
"""

import argparse
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emoji
import timing
import torch

import unmelt as um
from unmelt.distill import Distillation

EVALUATIONS = (1, 2, 4)
TEACHER_EVALUATIONS = 32
SCORES = ("frechet", "frechet_detail", "classifier_accuracy", "nearest_train")
RATIOS = {"ratio": "frechet", "detail_ratio": "frechet_detail"}
"""Distances that are also given in units of the teacher's. That of detail is there where images have over 8 pixels."""

METHODS: dict[str, tuple[Callable[[], Distillation], bool]] = {
    "progressive": (lambda: um.distill.Progressive(), False),
    "consistency": (lambda: um.distill.Consistency(), True),
    "continuous-consistency": (lambda: um.distill.ContinuousConsistency(), True),
    "mean-flow": (lambda: um.distill.MeanFlow(), True),
    "shortcut": (lambda: um.distill.Shortcut(), True),
    "reflow": (lambda: um.distill.Reflow(), True),
    "drifting": (lambda: um.distill.Drifting(), False),
    "distribution-matching": (lambda: um.distill.DistributionMatching(), False),
    "adversarial": (lambda: um.distill.Adversarial(), False),
}
"""By name: the method, and whether one student serves for every number of evaluations."""


class Measured:
    """Scores by what was measured, in a file of one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def __call__(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in self.rows:
            row = {"key": key, **measure()}
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[key] = row
        return self.rows[key]


def scored(model: um.Model, evaluations: int, samples: int) -> dict[str, float]:
    """The scores that the table shows."""
    found = model.evaluate(samples=samples, steps=evaluations, seed=1)
    return {name: found[name] for name in SCORES if name in found}


def teacher_of(data: str, folder: Path, seed: int) -> um.Model:
    """The teacher of a seed, trained if it is not there."""
    place = folder / f"{data}{seed}"
    made = um.recipe.digits(seed=seed) if data == "digits" else emoji.teacher(folder / "emoji_images", seed)
    assert made.training is not None
    if not (place / "config.json").exists() or um.load(place).steps_done < made.training.steps:
        made.fit(place)
    model = um.recipe.with_data(place)
    assert isinstance(model, um.Model)
    return model


class Student:
    """A student that is trained when it is first needed, and how long that took."""

    def __init__(
        self, teacher: um.Model, method: Distillation, steps: int, seed: int, training_steps: int | None = None
    ) -> None:
        self.teacher, self.method, self.steps, self.seed = teacher, method, steps, seed
        self.training_steps = training_steps
        self.model: um.Model | None = None
        self.minutes = 0.0

    def scores(self, evaluations: int, samples: int) -> dict[str, float]:
        if self.model is None:
            start = time.perf_counter()
            self.model = self.teacher.distill(
                self.method,
                steps=self.steps,
                seed=self.seed,
                training_steps=self.training_steps,
                quiet=True,
                device="cpu",
            )
            self.minutes = (time.perf_counter() - start) / 60
        return {**scored(self.model, evaluations, samples), "minutes": self.minutes}


def tuned_scores(teacher: um.Model, evaluations: int, samples: int) -> dict[str, float]:
    """Scores of the teacher with a sampler that is tuned now, and not kept in the teacher's run."""
    start = time.perf_counter()
    teacher.folder = None
    teacher.tune(evaluations, quiet=True)
    minutes = (time.perf_counter() - start) / 60
    return {**scored(teacher, evaluations, samples), "minutes": minutes}


def measure_seed(options: argparse.Namespace, measured: Measured, seed: int) -> list[dict[str, Any]]:
    """All cells of the table for one teacher: who, evaluations, seed, scores, minutes."""
    teacher, rows = teacher_of(options.data, options.teachers, seed), []
    samples, key = options.samples, f"{options.data} {options.samples} {seed}"

    def add(who: str, evaluations: int, about: str, measure: Callable[..., dict[str, Any]], *given: Any) -> None:
        found = measured(f"{key} {about} {evaluations}", lambda: measure(*given, evaluations, samples))
        rows.append({"who": who, "evaluations": evaluations, "seed": seed, **found})
        print(f"seed {seed}  {who}  {evaluations}: {found}", flush=True)

    add("teacher", TEACHER_EVALUATIONS, "teacher", scored, teacher)
    for n in EVALUATIONS:
        add("teacher, default sampler", n, "teacher, default", scored, teacher)
    for n in EVALUATIONS[1:]:  # of one step there is nothing to tune
        add("teacher, tuned sampler", n, "tuned", tuned_scores, teacher)
    for name in options.methods:
        make, one_for_all = METHODS[name]
        method = make() if options.lr is None else dataclasses.replace(make(), lr=options.lr)
        for steps in (1,) if one_for_all else EVALUATIONS:
            student = Student(teacher, method, steps, seed, options.training_steps)
            budget = "" if options.training_steps is None else f" {options.training_steps} training steps"
            for n in EVALUATIONS if one_for_all else (steps,):
                add(name, n, f"{method!r}{budget}", student.scores)
    return rows


def mean(values: list[float]) -> tuple[float, float | None]:
    """The mean over seeds, and its standard error; None of one seed."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.mean(values), error


def stated(value: float, error: float | None) -> str:
    """A number with its error, where it has one."""
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds; Fréchet distances also in units of the teacher's of the same seed."""
    unit = {row["seed"]: row for row in rows if row["who"] == "teacher"}
    found = []
    for who, n in dict.fromkeys((row["who"], row["evaluations"]) for row in rows):
        mine = [row for row in rows if (row["who"], row["evaluations"]) == (who, n)]
        line: dict[str, Any] = {"who": who, "evaluations": n, "seeds": len(mine)}
        columns = {name: [row[name] for row in mine if row.get(name) is not None] for name in (*SCORES, "minutes")}
        for ratio, of in RATIOS.items():
            columns[ratio] = [row[of] / unit[row["seed"]][of] for row in mine if row.get(of) is not None]
        for name, values in columns.items():
            if values:
                line[name], line[f"{name}_error"] = mean(values)
        found.append(line)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", default="digits", choices=("digits", "emoji"), help="what the teacher knows (digits)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--training-steps", type=int, help="of every student, in place of its method's own")
    parser.add_argument("--lr", type=float, help="peak learning rate of every student, in place of its method's own")
    parser.add_argument("--samples", type=int, default=10_000, help="for each score (10,000)")
    parser.add_argument("--teachers", type=Path, default=Path("runs/few_steps"), help="where teachers are, or are put")
    parser.add_argument("--work", type=Path, default=Path("runs/few_steps/measured.jsonl"), help="what was measured")
    parser.add_argument("--name", help="name of the report (few_steps_DATA)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/NAME.*")
    return parser.parse_args()


def main() -> None:
    options, start = arguments(), time.perf_counter()
    torch.set_num_threads(1)
    options.work.parent.mkdir(parents=True, exist_ok=True)
    measured = Measured(options.work)
    rows = [row for seed in options.seeds for row in measure_seed(options, measured, seed)]
    report = timing.Report(
        options.name or f"few_steps_{options.data}",
        f"Few steps: students of {options.data} beside their teacher, seeds {', '.join(map(str, options.seeds))}",
        [
            ("who", "who", ""),
            ("evaluations", "evaluations", "d"),
            ("seeds", "seeds", "d"),
            ("ratio", "Fréchet / teacher's", ".3f"),
            ("ratio_error", "±", ".3f"),
            ("frechet", "Fréchet", ".4f"),
            ("frechet_error", "±", ".4f"),
            ("detail_ratio", "detail / teacher's", ".3f"),
            ("detail_ratio_error", "±", ".3f"),
            ("classifier_accuracy", "accuracy", ".4f"),
            ("nearest_train", "nearest", ".3f"),
            ("minutes", "minutes", ".1f"),
        ],
    )
    report.rows = table(rows)
    report.columns = [
        each for each in report.columns if any(each[0].removesuffix("_error") in row for row in report.rows)
    ]
    for n in EVALUATIONS:
        students = [row for row in report.rows if row["evaluations"] == n and row["who"] in METHODS]
        if students:
            best = min(students, key=lambda row: row["ratio"])
            report.found[f"best_at_{n}"] = {name: best[name] for name in ("who", "ratio", "ratio_error")}
            report.notes.append(
                f"best at {n}: {best['who']}, {stated(best['ratio'], best['ratio_error'])} of the teacher's distance"
            )
    report.notes.append(
        f"{options.samples:,} samples a score; ± is the standard error over seeds; minutes are of training"
    )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

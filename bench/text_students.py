"""Students of a masked text model beside their teacher, at few passes and at many.

    unmelt train code --block 0 --length 64 --batch 24 --steps 2400 --out runs/code64
    unmelt train code_ar --length 64 --batch 24 --steps 1200 --out runs/code64_ar
    unmelt distill runs/code64 --method autoregressive-head --steps 8 --training-steps 3600 --out runs/code64_head
    python bench/text_students.py --teacher runs/code64 --judge runs/code64_ar --save \
        --students "autoregressive head"=runs/code64_head

What is written from nothing is judged in three ways, none of which says much without the others: nats a token by
another, autoregressive model (repetition lowers them); the entropy of each row's own unigrams; and the energy distance
to held-out text of the frequencies of runs of three characters in a row (the most common of the training text). The
teacher's own bound stands beside the judge. Every figure is a mean over seeds with its standard error. Rows that were
written are kept in --work, so that a run that was stopped goes on.
"""

import argparse
import math
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import timing
import torch
from torch import Tensor

from unmelt.compare.quality import _entropy
from unmelt.compare.speed import count_passes
from unmelt.metric import energy_distance
from unmelt.model import TextModel
from unmelt.recipe import with_data
from unmelt.sampler import Ancestral

TRIGRAMS = 1000
"""Runs of three characters whose frequencies are compared."""

REAL = 1000
"""Rows of held-out text that samples are compared with."""

DRAWS = 4
"""Draws of masks of the teacher's bound, for each row."""

UNIT = 100
"""Energy distances are shown times this."""

FIGURES = ("judge", "bound", "entropy", "energy")
COLUMNS = [
    ("library", "written by", ""),
    ("passes", "passes", "d"),
    ("judge", "judge, nats a token", ".3f"),
    ("judge_error", "±", ".3f"),
    ("bound", "teacher's bound, nats a token", ".3f"),
    ("bound_error", "±", ".3f"),
    ("entropy", "own entropy", ".3f"),
    ("entropy_error", "±", ".3f"),
    ("energy", f"energy distance of trigrams, times {UNIT}", ".3f"),
    ("energy_error", "±", ".3f"),
    ("one", "seconds, 1 row", ".2f"),
    ("many", "seconds, 16 rows", ".2f"),
    ("training", "minutes of training", ".0f"),
]


class Kind(NamedTuple):
    """Who writes, and in how many passes."""

    model: TextModel
    passes: int


def frequencies(texts: list[str], trigrams: list[str]) -> Tensor:
    """How often each run of three characters occurs in each text, as a share; [texts, trigrams]."""
    number = {gram: k for k, gram in enumerate(trigrams)}
    found = torch.zeros(len(texts), len(trigrams), dtype=torch.float64)
    for row, text in enumerate(texts):
        for first in range(len(text) - 2):
            if (k := number.get(text[first : first + 3])) is not None:
                found[row, k] += 1 / (len(text) - 2)
    return found


def common(texts: list[str]) -> list[str]:
    """The most common runs of three characters."""
    counts = Counter(text[first : first + 3] for text in texts for first in range(len(text) - 2))
    return [gram for gram, _ in counts.most_common(TRIGRAMS)]


def whole_rows(model: TextModel, source: Any) -> Tensor:
    """Rows of text without padding."""
    values: Tensor = source.values
    return values[(values != model.tokenizer.special("padding")).all(1)]


@torch.no_grad()
def written(kind: Kind, rows: int, seed: int, path: Path) -> Tensor:
    """Rows of tokens, from the folder if they are there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        request = kind.model.request(rows, seed=seed, steps=kind.passes, sampler=Ancestral())
        with count_passes(kind.model.denoiser.backbone) as passes:
            x = kind.model.sample_request(request)
        assert passes.rows == rows * kind.passes
        torch.save(x, path)
    found: Tensor = torch.load(path, weights_only=True)
    return found


def figures(x: Tensor, real: Tensor, trigrams: list[str], teacher: TextModel, judge: TextModel) -> dict[str, float]:
    """All figures of one set of rows."""
    nats = {"judge": judge.log_likelihood(x), "bound": teacher.log_likelihood(x, draws=DRAWS)}
    texts = [teacher.tokenizer.decode(row) for row in x.tolist()]
    found = {name: -each.value.double().mean().item() / x.shape[1] for name, each in nats.items()}
    found["entropy"] = statistics.mean(map(_entropy, x.tolist()))
    found["energy"] = UNIT * energy_distance(frequencies(texts, trigrams), real)
    return found


def with_errors(sets: list[dict[str, float]]) -> dict[str, float]:
    """The mean over seeds of each figure, and its standard error."""
    found = {}
    for name in FIGURES:
        values = [each[name] for each in sets]
        found |= {name: statistics.mean(values), f"{name}_error": statistics.stdev(values) / math.sqrt(len(values))}
    return found


def seconds(kind: Kind, rows: int, rounds: int) -> float:
    taken = []
    for number in range(rounds):
        start = time.perf_counter()
        kind.model.sample_request(kind.model.request(rows, seed=number, steps=kind.passes, sampler=Ancestral()))
        taken.append(time.perf_counter() - start)
    return min(taken)


def _text(folder: Path) -> TextModel:
    model = with_data(folder, "cpu")
    assert isinstance(model, TextModel)
    return model


def _student(word: str) -> tuple[str, Path]:
    name, _, folder = word.partition("=")
    return name, Path(folder)


def apart(row: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far two rows of the table are apart, in standard errors of the difference."""
    return {
        name: round((row[name] - other[name]) / math.hypot(row[f"{name}_error"], other[f"{name}_error"]), 1)
        for name in FIGURES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/text_students.json and .md")
    parser.add_argument("--teacher", type=Path, default=Path("runs/code64"))
    parser.add_argument("--judge", type=Path, default=Path("runs/code64_ar"))
    parser.add_argument("--students", type=_student, nargs="*", default=[], help="NAME=FOLDER")
    parser.add_argument("--minutes", type=float, nargs="*", default=[], help="of training, of each student")
    parser.add_argument("--passes", type=int, nargs="+", default=[4, 8], help="of the students")
    parser.add_argument("--teacher-passes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rows", type=int, default=96, help="for each seed")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2, help="the fastest counts; 0 leaves time out")
    parser.add_argument("--work", type=Path, default=Path("runs/text_students"))
    options, start = parser.parse_args(), time.perf_counter()
    teacher, judge = _text(options.teacher), _text(options.judge)
    assert teacher.tokenizer == judge.tokenizer, "a judge of the same tokens"
    trigrams = common([teacher.tokenizer.decode(row) for row in whole_rows(teacher, teacher.source).tolist()])
    held_out = whole_rows(teacher, teacher.held_out)
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    held_out, most = held_out[order], options.rows * options.seeds
    real = frequencies([teacher.tokenizer.decode(row) for row in held_out[most : most + REAL].tolist()], trigrams)
    kinds = {f"teacher, {n}": Kind(teacher, n) for n in options.teacher_passes}
    for name, folder in options.students:
        student = _text(folder)
        kinds |= {f"{name}, {n}": Kind(student, n) for n in options.passes}
    rows: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        sets = []
        for seed in range(options.seeds):
            x = written(kind, options.rows, 1000 + seed, options.work / f"{name.replace(', ', '_')}_{seed}.pt")
            sets.append(figures(x, real, trigrams, teacher, judge))
        rows[name] = {"library": name.rpartition(", ")[0], "passes": kind.passes, **with_errors(sets)}
        if options.rounds:
            rows[name] |= {"one": seconds(kind, 1, options.rounds), "many": seconds(kind, 16, options.rounds)}
    for (name, _), minutes in zip(options.students, options.minutes, strict=False):
        for n in options.passes:
            rows[f"{name}, {n}"]["training"] = minutes
    sets = [figures(part, real, trigrams, teacher, judge) for part in held_out[:most].split(options.rows)]
    rows["real"] = {"library": "real text, held out", **with_errors(sets)}
    report = timing.Report("text_students", f"Students of a text model, {teacher.length} tokens from nothing", COLUMNS)
    report.rows = list(rows.values())
    aim = f"teacher, {max(options.teacher_passes)}"
    report.found = {f"{name} - {aim}, in standard errors": apart(row, rows[aim]) for name, row in rows.items()}
    for name, distance in report.found.items():
        report.notes.append(f"{name}: {', '.join(f'{k} {v:+.1f}' for k, v in distance.items())}")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

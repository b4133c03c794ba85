"""Gaps in held-out code, filled by each run: by what stands before and after, or by what stands before alone.

    python bench/gaps.py --runs runs/code_ar runs/code_middle runs/code --save

Shares with their 95 % intervals. A gap is filled exactly if it is letter for letter what stood there; it is Python if
every line is that it touches. The gaps are cut from the first run's held-out rows, and all runs are asked the same.
"""

import argparse
import time
from pathlib import Path

import timing

from unmelt.compare.gaps import Share, fill_gaps, gaps, real_share
from unmelt.model import TextModel
from unmelt.recipe import with_data

COLUMNS = [
    ("library", "run", ""),
    ("sees", "sees", ""),
    ("exact", "exactly", ".3f"),
    ("exact_interval", "95 %", ""),
    ("lines", "Python", ".3f"),
    ("lines_interval", "95 %", ""),
]


def _row(name: str, sees: str, **shares: Share) -> dict[str, object]:
    row: dict[str, object] = {"library": name, "sees": sees}
    for kind, share in shares.items():
        row |= {kind: share.value, f"{kind}_interval": f"{share.low:.3f} to {share.high:.3f}"}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/gaps.json and .md")
    names = ("code_ar", "code_middle", "code")
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs", name) for name in names])
    parser.add_argument("--questions", type=int, default=200, help="gaps to fill")
    parser.add_argument("--tokens", type=int, default=8, help="in each")
    options, start = parser.parse_args(), time.perf_counter()
    models = [with_data(folder, "cpu") for folder in options.runs]
    assert isinstance(models[0], TextModel)
    asked = gaps(models[0], options.questions, options.tokens)
    report = timing.Report("gaps", f"{len(asked)} gaps of {options.tokens} tokens in held-out code", COLUMNS)
    for folder, model in zip(options.runs, models, strict=True):
        assert isinstance(model, TextModel)
        found = fill_gaps(model, asked, options.tokens)
        report.rows += [_row(folder.name, each.sees, exact=each.exact, lines=each.lines) for each in found]
    report.rows.append(_row("as they really stand", "", lines=real_share(asked)))
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

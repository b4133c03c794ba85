"""Text: runs of code beside one another and beside compressors; what each way of writing costs and is worth.

    python bench/text.py --runs runs/code_ar runs/code --save

The compressors take the held-out files one by one, gzip at 9 and zstd at 19; bits are over the same bytes. The first
run is autoregressive and judges what all write.
"""

import argparse
import gzip
import time
from pathlib import Path

import timing

from unmelt.compare import Report, compare
from unmelt.compare.report import STEPS
from unmelt.data import python_source, split_documents
from unmelt.recipe import with_data

COLUMNS = [
    ("library", "run", ""),
    ("way", "way", ""),
    ("bits", "bits a byte", ".3f"),
    ("any", "in any order", ".3f"),
    ("passes", "passes a row", ".0f"),
    ("one", "tokens/s, batch 1", ",.0f"),
    ("many", "batch 16", ",.0f"),
    ("first", "first token, ms", ",.0f"),
    ("flops", "MFLOP a token", ",.1f"),
    ("judge", "judge, nats a token", ".3f"),
    ("entropy", "own entropy", ".3f"),
    ("python", "lines of Python", ".3f"),
    ("exact", "gaps exact", ".3f"),
    ("filled", "gaps Python", ".3f"),
]


def compressors() -> list[dict[str, object]]:
    import zstandard

    _, aside = split_documents(python_source(), 0.1)
    files = [each.text.encode() for each in aside]
    size = sum(map(len, files))
    best = zstandard.ZstdCompressor(level=19)
    sizes = {
        "gzip -9": sum(len(gzip.compress(each, 9)) for each in files),
        "zstd -19": sum(len(best.compress(each)) for each in files),
    }
    return [{"library": name, "way": "file by file", "bits": 8 * each / size} for name, each in sizes.items()]


def rows_of(page: Report) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, found in page.speed.items():
        bits, gaps = page.bits[name].get("bits_per_byte"), page.gaps.get(name, [])
        for number, (mode, (one, many)) in enumerate(found.items()):
            quality = page.quality[name].get(mode)
            row: dict[str, object] = {
                "library": Path(name).name,
                "way": mode,
                "passes": one.passes,
                "one": one.tokens_per_second,
                "many": many.tokens_per_second,
                "first": 1000 * one.first_token,
                "flops": one.flops_per_token / 1e6,
            }
            if quality is not None:
                row |= {"judge": quality.judge, "entropy": quality.entropy, "python": quality.lines}
            if number == 0:
                row |= {"bits": bits, "any": page.bits[name].get("bits_per_byte_any_order")}
                if gaps:
                    row |= {"exact": gaps[0].exact.value, "filled": gaps[0].lines.value}
            rows.append(row)
    real = page.quality["real"]["held-out text"]
    held = {"judge": real.judge, "entropy": real.entropy, "python": real.lines}
    rows.append({"library": "real text", "way": "held out", **held})
    if page.gaps_real is not None:
        rows[-1]["filled"] = page.gaps_real.value
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/text.json and .md")
    parser.add_argument("--out", type=Path, help="a folder for quality.png and speed.png")
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs/code_ar"), Path("runs/code")])
    parser.add_argument("--rows", type=int, default=32, help="written for quality")
    parser.add_argument("--questions", type=int, default=100, help="gaps to fill")
    parser.add_argument("--tokens", type=int, help="in a row; as many as the models can if not given")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of diffusion over the whole row")
    parser.add_argument("--batches", type=int, nargs=2, default=(1, 16), help="rows at once")
    parser.add_argument("--held-out-rows", type=int, help="rows of held-out text for bits per byte; all if not given")
    parser.add_argument("--rounds", type=int, default=2, help="measured times; the fastest counts")
    options = parser.parse_args()
    start = time.perf_counter()
    models = {str(folder): with_data(folder, "cpu") for folder in options.runs}
    asked = {"tokens": options.tokens, "steps": tuple(options.steps), "batches": tuple(options.batches)}
    asked |= {
        "rows": options.rows,
        "questions": options.questions,
        "held_out_rows": options.held_out_rows,
        "quiet": options.json,
    }
    page = compare(models, out=options.out, **asked)  # type: ignore[arg-type]
    report = timing.Report("text", "Text: likelihood, cost and worth of each way of writing", COLUMNS)
    report.rows = [*compressors(), *rows_of(page)]
    report.found = page.plain()
    for name, gaps in page.gaps.items():
        for each in gaps:
            exact, lines = each.exact, each.lines
            report.notes.append(
                f"{Path(name).name} fills gaps seeing {each.sees}: {exact.value:.3f} exactly "
                f"({exact.low:.3f} to {exact.high:.3f}), {lines.value:.3f} Python ({lines.low:.3f} to {lines.high:.3f})"
            )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()

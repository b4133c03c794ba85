"""`unmelt compare RUN_AR RUN_DIFFUSION...`: cost and quality of autoregressive and diffusion models of text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from rich.text import Text

from unmelt.cli import destination
from unmelt.cli.output import print_json
from unmelt.cli.runs import text_drafter
from unmelt.cli.table import console
from unmelt.errors import UsageError
from unmelt.terminal import notify, printable

if TYPE_CHECKING:
    from unmelt.compare import Report
    from unmelt.model import TextModel

EXAMPLE = "unmelt compare runs/code_ar runs/code"


def compare(
    runs: Annotated[tuple[Path, ...], "RUN"],
    /,
    tokens: int | None = None,
    steps: tuple[int, ...] | None = None,
    rows: int = 32,
    questions: int = 100,
    gap: int = 8,
    batches: tuple[int, ...] = (1, 16),
    temperature: float = 1.0,
    held_out_rows: int | None = None,
    drafter: str = "",
    out: Path = Path("compared"),
    device: str = "auto",
    allow_other_data: bool = False,
    json: bool = False,
) -> None:
    """Compare an autoregressive model with diffusion models: likelihood, calls, speed, FLOPs, quality, infilling.

    Args:
        runs: Run folders of text models; the first is autoregressive.
        tokens: Tokens to generate without a prompt. Default: the context length of the shortest model.
        steps: Numbers of network calls to sample the diffusion models with. Default: powers of two from 8 to 128.
        rows: Samples from which quality is measured.
        questions: Number of gaps to fill in held-out text.
        gap: Tokens in each gap.
        batches: Batch sizes at which speed is measured.
        temperature: Sampling temperature of unprompted generation.
        held_out_rows: Rows of held-out text from which bits per byte are computed. Default: all.
        drafter: Who drafts for the first run, which verifies: lookup, or the run folder of a masked model with the same
            tokenizer; empty for nobody.
        out: Folder for quality.png and speed.png.
        device: Where to compute: auto, cpu or cuda.
        allow_other_data: Judge by the data as they are now, though the run recorded others.
        json: Print one JSON object and nothing else.

    Raises:
        UsageError: If no runs are given, or one of them is not a model of text.
    """
    if not runs:
        raise UsageError("no runs", "an autoregressive one first", EXAMPLE)
    from unmelt.compare import compare as measured
    from unmelt.compare.report import STEPS
    from unmelt.model import TextModel
    from unmelt.recipe import with_data

    destination.check_folder(out)
    models: dict[str, TextModel] = {}
    for folder in runs:
        model = with_data(folder, device, allow_other_data)
        if not isinstance(model, TextModel):
            raise UsageError(f"{folder}, which is no model of text", "runs of text", EXAMPLE)
        models[str(folder)] = model
    _check_judge(models)
    settings: dict[str, Any] = {
        "tokens": tokens,
        "steps": steps or STEPS,
        "rows": rows,
        "questions": questions,
        "gap": gap,
    }
    settings |= {"batches": batches, "temperature": temperature, "held_out_rows": held_out_rows}
    if drafter:
        settings["drafter"] = text_drafter(drafter, next(iter(models.values())), device)
    with destination.made(out):
        page = measured(models, **settings, out=out, quiet=json)
    if json:
        print_json(page.plain())
        return
    _print_page(page)
    notify(f"pictures: quality.png and speed.png in {out}")


def _check_judge(models: Mapping[str, TextModel]) -> None:
    """Refuse runs of which the first is not autoregressive: it judges what the others generate."""
    from unmelt.denoiser import Autoregressive

    judges = [name for name, model in models.items() if isinstance(model.denoiser, Autoregressive)]
    first = next(iter(models))
    if first in judges:
        return
    if judges:
        ordered = [judges[0], *(name for name in models if name != judges[0])]
        needed, instead = "the autoregressive run first: it judges the others", ["unmelt", "compare", *ordered]
    else:
        needed = "an autoregressive run first: it judges the others. This trains one on the same text"
        settings = ["--kind", "autoregressive", "--folder", "path/to/data", "--out", f"{first}_ar"]
        instead = ["unmelt", "train", "text", *settings]
    raise UsageError(f"{first}, which is not autoregressive, as the first run", needed, shlex.join(instead))


def _print_page(page: Report) -> None:
    _print_table("bits per byte of held-out text", ["run", "parameters", "bits", "which is"], _bits(page))
    _print_table(f"writing {page.tokens} tokens from nothing", SPEED, _speeds(page))
    if page.quality:
        columns = ["run", "mode", "judge, nats a token", "own entropy", "lines of Python"]
        _print_table("what was written", columns, _qualities(page))
    if page.gaps:
        _print_table("gaps filled", ["run", "sees", "exactly", "95 %", "lines of Python", "95 %"], _gaps(page))
    if page.questions:
        asked = [[name, kind, _percent(value)] for name, each in page.questions.items() for kind, value in each.items()]
        _print_table("questions answered", ["run", "kind", "right"], asked)


SPEED = ["run", "mode", "order", "batch", "passes", "tokens/s", "first token, ms", "MFLOP a token"]


def _bits(page: Report) -> list[list[str]]:
    rows = []
    for name, each in page.bits.items():
        which = "exact" if each.get("exact") else f"a bound, ± {each.get('bits_per_byte_error', 0):.3f}"
        bits = f"{each['bits_per_byte']:.3f}" if "bits_per_byte" in each else "-"
        rows.append([name, f"{each['parameters']:,}", bits, which])
        if "bits_per_byte_any_order" in each:
            free, error = each["bits_per_byte_any_order"], each["bits_per_byte_any_order_error"]
            rows.append([name, "", f"{free:.3f}", f"a bound, ± {error:.3f}, in any order"])
    return rows


def _speeds(page: Report) -> list[list[str]]:
    return [
        [
            name,
            mode,
            page.orders[name][mode],
            str(each.rows),
            f"{each.passes:g}" if each.passes == int(each.passes) else f"{each.passes:.1f}",
            f"{each.tokens_per_second:,.0f}",
            f"{1000 * each.first_token:,.0f}",
            f"{each.flops_per_token / 1e6:,.1f}",
        ]
        for name, found in page.speed.items()
        for mode, batches in found.items()
        for each in batches
    ]


def _qualities(page: Report) -> list[list[str]]:
    return [
        [name, mode, f"{each.judge:.3f}", f"{each.entropy:.3f}", _percent(each.lines)]
        for name, found in page.quality.items()
        for mode, each in found.items()
    ]


def _gaps(page: Report) -> list[list[str]]:
    rows = [
        [name, each.sees, *(text for value in (each.exact, each.lines) for text in _interval(value))]
        for name, found in page.gaps.items()
        for each in found
    ]
    return [*rows, ["real text", "", "", "", *_interval(page.gaps_real)]] if page.gaps_real else rows


def _interval(value: Any) -> tuple[str, str]:
    return _percent(value.value), f"{100 * value.low:.1f} to {100 * value.high:.1f}"


def _percent(value: float | None) -> str:
    return "cannot be asked" if value is None else f"{100 * value:.1f} %"


def _print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console(None if console().is_terminal else max(140, console().width)).print(table)

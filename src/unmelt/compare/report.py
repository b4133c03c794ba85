"""The comparison as a whole: one table for each measurement, one JSON object, and pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from unmelt import picture
from unmelt.compare.decoding_modes import decoding_modes
from unmelt.compare.gaps import GapScores, Share, fill_gaps, gaps, real_share
from unmelt.compare.quality import Quality, generate_rows, quality
from unmelt.compare.speed import Speed, speed
from unmelt.data import Arrays
from unmelt.denoiser import Autoregressive
from unmelt.drafting import Drafter
from unmelt.errors import UsageError
from unmelt.guidance import Temperature
from unmelt.model import TextModel
from unmelt.model.request import MOST_ROWS
from unmelt.progress import Progress
from unmelt.terminal import notify

STEPS = (8, 16, 32, 64, 128)


@dataclass
class Report:
    """All measurements.

    Args:
        tokens: Number of tokens generated in each row.
        bits: Bits per byte of held-out text by run: exact, or an upper bound.
        questions: Share of questions answered correctly, by run and kind of question; None where a model cannot be
            asked.
        orders: Order in which tokens are generated, by run and decoding mode.
        speed: Cost of generation, by run, decoding mode and batch size.
        quality: Quality of the generated text, by run and decoding mode; that of real text under "real".
        gaps: Scores of gap filling, by run.
        gaps_real: Share of the gaps whose lines are Python in the original text; None without held-out text.
    """

    tokens: int
    bits: dict[str, dict[str, Any]] = field(default_factory=dict)
    questions: dict[str, dict[str, float | None]] = field(default_factory=dict)
    orders: dict[str, dict[str, str]] = field(default_factory=dict)
    speed: dict[str, dict[str, list[Speed]]] = field(default_factory=dict)
    quality: dict[str, dict[str, Quality]] = field(default_factory=dict)
    gaps: dict[str, list[GapScores]] = field(default_factory=dict)
    gaps_real: Share | None = None

    def plain(self) -> dict[str, Any]:
        """The page as JSON can hold it."""
        return asdict(self)


@torch.no_grad()
def compare(
    runs: Mapping[str, TextModel],
    *,
    tokens: int | None = None,
    steps: tuple[int, ...] = STEPS,
    rows: int = 32,
    questions: int = 100,
    gap: int = 8,
    batches: tuple[int, ...] = (1, 16),
    temperature: float = 1.0,
    held_out_rows: int | None = None,
    drafter: Drafter | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Report:
    """Measure runs side by side. The first run must be autoregressive; it judges the text of all of them.

    Args:
        runs: Text models by name.
        tokens: Tokens to generate in each row; None for as many as the shortest model can.
        steps: Numbers of steps to try diffusion with.
        rows: Rows generated to measure quality.
        questions: Number of gaps to fill.
        gap: Tokens in each gap.
        batches: Batch sizes to measure speed with.
        temperature: Sampling temperature of generation.
        held_out_rows: Rows of held-out text for bits per byte; None for all.
        drafter: Drafts for the first run, which verifies: a mode of its own in the tables. None for no such mode.
        out: Folder for quality.png and speed.png; None for no pictures.
        quiet: Do not print progress.

    Returns:
        The measurements.

    Raises:
        UsageError: If the first run is not autoregressive or a number is out of range.
    """
    judge = next(iter(runs.values()))
    if not isinstance(judge.denoiser, Autoregressive):
        raise UsageError(
            f"{next(iter(runs))}, which is not autoregressive, as the first run",
            "the autoregressive run first: it judges the others",
            "um.compare.compare({'runs/code_ar': ..., 'runs/code': ...})",
        )
    longest = min(model.length for model in runs.values())
    tokens = longest if tokens is None else tokens
    _check(
        tokens=(tokens, 1, longest),
        rows=(rows, 1, MOST_ROWS),
        questions=(questions, 1, None),
        gap=(gap, 1, longest // 2),
    )
    _check(steps=(min(steps, default=0), 1, None), batches=(min(batches, default=0), 1, None))
    Temperature(judge.denoiser, temperature)  # which refuses what is none
    page = Report(tokens)
    modes = {
        name: list(decoding_modes(model, tokens, steps, drafter if model is judge else None))
        for name, model in runs.items()
    }
    progress = Progress("compare: ways to decode", sum(map(len, modes.values())), quiet)
    for name, model in runs.items():
        scores = model.evaluate(rows=held_out_rows, draws=4)
        accuracies = {kind: value for kind, value in scores.items() if kind in _kinds(model)}
        if accuracies:
            page.questions[name] = accuracies
        page.bits[name] = {kind: value for kind, value in scores.items() if kind not in accuracies}
        page.bits[name]["parameters"] = sum(each.numel() for each in model.denoiser.parameters())
        page.orders[name], page.speed[name], page.quality[name] = {}, {}, {}
        for mode in modes[name]:
            mode = mode._replace(settings={**mode.settings, "temperature": temperature})
            if not quiet:
                notify(f"{name}: {mode.name}")
            page.orders[name][mode.name] = mode.order
            page.speed[name][mode.name] = [speed(model, mode, tokens, batch) for batch in batches]
            if "no cache" not in mode.name and isinstance(judge.held_out, Arrays):
                page.quality[name][mode.name] = quality(generate_rows(model, mode, tokens, rows), model, judge)
            progress.advance()
    if isinstance(judge.held_out, Arrays):
        page.quality["real"] = {"held-out text": quality(judge.held_out.values[:rows, :tokens], judge, judge)}
        asked = gaps(judge, questions, gap)
        page.gaps = {name: fill_gaps(model, asked, gap) for name, model in runs.items()}
        page.gaps_real = real_share(asked)
    if out is not None:
        draw(page, Path(out))
    return page


def _check(**given: tuple[int, int, int | None]) -> None:
    """Refuse numbers outside their range: name=(value, least, most), most None for no limit."""
    for name, (value, least, most) in given.items():
        if isinstance(value, bool) or value < least or (most is not None and value > most):
            needed = f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"{name}={value}", needed, f"{name}={least if most is None else most}")


def _kinds(model: TextModel) -> set[str]:
    return set(model.questions()) if model.questions is not None else set()


def draw(page: Report, out: Path) -> None:
    """Draw quality.png (the judge's nats per token against passes) and speed.png (tokens per second against passes).

    Args:
        page: The measurements.
        out: Folder for the pictures.
    """
    quality_curves: dict[str, tuple[list[float], list[float]]] = {}
    speed_curves: dict[str, tuple[list[float], list[float]]] = {}
    for name, found in page.quality.items():
        for mode, value in found.items():
            if name == "real":
                continue
            passes = page.speed[name][mode][0].passes
            for lines, y in (
                (quality_curves, value.judge),
                (speed_curves, page.speed[name][mode][0].tokens_per_second),
            ):
                xs, ys = lines.setdefault(f"{Path(name).name}, {page.orders[name][mode]}", ([], []))
                xs.append(passes)
                ys.append(y)
    if quality_curves:
        out.mkdir(parents=True, exist_ok=True)
        picture.curve(quality_curves, out / "quality.png", "generated text", "nats per token, by the judge", "passes")
        picture.curve(speed_curves, out / "speed.png", "batch of 1", "tokens per second", "passes")

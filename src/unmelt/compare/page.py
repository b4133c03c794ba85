"""All of it together: measured run by run, in one table each, one JSON object, and pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from unmelt import picture
from unmelt.compare.decoding_modes import decoding_modes
from unmelt.compare.gaps import Filled, Share, filled, gaps, real
from unmelt.compare.quality import Quality, quality, written
from unmelt.compare.speed import Speed, speed
from unmelt.data import Arrays
from unmelt.denoiser import Autoregressive
from unmelt.errors import UsageError
from unmelt.guidance import Temperature
from unmelt.model import TextModel

STEPS = (8, 16, 32, 64, 128)


@dataclass
class Page:
    """
    bits        bits per byte of held-out text by run, exact or a bound
    questions   the share answered right, by run and kind of question
    orders      in which tokens come, by run and way of writing
    speed       by run, way and batch
    quality     by run and way; of real text under "real"
    gaps        by run, and the share of lines that are Python as they really stand
    """

    tokens: int
    bits: dict[str, dict[str, Any]] = field(default_factory=dict)
    questions: dict[str, dict[str, float | None]] = field(default_factory=dict)
    orders: dict[str, dict[str, str]] = field(default_factory=dict)
    speed: dict[str, dict[str, list[Speed]]] = field(default_factory=dict)
    quality: dict[str, dict[str, Quality]] = field(default_factory=dict)
    gaps: dict[str, list[Filled]] = field(default_factory=dict)
    gaps_real: Share | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
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
    judged: int | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Page:
    """The first run is autoregressive, and judges what all of them write.

    tokens      written from nothing, as many as the shortest model can if not given
    rows        written for quality
    questions   gaps to be filled, of `gap` tokens each
    batches     rows written together, for speed
    temperature of all that is written from nothing
    judged      rows of held-out text for its bits per byte; all of them if not given
    out         a folder for quality.png and speed.png
    """
    judge = next(iter(runs.values()))
    if not isinstance(judge.denoiser, Autoregressive):
        raise UsageError(
            f"{next(iter(runs))}, which is not autoregressive, as the first run",
            "the autoregressive run first: it judges the others",
            "unmelt compare runs/code_ar runs/code",
        )
    longest = min(model.length for model in runs.values())
    tokens = longest if tokens is None else tokens
    _check(
        tokens=(tokens, 1, longest), rows=(rows, 1, None), questions=(questions, 1, None), gap=(gap, 1, longest // 2)
    )
    _check(steps=(min(steps, default=0), 1, None), batches=(min(batches, default=0), 1, None))
    Temperature(judge.denoiser, temperature)  # which refuses what is none
    page, console = Page(tokens), Console(stderr=True, quiet=quiet)
    for name, model in runs.items():
        scores = model.evaluate(rows=judged, draws=4)
        said = {kind: value for kind, value in scores.items() if kind in _kinds(model)}
        if said:
            page.questions[name] = said
        page.bits[name] = {kind: value for kind, value in scores.items() if kind not in said}
        page.bits[name]["parameters"] = sum(each.numel() for each in model.denoiser.parameters())
        page.orders[name], page.speed[name], page.quality[name] = {}, {}, {}
        for mode in decoding_modes(model, tokens, steps):
            mode = mode._replace(settings={**mode.settings, "temperature": temperature})
            console.print(f"{name}: {mode.name}", highlight=False)
            page.orders[name][mode.name] = mode.order
            page.speed[name][mode.name] = [speed(model, mode, tokens, batch) for batch in batches]
            if "read anew" not in mode.name and isinstance(judge.held_out, Arrays):
                page.quality[name][mode.name] = quality(written(model, mode, tokens, rows), model, judge)
    if isinstance(judge.held_out, Arrays):
        page.quality["real"] = {"held-out text": quality(judge.held_out.values[:rows, :tokens], judge, judge)}
        asked = gaps(judge, questions, gap)
        page.gaps = {name: filled(model, asked, gap) for name, model in runs.items()}
        page.gaps_real = real(asked)
    if out is not None:
        draw(page, Path(out))
    return page


def _check(**given: tuple[int, int, int | None]) -> None:
    """Refuse numbers outside their least and their most."""
    for name, (value, least, most) in given.items():
        if isinstance(value, bool) or value < least or (most is not None and value > most):
            needed = f"at least {least}" if most is None else f"{least} to {most}"
            raise UsageError(f"{name}={value}", needed, f"{name}={least if most is None else most}")


def _kinds(model: TextModel) -> set[str]:
    return set(model.questions()) if model.questions is not None else set()


def draw(page: Page, out: Path) -> None:
    """quality.png: what the judge says against passes; speed.png: tokens a second against passes."""
    judged: dict[str, tuple[list[float], list[float]]] = {}
    quick: dict[str, tuple[list[float], list[float]]] = {}
    for name, found in page.quality.items():
        for mode, value in found.items():
            if name == "real":
                continue
            passes = page.speed[name][mode][0].passes
            for lines, y in ((judged, value.judge), (quick, page.speed[name][mode][0].tokens_per_second)):
                xs, ys = lines.setdefault(f"{Path(name).name}, {page.orders[name][mode]}", ([], []))
                xs.append(passes)
                ys.append(y)
    if judged:
        out.mkdir(parents=True, exist_ok=True)
        picture.curve(judged, out / "quality.png", "what is written", "nats a token, by the judge", "passes")
        picture.curve(quick, out / "speed.png", "batch of one", "tokens a second", "passes")

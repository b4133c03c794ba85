"""`unmelt sample | infill`: new data, and gaps filled."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.live import Live
from rich.text import Text

from unmelt import run
from unmelt.cli.output import notify
from unmelt.cli.runs import RunFolder, class_named, of_text
from unmelt.cli.text_sampler import Order, text_sampler
from unmelt.device import device_named
from unmelt.errors import UsageError
from unmelt.modality import Text as TextModality
from unmelt.modality.text import BETWEEN
from unmelt.model import Model, TextModel, check_rows, load
from unmelt.rng import fold
from unmelt.train import processes

IMAGES, TEXTS = 64, 1
"""Rows, if no number is given."""

SUFFIXES = (".png", ".npy", ".txt", ".wav")
"""Of files that some kind of data can be written as."""


def sample(
    folder: RunFolder,
    /,
    rows: int | None = None,
    label: str | None = None,
    caption: str | None = None,
    guidance: float = 1.0,
    prompt: str = "",
    suffix: str = "",
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    order: Order = "own",
    threshold: float | None = None,
    entropy_budget: float | None = None,
    min_distance: int | None = None,
    live: bool = False,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Make new data with a trained model: pictures, or text. Under torchrun, every process makes a share.

    Args:
        rows: How many; 64 images or 1 text if not given.
        label: The class of all of them, by name or by number; every class in turn if not given.
        caption: What all of them should show, in words; for models that learned captions.
        guidance: Scale of classifier-free guidance; 1 is none.
        prompt: Of text, what comes before.
        suffix: Of text, what comes after.
        length: Of text, tokens in all; as many as the model can if not given.
        temperature: Of text, 1 is the model's own belief; towards 0, only the likeliest token.
        top_p: Of text, the share of each belief that is kept.
        order: Of text, how it is written; own is how the recipe says.
        threshold: Of text, write all tokens at once that are at least this probable.
        entropy_budget: Of text, write as many tokens at once as lose no more than this by it.
        min_distance: Of text, tokens written at once stand so far from one another, anywhere in the row.
        live: Of text, show it resolving.
        steps: Network evaluations, about; the model's own number if not given.
        seed: The same seed gives the same samples.
        out: A .png picture or a .npy array, RUN/sample.png if not given; or a .txt, the terminal if not given.
        device: What to compute on: auto, cpu or cuda.
    """
    check_rows(IMAGES if rows is None else rows)
    if out is not None and out.suffix not in SUFFIXES:
        raise UsageError(
            f"the output {out}",
            f"a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            f"--out {out.stem}.png",
        )
    asked: dict[str, Any] = {"label": label, "caption": caption, "prompt": prompt, "suffix": suffix, "length": length}
    asked |= {"guidance": None if guidance == 1 else guidance}
    asked |= {"temperature": None if temperature == 1 else temperature, "top_p": None if top_p == 1 else top_p}
    decoding = {"threshold": threshold, "entropy_budget": entropy_budget, "min_distance": min_distance, "live": live}
    given = {name: value for name, value in asked.items() if value not in (None, "")}
    with processes.joined(device_named(device)) as own:
        model = load(folder, own)
        is_text = isinstance(model, TextModel)
        _refuse(folder, model, [*given, *(name for name, value in decoding.items() if value and not is_text)])
        out = _checked(out or (None if is_text else folder / f"sample{model.modality.suffixes[0]}"), model)
        settings: dict[str, Any] = {**given, "steps": steps, "seed": seed}
        if isinstance(model, TextModel):
            settings["sampler"] = text_sampler(model, order, threshold, entropy_budget, min_distance)
            rows = rows or TEXTS
            texts = _live(model, rows, settings) if live else model.sample(rows, **settings)
            if processes.first():
                _written(texts, out)
            return
        rows = rows or IMAGES
        each = torch.arange(rows) % len(model.classes) if label is None and model.classes else None
        settings["label"] = class_named(label, model.classes) if each is None else each
        x = model.sample(rows, **settings)
    if processes.first() and out is not None:
        run.prepare(out.parent)
        files = model.modality.write(x, out, each, model.classes, model.source)
        notify(f"{rows} samples: {out if len(files) == 1 else f'{files[0]} to {files[-1]}'}")


def _refuse(folder: Path, model: Model | TextModel, asked: Sequence[str]) -> None:
    """Refuse settings that this kind of model does not have."""
    strange = [name for name in asked if name not in model.SETTINGS]
    if strange:
        option = strange[0].replace("_", "-")
        raise UsageError(
            f"--{option} for {folder}",
            f"a run that knows it; this is a model of {model.modality.name}",
            f"unmelt show {folder}",
        )


def _checked(out: Path | None, model: Model | TextModel) -> Path | None:
    """The output, if its name says a format that this kind of data has, in a folder that can be written to."""
    if out is not None:
        if out.suffix not in model.modality.suffixes:
            wanted = " or ".join(model.modality.suffixes)
            instead = f"--out {out.with_suffix(model.modality.suffixes[0])}"
            raise UsageError(f"the output {out}", f"a name that ends in {wanted}", instead)
        run.writable(out.parent)
    return out


def _live(model: TextModel, rows: int, settings: Mapping[str, Any]) -> list[str]:
    """The texts, shown in the terminal as they resolve."""
    texts: list[str] = []
    with Live(console=Console(stderr=True), refresh_per_second=30, transient=True) as display:
        for frame in model.trajectory(rows, **settings):
            texts = frame.text
            display.update(Text(f"\n{BETWEEN}\n".join(texts)), refresh=True)
    return texts


def _written(texts: list[str], out: Path | None) -> None:
    if out is None:
        print(f"\n{BETWEEN}\n".join(texts))
        return
    run.prepare(out.parent)
    TextModality().write(texts, out)
    notify(f"{len(texts)} texts: {out}")


def infill(
    folder: RunFolder,
    file: tyro.conf.Positional[Path],
    /,
    marker: str = "<gap>",
    tokens: int = 16,
    rows: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    order: Order = "own",
    threshold: float | None = None,
    entropy_budget: float | None = None,
    min_distance: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Fill the gaps of a text in view of all that stands around them.

    Args:
        file: The text, with a marker for every gap.
        marker: What stands for a gap.
        tokens: In each gap.
        rows: How many ways to fill them.
        temperature: 1 is the model's own belief; towards 0, only the likeliest token.
        top_p: The share of each belief that is kept.
        order: How it is written; own is how the recipe says.
        threshold: Write all tokens at once that are at least this probable.
        entropy_budget: Write as many tokens at once as lose no more than this by it.
        min_distance: Tokens written at once stand so far from one another.
        steps: Network evaluations, about; the model's own number if not given.
        seed: The same seed gives the same text.
        out: A .txt file; the terminal if not given.
        device: What to compute on: auto, cpu or cuda.
    """
    corrected = f"a file in which {marker or '<gap>'} stands for what is missing"
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file}, which is not text", "UTF-8 text with a marker in it", corrected) from None
    except OSError as problem:
        raise UsageError(f"{file}, which cannot be read ({problem.strerror})", "a text file", corrected) from None
    check_rows(rows)
    if not marker:
        raise UsageError("an empty marker", "what stands in the text for a gap", "--marker '<gap>'")
    if not text.strip():
        raise UsageError(f"{file}, which is empty", f"text with {marker!r} where the gap is", corrected)
    model = of_text(folder, device)
    _checked(out, model)
    texts = model.infill(
        [text] * rows,
        marker=marker,
        tokens=tokens,
        steps=steps,
        temperature=temperature,
        top_p=top_p,
        seed=[fold(seed, row) for row in range(rows)],
        sampler=text_sampler(model, order, threshold, entropy_budget, min_distance),
    )
    _written(texts, out)

"""`unmelt sample | infill`: new data, and gaps filled."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
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
from unmelt.model import Model, TextModel, check_rows, load
from unmelt.rng import fold
from unmelt.train import processes
from unmelt.train.files import write

IMAGES, TEXTS = 64, 1
"""Rows, if no number is given."""

BETWEEN = "-" * 80


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
    if out is not None and out.suffix not in (".png", ".npy", ".txt"):
        raise UsageError(f"the output {out}", "a name that ends in .png, .npy or .txt", f"--out {out.stem}.png")
    check_rows(IMAGES if rows is None else rows)
    with processes.joined(device_named(device)) as own:
        model = load(folder, own)
        if isinstance(model, Model):
            for_text: dict[str, object] = {"prompt": prompt, "suffix": suffix, "length": length, "live": live}
            for_text |= {"threshold": threshold, "entropy_budget": entropy_budget, "min_distance": min_distance}
            _refuse(folder, "a model of images or points", for_text)
            _pictured(model, rows or IMAGES, label, caption, guidance, steps, seed, out or folder / "sample.png")
            return
        _refuse(folder, "a model of text", {"label": label, "caption": caption, "guidance": guidance != 1})
        sampler = text_sampler(model, order, threshold, entropy_budget, min_distance)
        told = {"prompt": prompt, "suffix": suffix, "length": length, "temperature": temperature, "top_p": top_p}
        settings: dict[str, Any] = {**told, "steps": steps, "seed": seed, "sampler": sampler}
        _check_text_out(out)
        texts = _live(model, rows or TEXTS, settings) if live else model.sample(rows or TEXTS, **settings)
        if processes.first():
            _written(texts, out)


def _refuse(folder: Path, what: str, given: Mapping[str, object]) -> None:
    """Settings that this kind of model knows nothing of."""
    strange = [name for name, value in given.items() if value]
    if strange:
        raise UsageError(
            f"--{strange[0]} for {folder}", f"a run that knows it; this is {what}", f"unmelt show {folder}"
        )


def _pictured(
    model: Model,
    rows: int,
    label: str | None,
    caption: str | None,
    guidance: float,
    steps: int | None,
    seed: int,
    out: Path,
) -> None:
    if out.suffix == ".txt":
        raise UsageError(f"the output {out}", "a name that ends in .png or .npy", f"--out {out.with_suffix('.png')}")
    run.writable(out.parent)
    each = torch.arange(rows) % len(model.classes) if label is None and model.classes else None
    which = class_named(label, model.classes) if each is None else each
    x = model.sample(rows, label=which, caption=caption, guidance=guidance, steps=steps, seed=seed)
    if not processes.first():
        return
    run.prepare(out.parent)
    if out.suffix == ".npy":
        array = BytesIO()
        np.save(array, x.numpy())
        write(out, array.getvalue())
    else:
        model.draw(x, each, out)
    notify(f"{rows} samples: {out}")


def _check_text_out(out: Path | None) -> None:
    if out is not None:
        if out.suffix != ".txt":
            raise UsageError(f"the output {out}", "a name that ends in .txt", f"--out {out.with_suffix('.txt')}")
        run.writable(out.parent)


def _live(model: TextModel, rows: int, settings: Mapping[str, Any]) -> list[str]:
    """The texts, shown in the terminal as they resolve."""
    texts: list[str] = []
    with Live(console=Console(stderr=True), refresh_per_second=30, transient=True) as live:
        for frame in model.trajectory(rows, **settings):
            texts = frame.text
            live.update(Text(f"\n{BETWEEN}\n".join(texts)), refresh=True)
    return texts


def _written(texts: list[str], out: Path | None) -> None:
    whole = f"\n{BETWEEN}\n".join(texts)
    if out is None:
        print(whole)
        return
    run.prepare(out.parent)
    write(out, (whole + "\n").encode())
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
    _check_text_out(out)
    model = of_text(folder, device)
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

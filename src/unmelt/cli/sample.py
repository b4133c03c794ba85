"""`unmelt sample | infill`: sample a trained model, and fill the gaps in a text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unmelt.cli import destination
from unmelt.cli.adapter import add_given
from unmelt.cli.output import print_text
from unmelt.cli.runs import RunFolder, class_named, of_text, unprompted_model
from unmelt.errors import UsageError
from unmelt.terminal import notify, printable

if TYPE_CHECKING:
    from unmelt.modality import Modality
    from unmelt.model import Model, TextModel

Order = Literal["own", "ancestral", "first-hitting", "remask", "confidence", "margin", "entropy", "random", "reading"]
"""Orders in which tokens are unmasked, and other samplers of tokens."""

IMAGES, TEXTS = 64, 1
"""Default numbers of samples."""

SUFFIXES = (".png", ".npy", ".txt", ".wav", ".mid")
"""Suffixes of the files that samples can be written to, over all kinds of data."""


def sample(
    folder: RunFolder,
    /,
    rows: int | None = None,
    label: str | None = None,
    caption: str | None = None,
    guidance: float = 1.0,
    prompt: str = "",
    plan: Literal[True] | str | None = None,
    negative: str = "",
    control: Path | None = None,
    control_scale: float = 1.0,
    suffix: str = "",
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    order: Order = "own",
    threshold: float | None = None,
    entropy_budget: float | None = None,
    min_distance: int | None = None,
    live: bool = False,
    size: str | None = None,
    adapter: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Sample a trained model: images, points, sound or text. Under torchrun, every process makes a share.

    A folder that diffusers saved a pipeline to is a run folder, too.

    Args:
        folder: The run folder.
        rows: Number of samples. Default: 64, or 1 text.
        label: Class of all samples, by name or by number. Default: every class in turn.
        caption: Caption of all samples, for models that were trained with captions.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        prompt: Of images, what is asked for: the caption, to which a plan may be added. Of text, the text that samples
            begin with.
        plan: Add a plan of the scene to the prompt: this one, such as "1 red apple left; 1 cat right", or without a
            value one that the model's planner makes.
        negative: Images only. What guidance moves away from, in words, for models that were trained with captions.
        control: Images only. A picture that samples follow, such as edges, for models that know one.
        control_scale: Images only. How much a control network counts.
        suffix: Text only. The text that samples end with.
        length: Text only. Tokens in all, prompt and suffix included. Default: the model's context length.
        temperature: Text only. Sampling temperature; 1 is the model's own distribution, 0 is greedy.
        top_p: Text only. Nucleus sampling: sample from the most probable tokens of this total probability.
        order: Text only. The order in which tokens are unmasked; own is the recipe's sampler.
        threshold: Text only. At each step, unmask all tokens that are at least this probable.
        entropy_budget: Text only. At each step, unmask as many tokens as a joint entropy of so many nats allows.
        min_distance: Text only. Least distance, in tokens, between tokens that are unmasked in the same step.
        live: Text only. Show the text in the terminal while it is sampled.
        size: Images only. Width and height in pixels, such as 48x32, for networks that take any size.
        adapter: An adapter to sample with: a folder or a .safetensors file, with :WEIGHT after it for a part of its
            change, such as style:0.8; or the name of one of the run's own.
        steps: Network evaluations per sample, approximately. Default: the model's own number.
        seed: Seed of the samples; the same seed gives the same samples.
        out: File to write: .png, .npy or .wav (default: RUN/sample.png, or .wav for sound), or .txt for text (default:
            the terminal).
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If an option does not apply to this kind of model, or the output cannot be written.
    """
    import torch

    from unmelt.cli.text_sampler import text_sampler
    from unmelt.device import device_named
    from unmelt.interop.load_model import load_model
    from unmelt.model import TextModel, check_rows
    from unmelt.train import distributed

    check_rows(IMAGES if rows is None else rows)
    if out is not None:
        destination.check_file(out, SUFFIXES)
    asked: dict[str, Any] = {"label": label, "caption": caption, "prompt": prompt, "plan": plan}
    asked |= {"negative": negative, "suffix": suffix, "length": length, "size": None if size is None else _sides(size)}
    asked |= {"control": control, "control_scale": None if control_scale == 1 else control_scale}
    asked |= {"guidance": None if guidance == 1 else guidance}
    asked |= {"temperature": None if temperature == 1 else temperature, "top_p": None if top_p == 1 else top_p}
    decoding = {"threshold": threshold, "entropy_budget": entropy_budget, "min_distance": min_distance, "live": live}
    given = {name: value for name, value in asked.items() if value not in (None, "")}
    with distributed.process_group(device_named(device)) as own:
        model = unprompted_model(folder, load_model(folder, own))
        is_text = isinstance(model, TextModel)
        _check_settings(
            folder,
            model,
            [
                *given,
                *(name for name, value in decoding.items() if not (is_text or value is None or value is False)),
            ],
        )
        out = _check_output(out or (None if is_text else folder / f"sample{model.modality.suffixes[0]}"), model)
        settings: dict[str, Any] = {**given, "steps": steps, "seed": seed}
        if adapter is not None:
            settings["adapter"] = add_given(model, adapter)
        if isinstance(model, TextModel):
            settings["sampler"] = text_sampler(model, order, threshold, entropy_budget, min_distance)
            rows = rows or TEXTS
            texts = _live(model, rows, settings) if live else model.sample(rows, **settings)
            if distributed.is_main():
                _write_texts(texts, out, model.modality)
            return
        rows = rows or IMAGES
        each = torch.arange(rows) % len(model.classes) if label is None and model.classes else None
        settings["label"] = class_named(label, model.classes) if each is None else each
        x = model.sample(rows, **settings)
    if distributed.is_main() and out is not None:
        with destination.made(out.parent):
            files = model.modality.write(x, out, each, model.classes, model.source)
        notify(f"{rows} samples: {out if len(files) == 1 else f'{files[0]} to {files[-1]}'}")


def _sides(size: str) -> tuple[int, int]:
    """Height and width from WIDTHxHEIGHT."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    if found is None:
        raise UsageError(f"--size {size}", "width and height in pixels", "--size 48x32")
    return int(found[2]), int(found[1])


def _check_settings(folder: Path, model: Model | TextModel, asked: Sequence[str]) -> None:
    """Refuse settings that this kind of model does not have."""
    unknown = [name for name in asked if name not in model.SETTINGS]
    if unknown:
        option = unknown[0].replace("_", "-")
        raise UsageError(
            f"--{option} for {folder}",
            f"a run that knows it; this is a model of {model.modality.name}",
            f"unmelt show {folder}",
        )


def _check_output(out: Path | None, model: Model | TextModel) -> Path | None:
    """Refuse an output whose suffix is no format of this kind of data, or whose folder cannot be written to."""
    if out is not None:
        destination.check_file(out, model.modality.suffixes)
    return out


def _live(model: TextModel, rows: int, settings: Mapping[str, Any]) -> list[str]:
    """Sample texts and show them in the terminal at every step."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from unmelt.modality.text import BETWEEN

    texts: list[str] = []
    with Live(console=Console(stderr=True), refresh_per_second=30, transient=True) as display:
        for frame in model.trajectory(rows, **settings):
            texts = frame.text
            display.update(Text(printable(f"\n{BETWEEN}\n".join(texts), keep="\n\t")), refresh=True)
    return texts


def _write_texts(texts: list[str], out: Path | None, modality: Modality) -> None:
    from unmelt.modality.text import BETWEEN

    if out is None:
        print_text(f"\n{BETWEEN}\n".join(texts))
        return
    with destination.made(out.parent):
        files = modality.write(texts, out)
    notify(f"{len(texts)} texts: {out if len(files) == 1 else f'{files[0]} to {files[-1]}'}")


def infill(
    folder: RunFolder,
    file: Path,
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
    """Fill the gaps in a text, conditioned on the text on both sides of them.

    Args:
        folder: The run folder.
        file: A text file with a marker in place of every gap.
        marker: The marker.
        tokens: Tokens to fill each gap with.
        rows: Number of samples.
        temperature: Sampling temperature; 1 is the model's own distribution, 0 is greedy.
        top_p: Nucleus sampling: sample from the most probable tokens of this total probability.
        order: The order in which tokens are unmasked; own is the recipe's sampler.
        threshold: At each step, unmask all tokens that are at least this probable.
        entropy_budget: At each step, unmask as many tokens as a joint entropy of so many nats allows.
        min_distance: Least distance, in tokens, between tokens that are unmasked in the same step.
        steps: Network evaluations per sample, approximately. Default: the model's own number.
        seed: Seed of the samples; the same seed gives the same text.
        out: A .txt file to write, with the text's own bytes outside of the gaps. Default: the terminal.
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If the file cannot be read or has no marker in it, or the run is not a model of text.
    """
    from unmelt.cli.text_sampler import text_sampler
    from unmelt.data.encoded_text import decoded
    from unmelt.modality import Text
    from unmelt.modality.text import BETWEEN
    from unmelt.model import check_rows
    from unmelt.rng import fold
    from unmelt.train.atomic_files import write

    corrected = f"a file in which {marker or '<gap>'} stands for what is missing"
    try:
        content = file.read_bytes()  # as it is: its line ends and its byte-order mark come back
        text = decoded(content)
    except UnicodeDecodeError:
        raise UsageError(f"{file}, which is not text", "UTF-8 text with a marker in it", corrected) from None
    except OSError as problem:
        raise UsageError(f"{file}, which cannot be read ({problem.strerror})", "a text file", corrected) from None
    check_rows(rows)
    if not marker:
        raise UsageError("an empty marker", "what stands in the text for a gap", "--marker '<gap>'")
    if not text.strip():
        raise UsageError(f"{file}, which is empty", f"text with {marker!r} where the gap is", corrected)
    if out is not None:
        destination.check_file(out, Text().suffixes)
        if out.exists() and out.samefile(file):
            raise UsageError(f"--out {out}, the text with the gaps", "another file", f"--out {out.stem}-filled.txt")
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
    mark = "\ufeff" if content.startswith(codecs.BOM_UTF8) else ""
    filled = f"\n{BETWEEN}\n".join(mark + made for made in texts)
    if out is None:
        print_text(filled, exactly=True)
        return
    with destination.made(out.parent):
        write(out, filled.encode())
    notify(f"{rows} texts: {out}")

"""`unmelt adapter train` and `merge`: small changes of a model, learned from a folder or added to its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, generative_model
from unmelt.errors import UsageError, nearest
from unmelt.terminal import notify

if TYPE_CHECKING:
    from unmelt.data import Source
    from unmelt.model import Model, SpeechModel, TextModel

HELP = """usage: unmelt adapter VERB

  train RUN           train a low-rank adapter of a run on a folder of pictures or of text
  merge RUN ADAPTER   write a run with an adapter's change in its weights

unmelt adapter VERB --help lists the options of a verb. unmelt sample RUN --adapter ADAPTER samples with one."""

RUN = "run"
"""Of an adapter's folder, the run that trained it: the same command resumes it, and it may be deleted."""


class Given(NamedTuple):
    """An adapter as a word of the command line: PATH, or PATH:WEIGHT.

    Args:
        place: Where it is, or its name in the run.
        weight: How much of its change is added; None where nothing is said.
    """

    place: str
    weight: float | None


def given_adapter(word: str) -> Given:
    """Read PATH or PATH:WEIGHT.

    Args:
        word: The word.

    Returns:
        The adapter.
    """
    place, colon, weight = word.rpartition(":")
    is_weight = colon and place and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", weight)
    return Given(place, float(weight)) if is_weight else Given(word, None)


def add_given(model: Model | TextModel | SpeechModel, word: str) -> str:
    """Add an adapter to a model, or find it there.

    Args:
        model: The model.
        word: PATH or PATH:WEIGHT, of files of this library or of another tool; or an adapter's name in the run.

    Returns:
        Its name in the model.

    Raises:
        UsageError: If there is no such adapter, or it does not fit the model.
    """
    place, weight = given_adapter(word)
    if place in model.adapters:
        if weight is not None:
            model.combine_adapters("weighted", {place: weight})
        return place if weight is None else "weighted"
    if not Path(place).exists():
        known = f", or one of the run's own: {', '.join(model.adapters)}" if model.adapters else ""
        raise UsageError(
            f"there is no adapter {place}", f"a folder or a .safetensors file{known}", "--adapter PATH:0.8"
        )
    model.load_adapter(place, scale=weight)
    return list(model.adapters)[-1]


def adapter(args: Sequence[str]) -> None:
    """Run a verb.

    Args:
        args: The verb and what follows it.

    Raises:
        UsageError: If there is no such verb.
    """
    from unmelt.cli.arguments import call

    verbs: dict[str, Callable[..., None]] = {"train": train, "merge": merge}
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    if args[0] not in verbs:
        near = nearest(args[0], verbs)
        raise UsageError(f"unmelt adapter {args[0]}", f"one of {', '.join(verbs)}", f"unmelt adapter {near} --help")
    call(verbs[args[0]], f"unmelt adapter {args[0]}", args[1:])


def train(
    run: RunFolder,
    /,
    folder: Path,
    out: Path,
    name: str = "",
    rank: int = 8,
    alpha: float | None = None,
    decompose: bool = False,
    steps: int = 1000,
    batch: int = 16,
    lr: float = 1e-3,
    seed: int = 0,
    save_every: int = 500,
    device: str = "auto",
    log_to: str = "none",
) -> None:
    """Train a low-rank adapter of a run, whose own weights stay as they are. The same command resumes it.

    Pictures are learned with their captions where the model takes captions, and without a class otherwise.

    Args:
        run: The run folder.
        folder: What it learns from: pictures, or text for a model of text.
        out: The adapter's folder, with adapter.json and adapter.safetensors.
        name: Name of the adapter. Default: the last part of --out.
        rank: Rank of the change of each layer.
        alpha: The change is scaled by alpha / rank. Default: twice the rank.
        decompose: Learn the norms of the weights separately from their directions (DoRA).
        steps: Training steps.
        batch: Rows per step.
        lr: Peak learning rate.
        seed: Seed of the adapter, of the order of the data and of the noise.
        save_every: Steps between checkpoints.
        device: Where to compute: auto, cpu or cuda.
        log_to: Where to log besides the run folder: tensorboard, wandb, trackio, none, or auto.

    Raises:
        UsageError: If the run is no model of pictures or of text that can be trained, or there is nothing to learn
            from.
    """
    destination.check_folder(out)

    from unmelt.adapter import LoRA
    from unmelt.model import load
    from unmelt.objective import AttentionAnnealing
    from unmelt.recipe.text_model import TrainingArgs
    from unmelt.train import AdamW, distributed

    model = generative_model(run, load(run, device))
    model.source, model.held_out, model.folder = _data_of(model, folder, seed), None, None
    if isinstance(model.objective, AttentionAnnealing):
        model.objective = model.objective.objective  # its attention has grown
    name = name or re.sub(r"\W", "_", out.absolute().name)
    config = LoRA(rank=rank, alpha=2.0 * rank if alpha is None else alpha, decompose=decompose)
    model.add_adapter(name, config, seed=seed)
    training = TrainingArgs(steps, batch, lr, 0.99, seed, save_every, picture_every=0)
    model.training = training.training(AdamW(), name)
    try:
        model.fit(out / RUN, device, log_to=log_to)
    except KeyboardInterrupt as ended:
        raise type(ended)("the same command goes on from here") from None
    if distributed.is_main():
        model.save_adapter(name, out)
        notify(f"adapter {name}: {out}", f"unmelt sample {run} --adapter {out}")


def merge(run: RunFolder, adapter: Annotated[str, "ADAPTER"], /, out: Path, device: str = "auto") -> None:
    """Write a run with an adapter's change in its weights, which then costs nothing extra.

    Args:
        run: The run folder, or a folder that diffusers saved a pipeline to.
        adapter: A folder or a .safetensors file of this library or another tool, or the name of one of the run's own;
            after it, :WEIGHT for how much of the change is added, such as style:0.8.
        out: The run folder to write.
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If there is no such adapter, it does not fit the run, or the output holds a run already.
    """
    destination.check_folder(out)

    from unmelt import run_folder
    from unmelt.interop.load_model import load_model

    if (out / run_folder.CONFIG).exists():
        raise UsageError(f"{out}, which holds a run", "a new folder", f"--out {out}-merged")
    model = generative_model(run, load_model(run, device))
    model.merge_adapter(add_given(model, adapter))
    model.save(out)
    notify(f"merged: {out}", f"unmelt sample {out}")


def _data_of(model: Model | TextModel | SpeechModel, folder: Path, seed: int) -> Source:
    """What an adapter of a model learns from."""
    from unmelt import data
    from unmelt.modality import Images
    from unmelt.model import Model, TextModel
    from unmelt.model.picture_size import picture_shape

    if isinstance(model, TextModel):
        found, report = data.documents(folder)
        notify(str(report))
        (length,) = model.denoiser.shape
        return data.pack_tokens((each.text for each in found), model.tokenizer, length, seed)
    if not isinstance(model, Model) or not isinstance(model.modality, Images) or model.objective is None:
        raise UsageError(
            f"an adapter for a model of {model.modality.name}" + " without an objective" * (model.objective is None),
            "a run of pictures or of text that a recipe made; others are trained in Python",
            'model.fit("runs/style", adapter="style")',
        )
    channels, high, wide = picture_shape(model)
    if high != wide:
        raise UsageError(
            f"an adapter for pictures of {wide} x {high} pixels",
            "squares; others are trained in Python",
            'model.fit("runs/style", adapter="style")',
        )
    captions: Any = {} if model.encoder is None else {"caption": "auto", "encoder": model.encoder}
    source, pictures = data.images(folder, high, channels, seed, label="", **captions)
    notify(str(pictures))
    return source

"""Run folders as arguments of commands: the model in a folder, and its data where a command needs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from unmelt.errors import UsageError

if TYPE_CHECKING:
    import torch

    from unmelt.drafting import Drafter
    from unmelt.model import Model, SpeechModel, TextModel
    from unmelt.model.load import AnyModel

RunFolder = Annotated[Path, "RUN"]

_MAKES_NOTHING = {
    "CodecModel": (
        "an autoencoder, which makes nothing from noise",
        "a model of its latents",
        "unmelt train latents --codec {folder} --folder IMAGES --out runs/latents",
    ),
    "VocoderModel": (
        "a vocoder, which makes nothing from noise",
        "a model of speech that has it",
        "unmelt train speech --vocoder {folder} --folder RECORDINGS --out runs/speech",
    ),
    "DrafterModel": ("a drafter, which writes with its language model", "unmelt draft", "unmelt draft {folder}"),
}
_NEEDS_A_TEXT = {"SpeechModel": ("a model of speech", "what it is to say", "unmelt say {folder} 'some text'")}


def _refuse(folder: Path, kind: type[AnyModel], refused: dict[str, tuple[str, str, str]]) -> None:
    if kind.__name__ in refused:
        what, needed, call = refused[kind.__name__]
        raise UsageError(f"{folder}, {what}", needed, call.format(folder=folder))


def generative_model(folder: Path, model: AnyModel) -> Model | TextModel | SpeechModel:
    """Refuse what makes nothing from noise: autoencoders, vocoders and drafters.

    Args:
        folder: The run folder, for the message.
        model: What is in it.

    Returns:
        The model.

    Raises:
        UsageError: If it is one of those.
    """
    check_generative(folder, type(model))
    return cast("Model | TextModel | SpeechModel", model)


def check_generative(folder: Path, kind: type[AnyModel]) -> None:
    """Refuse what makes nothing from noise.

    Args:
        folder: The run folder, for the message.
        kind: What is in it.

    Raises:
        UsageError: If it is an autoencoder, a vocoder or a drafter.
    """
    _refuse(folder, kind, _MAKES_NOTHING)


def check_unprompted(folder: Path, kind: type[AnyModel]) -> None:
    """Refuse what does not sample without a text: the above, and models of speech.

    Args:
        folder: The run folder, for the message.
        kind: What is in it.

    Raises:
        UsageError: If it is one of those.
    """
    _refuse(folder, kind, _MAKES_NOTHING | _NEEDS_A_TEXT)


def unprompted_model(folder: Path, model: AnyModel) -> Model | TextModel:
    """Refuse what does not sample without a text.

    Args:
        folder: The run folder, for the message.
        model: What is in it.

    Returns:
        The model.

    Raises:
        UsageError: If it is one of those.
    """
    check_unprompted(folder, type(model))
    return cast("Model | TextModel", model)


def of_numbers(folder: Path, device: str) -> Model:
    """Load the model of a run, for a command that works on numbers only: images, points or sound.

    Args:
        folder: The run folder.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The model.

    Raises:
        UsageError: If it is a model of text.
    """
    from unmelt.interop.load_model import load_model
    from unmelt.model import TextModel

    model = unprompted_model(folder, load_model(folder, device))
    if isinstance(model, TextModel):
        raise UsageError(
            f"{folder}, a model of text", "one of images or points", f"unmelt sample {folder} --prompt 'def '"
        )
    return model


def of_text(folder: Path, device: str) -> TextModel:
    """Load the model of a run, for a command that works on text only.

    Args:
        folder: The run folder.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The model.

    Raises:
        UsageError: If it is not a model of text.
    """
    from unmelt.model import Model, load

    model = unprompted_model(folder, load(folder, device))
    if isinstance(model, Model):
        raise UsageError(f"{folder}, which is no model of text", "a run of text", "unmelt train code --out runs/code")
    return model


def text_drafter(word: str, model: TextModel, device: str | torch.device) -> Drafter:
    """Who drafts for an autoregressive model of text.

    Args:
        word: "lookup", or the run folder of a masked model with the same tokenizer.
        model: The model that verifies.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The drafter.

    Raises:
        UsageError: If there is no such run, or it cannot draft for this model.
    """
    from unmelt.denoiser import Autoregressive
    from unmelt.drafting import Marginals, NGram
    from unmelt.model import DrafterModel, TextModel, load
    from unmelt.process import Mask

    if word == "lookup":
        return NGram()
    found = load(word, device)
    if isinstance(found, DrafterModel):
        raise UsageError(
            f"--drafter {word}, which drafts for {found.verifier.path or 'a language model of transformers'} alone",
            "lookup, or the run of a masked model; language models of transformers write in `unmelt draft`",
            f"unmelt draft {word} --prompt 'The sea'",
        )
    is_masked = isinstance(found, TextModel) and isinstance(found.denoiser.process, Mask)
    if not isinstance(found, TextModel) or not is_masked or isinstance(found.denoiser, Autoregressive):
        needed = "lookup, or the run of a masked model of text"
        raise UsageError(f"--drafter {word}, which drafts no blocks of text", needed, "--drafter lookup")
    if found.tokenizer != model.tokenizer:
        needed = "a run with the same tokenizer, trained on the same text; or lookup"
        raise UsageError(f"--drafter {word}, which has another tokenizer", needed, "--drafter lookup")
    return Marginals(found.denoiser)


def class_named(label: str | None, classes: Sequence[str]) -> int | str | None:
    """Read a class from the command line.

    Args:
        label: A class by its name, or else by its number; None for none.
        classes: The names of the classes.

    Returns:
        The number if `label` is one and no class has it as its name, else `label` unchanged.
    """
    number = label is not None and label not in classes and re.fullmatch("-?[0-9]{1,18}", label)
    return int(number[0]) if number else label

"""Prompts as the text encoders of a pipeline read them, one by one, so that a row depends on its own prompt alone."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.device import device_named
from unmelt.encoder import EncodedText, EncodedVector
from unmelt.encoder.pretrained import quiet, transformers_package
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import read_json

KEPT = 32
"""Prompts whose features are kept, in all."""


class Features(NamedTuple):
    """What text encoders make of one prompt.

    Args:
        sequence: The vectors of its tokens, on the CPU.
        vector: Its pooled features; None where there are none.
    """

    sequence: Float[Tensor, "length width"]
    vector: Float[Tensor, " features"] | None = None


@runtime_checkable
class PromptReader(Protocol):
    """Text encoders and tokenizers of a pipeline; equal ones read alike."""

    def read(self, prompt: str) -> Features:
        """Encode a prompt.

        Args:
            prompt: The prompt, which may be empty.

        Returns:
            Its features.
        """

    def __hash__(self) -> int:
        """Of its arguments."""


@lru_cache(KEPT)
def features(reader: PromptReader, prompt: str) -> Features:
    """What a pipeline makes of a prompt.

    Args:
        reader: Its text encoders.
        prompt: The prompt.

    Returns:
        The features; those of the last few prompts are not computed again.
    """
    with torch.no_grad():
        sequence, vector = reader.read(prompt)
    return Features(sequence.float().cpu(), None if vector is None else vector.float().cpu())


def encoded_text(reader: PromptReader, width: int, captions: Sequence[str | None]) -> EncodedText:
    """Sequences of prompts, padded to the longest.

    Args:
        reader: The text encoders.
        width: Features of each token.
        captions: One a row; None or an empty one leaves the row without tokens.

    Returns:
        sequence [rows, length, width] and mask [rows, length].
    """
    found = [features(reader, each).sequence if each and each.strip() else None for each in captions]
    length = max((len(each) for each in found if each is not None), default=1)
    sequence = torch.zeros(len(captions), length, width)
    mask = torch.zeros(len(captions), length, dtype=torch.bool)
    for row, each in enumerate(found):
        if each is not None:
            sequence[row, : len(each)], mask[row, : len(each)] = each, True
    return EncodedText(sequence, mask)


def encoded_vectors(reader: PromptReader, captions: Sequence[str | None]) -> EncodedVector:
    """Pooled features of prompts.

    Args:
        reader: The text encoders.
        captions: One a row; None or an empty one for none.

    Returns:
        values [rows, features] and given [rows].
    """
    found = [features(reader, each if each and each.strip() else "").vector for each in captions]
    given = torch.tensor([bool(each and each.strip()) for each in captions])
    values = torch.stack([each for each in found if each is not None])
    return EncodedVector(values * given[:, None], given)


def load_text_model(folder: Path, kind: str, device: str) -> Any:
    """Load a text encoder of a pipeline.

    Args:
        folder: Its folder, with config.json and safetensors weights.
        kind: Its class in transformers.
        device: Where it computes.

    Returns:
        The network, in float32, frozen.

    Raises:
        UsageError: If files are missing or damaged, weights are no safetensors, or transformers has no such class.
    """
    read_json(folder / "config.json")
    if not list(folder.glob("*.safetensors")):
        raise UsageError(
            f"there are no safetensors in {folder}",
            "weights as safetensors; a pickle (.bin) is never opened",
            "pipeline.save_pretrained(folder, safe_serialization=True)",
        )
    transformers = transformers_package()
    try:
        with quiet(transformers):
            model, found = getattr(transformers, kind).from_pretrained(
                folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # a damaged file can raise anything at all
        raise _unreadable(folder, kind, error) from None
    if missing := sorted(name for name in found["missing_keys"] if "position_ids" not in name):
        raise _unreadable(folder, kind, ValueError(f"it lacks {missing[0]}"))  # transformers would make numbers up
    return model.to(device_named(device)).eval().requires_grad_(False)


def load_tokenizer(folder: Path, kind: str) -> Any:
    """Load a tokenizer of a pipeline.

    Args:
        folder: Its folder.
        kind: Its class in transformers.

    Returns:
        The tokenizer.

    Raises:
        UsageError: If files are missing or damaged, or transformers has no such class.
    """
    if not folder.is_dir():
        raise UsageError(
            f"there is no {folder}", "a pipeline with all of its parts", "pipeline.save_pretrained(folder)"
        )
    transformers = transformers_package()
    try:
        with quiet(transformers):
            return getattr(transformers, kind).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a damaged file can raise anything at all
        raise _unreadable(folder, kind, error) from None


def padded_tokens(tokenizer: Any, prompt: str, length: int | None = None) -> Tensor:
    """Tokens of a prompt, cut and padded to one length.

    Args:
        tokenizer: The tokenizer.
        prompt: The prompt.
        length: How many. None: as many as the tokenizer is made for.

    Returns:
        [1, length], the tokens.
    """
    most = tokenizer.model_max_length if length is None else length
    found = tokenizer([prompt], padding="max_length", max_length=most, truncation=True, return_tensors="pt")
    return found.input_ids


def _unreadable(folder: Path, kind: str, error: Exception) -> UsageError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UsageError(f"{folder} cannot be read as a {kind} ({said})", "the files as they were saved", "a copy of them")

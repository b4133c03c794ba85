"""The files of a language model: config.json, safetensors and a tokenizer, or one GGUF file. Nothing else is opened.

A folder whose config.json asks for code of its own (`auto_map`) is read where its layout is known, and refused
otherwise: that code is never run. Pickles (.bin, .pt) are never opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmelt.encoder.pretrained import plain_folder, quiet, transformers_package, unreadable
from unmelt.errors import UsageError
from unmelt.interop.language.network import CAUSAL, MASKED, configuration
from unmelt.train.atomic_files import read_tensors

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Ends of the names of files that may be pickles."""

TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
"""Files of which a tokenizer can be made."""

MOST_BYTES = 1 << 22
"""Largest accepted config.json."""

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class LanguageFolder(NamedTuple):
    """A language model on the disk.

    Args:
        root: Its folder.
        architecture: The class that its config.json names.
        settings: The content of its config.json.
    """

    root: Path
    architecture: str
    settings: Mapping[str, Any]


def language_folder(path: str | Path, layouts: Mapping[str, Any]) -> LanguageFolder:
    """Find a language model, and refuse what cannot be read before weights are.

    Args:
        path: A folder as `save_pretrained` writes it; a .gguf file, or a folder with one.
        layouts: Architectures that are no classes of transformers and whose layout is known.

    Returns:
        Its folder, with plain weights.

    Raises:
        UsageError: If there is none, or its architecture is not known, or its weights are pickles or quantised.
    """
    transformers = transformers_package()
    root = plain_folder(Path(path).expanduser(), transformers)
    settings = _settings(root / "config.json")
    named = settings.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    is_native = architecture in CAUSAL or (architecture.endswith(MASKED) and hasattr(transformers, architecture))
    if not is_native and architecture not in layouts:
        known = f"a class of transformers that ends in {MASKED}, or {', '.join((*layouts, *CAUSAL))}"
        what = (
            f"the language model in {root} is of class {architecture!r}" if architecture else f"{root} names no class"
        )
        if settings.get("auto_map"):
            what += ", which is code that comes with it and is never run"
        raise UsageError(what, known, "another model")
    if settings.get("quantization_config"):
        raise UsageError(f"the weights in {root} are quantised", "plain weights, or a .gguf file", "another copy of it")
    if not any(root.glob("*.safetensors")):
        pickles = sorted(each.name for each in root.iterdir() if each.suffix in PICKLES)
        given = f"the weights in {root} are pickled ({pickles[0]}), which is never opened" if pickles else ""
        raise UsageError(
            given or f"there are no weights in {root}",
            "weights as safetensors",
            "model.save_pretrained(folder, safe_serialization=True)",
        )
    return LanguageFolder(root, architecture, settings)


def _settings(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error})", "the file as it was saved", "a copy of it") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} describes no model", "the file as it was saved", "a copy of it")
    return found


def read_network(found: LanguageFolder) -> Any:
    """Read a model of a class of transformers.

    Args:
        found: Where it is.

    Returns:
        The model, in float32.

    Raises:
        UsageError: If its files are damaged or do not fit together.
    """
    transformers = transformers_package()
    kind = getattr(transformers, found.architecture)
    try:
        with quiet(transformers):
            network, report = kind.from_pretrained(
                found.root,
                config=configuration(kind, found.settings),
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **LOCAL,
            )
    except Exception as error:  # a damaged file can raise anything at all
        raise unreadable(found.root, error) from None
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing or report.get("mismatched_keys"):  # transformers would make numbers up
        said = f"it lacks {missing[0]}" if missing else f"{report['mismatched_keys'][0]} has another shape"
        raise unreadable(found.root, ValueError(said))
    return network.eval()


def read_weights(root: Path) -> dict[str, Tensor]:
    """Read all weights of a folder by name.

    Args:
        root: The folder.

    Returns:
        The tensors of all its safetensors files, in float32.

    Raises:
        UsageError: If a file is damaged.
    """
    weights: dict[str, Tensor] = {}
    for path in sorted(root.glob("*.safetensors")):
        weights |= {name: value.float() for name, value in read_tensors(path)[0].items()}
    return weights


def read_tokenizer(found: LanguageFolder) -> Any:
    """Read the tokenizer of a language model.

    Args:
        found: Where it is.

    Returns:
        A tokenizer of transformers with a `backend_tokenizer`.

    Raises:
        UsageError: If there is none, or it cannot be read.
    """
    transformers, root = transformers_package(), found.root
    if not any(file.is_file() for pattern in TOKENIZERS for file in root.glob(pattern)):
        raise UsageError(
            f"there is no tokenizer in {root}", "one beside the weights", "tokenizer.save_pretrained(folder)"
        )
    kind = transformers.AutoTokenizer
    if hasattr(transformers, found.architecture):
        pass
    elif (root / "tokenizer.json").is_file():  # whatever class of its own the folder names
        kind = transformers.PreTrainedTokenizerFast
    else:
        kind = transformers.Qwen2Tokenizer
    try:
        with quiet(transformers):
            tokenizer = kind.from_pretrained(root, **LOCAL)
            tokenizer.backend_tokenizer.to_str()
    except Exception as error:  # a damaged file can raise anything at all
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"the tokenizer in {root} cannot be read ({said})",
            "a tokenizer.json, or files that transformers makes one of",
            "tokenizer.save_pretrained(folder)",
        ) from None
    return tokenizer

"""Language models of `transformers` from the user's own disk: a folder with safetensors, or a GGUF file.

Nothing is downloaded, no code that comes with a model is run, and only safetensors and GGUF are read. The quantised
weights of a GGUF file are turned into plain ones once, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from unmelt.cache_folder import cache_folder
from unmelt.errors import UsageError


class Pretrained(NamedTuple):
    """A language model and its tokenizer.

    Args:
        tokenizer: The tokenizer. It pads on the right.
        model: The model, in float32, frozen, in evaluation mode, on the CPU.
    """

    tokenizer: Any
    model: Any


def load_pretrained(path: str | Path, *, writes: bool = False) -> Pretrained:
    """Read a language model.

    Args:
        path: A folder with config.json, safetensors weights and a tokenizer, as `save_pretrained` writes it; a .gguf
            file, or a folder with one.
        writes: Whether the model is to have its head, which gives logits. Without, it ends with hidden states.

    Returns:
        Tokenizer and model.

    Raises:
        UsageError: If a package is missing, there is no language model, or it cannot be read.
    """
    transformers = transformers_package()
    root = plain_folder(Path(path).expanduser(), transformers)
    kind = transformers.AutoModelForCausalLM if writes else transformers.AutoModel
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(root, **safe)
            model, found = kind.from_pretrained(
                root, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
            )
    except Exception as error:  # a damaged file can raise anything at all
        raise unreadable(root, error) from None
    if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):
        raise unreadable(root, ValueError(f"it lacks {missing[0]}"))  # transformers would make numbers up
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:  # which token stands in padding makes no difference: it is never read
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return Pretrained(tokenizer, model.eval().requires_grad_(False))


def fingerprint(path: str | Path) -> str:
    """Name what a language model's files are, without reading them: names, sizes and times of last change.

    Args:
        path: As of `load_pretrained`.

    Returns:
        A digest.
    """
    root = Path(path).expanduser()
    files = [root] if root.is_file() else sorted(each for each in root.glob("*") if each.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(root.resolve()), stats)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def transformers_package() -> Any:
    """The transformers package, which is optional.

    Raises:
        UsageError: If it is not installed.
    """
    return optional_package("transformers", "which reads language models and text encoders", "transformers")


def plain_folder(root: Path, transformers: Any) -> Path:
    """The folder of plain weights: the one that is given, or the one in the cache that holds those of a GGUF file.

    Args:
        root: A folder with config.json; a .gguf file, or a folder with one.
        transformers: The package.

    Returns:
        A folder with config.json.

    Raises:
        UsageError: If there is neither, or the file cannot be read.
    """
    if (root / "config.json").is_file():
        return root
    found = [root] if root.is_file() and root.suffix == ".gguf" else sorted(root.glob("*.gguf"))
    if len(found) != 1:
        raise UsageError(
            f"there are {len(found)} .gguf files in {root}" if found else f"there is no language model in {root}",
            "a local folder with config.json, safetensors weights and a tokenizer, or one .gguf file",
            str(found[0]) if found else f"huggingface-cli download OWNER/NAME --local-dir {root}",
        )
    (file,) = found
    cache = cache_folder()
    plain = cache / f"{fingerprint(file)}.language_model"
    if not plain.is_dir():
        for name in ("gguf", "accelerate"):
            optional_package(name, "which reading .gguf files needs", "gguf")
        _write_plain(file, plain, transformers)
    return plain


def _write_plain(file: Path, plain: Path, transformers: Any) -> None:
    """Write the folder, whole or not at all."""
    given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **given)
            model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **given)
    except Exception as error:  # a damaged file can raise anything at all
        raise unreadable(file, error) from None
    try:
        plain.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=plain.parent, prefix=".", ignore_cleanup_errors=True) as incomplete:
            made = Path(incomplete) / "made"
            model.config.architectures = [type(model).__name__]
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config  # the weights are plain now
            model.config.save_pretrained(made)
            save_file(_untied(model.state_dict()), made / "model.safetensors", {"format": "pt"})
            tokenizer.save_pretrained(made)
            if not plain.is_dir():  # another process may have been as quick
                shutil.move(made, plain)
    except OSError as error:
        raise UsageError(
            f"the cache {plain.parent} cannot be written ({error.strerror})",
            f"room for the plain weights of {file.name} there",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None


def _untied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor once, under the first of its names: a head that is the embedding is tied again by the model."""
    first = {value.data_ptr(): name for name, value in reversed(weights.items())}
    return {name: value.contiguous() for name, value in weights.items() if first[value.data_ptr()] == name}


def optional_package(name: str, what: str, extra: str) -> Any:
    """A package that is an optional part of this library, imported.

    Args:
        name: The package.
        what: What it does.
        extra: The extra that installs it.

    Returns:
        The module.

    Raises:
        UsageError: If it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"{name}, {what}, is not installed", "it is an optional part of unmelt", f"pip install 'unmelt[{extra}]'"
        ) from None


def unreadable(path: Path, error: Exception) -> UsageError:
    """The error for a language model that cannot be read.

    Args:
        path: Its folder or file.
        error: What was raised.

    Returns:
        The error to raise.
    """
    said = (str(error).splitlines() or [type(error).__name__])[0]
    if path.suffix == ".gguf":
        return UsageError(
            f"the language model {path} cannot be read ({said})",
            "a whole .gguf file of a model that transformers knows",
            "a new copy of the file",
        )
    return UsageError(
        f"the language model in {path} cannot be read ({said})",
        "a model that transformers knows, with safetensors weights and a tokenizer",
        "model.save_pretrained(folder); tokenizer.save_pretrained(folder)",
    )


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Inside, transformers shows neither progress bars nor reports: they would stand in the middle of what is printed.

    Args:
        transformers: The package.

    Yields:
        Nothing.
    """
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()

"""Files of adapters of any dialect: found, checked, read and written.

    FILE.safetensors                                          any dialect
    FOLDER/adapter_config.json, adapter_model.safetensors     peft
    FOLDER/pytorch_lora_weights.safetensors                   diffusers
    FOLDER with one .safetensors                              any dialect

Nothing but safetensors and JSON is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import nn

from unmelt import run_folder
from unmelt.adapter import Adapter
from unmelt.adapter.dialect import LayerChange, adapter_of, changes_of, layers_of, resolve_in
from unmelt.adapter.dialect import diffusers as diffusers_dialect
from unmelt.adapter.dialect import peft as peft_dialect
from unmelt.adapter.dialect.network import inner_prefix
from unmelt.adapter.dialect.place import DENOISER
from unmelt.adapter.dialect.settings import FileSettings, of_config, of_metadata
from unmelt.errors import UsageError
from unmelt.train.atomic_files import read_tensors, write_json, write_tensors

Layout: TypeAlias = Literal["unmelt", "peft", "diffusers"]

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MOST_JSON = 1 << 24
SPARE_BYTES = 1 << 28
"""What a file may have beyond twice the network's own weights in float32: a text encoder's part, names."""


def read_adapter(
    path: str | Path,
    network: nn.Module,
    *,
    part: str = DENOISER,
    scale: float = 1.0,
    ignore_text_encoders: bool = False,
) -> Adapter:
    """Read an adapter that another tool wrote, for any network.

    Dialects are recognised by the keys: diffusers, peft, kohya (and LyCORIS), ai-toolkit, OneTrainer, and the original
    names of Flux. LoRA, LoCon and DoRA are read.

    Args:
        path: A .safetensors file, or a folder that holds one.
        network: The network: one of unmelt, of diffusers, or a backbone around one.
        part: The part of a model that the network is. "denoiser"; or "te1", "te2", "te3", the text encoders in the
            order of the file's names, whose part is then read and the rest is not.
        scale: How much of the change is applied.
        ignore_text_encoders: Whether to leave out what the file has for text encoders. Otherwise it is refused, since
            the adapter would not be whole.

    Returns:
        The adapter, attached to nothing yet.

    Raises:
        UsageError: If it is not an adapter, or not one of this network.
    """
    changes = read_changes(path, network, part=part, ignore_text_encoders=ignore_text_encoders)
    return adapter_of(network, changes, scale)


def read_changes(
    path: str | Path, network: nn.Module, *, part: str = DENOISER, ignore_text_encoders: bool = False
) -> Mapping[str, LayerChange]:
    """Read the changes that a file of another tool makes to a network.

    Args:
        path: A .safetensors file, or a folder that holds one.
        network: The network.
        part: The part of a model that the network is.
        ignore_text_encoders: Whether to leave out what the file has for text encoders.

    Returns:
        The changes by the layer's name.

    Raises:
        UsageError: As `read_adapter`.
    """
    file, config = _find(Path(path))
    what = str(file)
    check_size(file, network)
    tensors, metadata = read_tensors(file)
    settings: FileSettings | None
    if config is not None:
        settings = of_config(read_settings(config), str(config))
    else:
        prefixes = tuple(prefix for prefix, of_part in diffusers_dialect.DIALECT.prefixes if of_part == part)
        settings = of_metadata(metadata, prefixes, what)
    found = resolve_in(network, tensors, part=part, settings=settings, what=what)
    if found.elsewhere and part == DENOISER and not ignore_text_encoders:
        counts = ", ".join(f"{len(keys)} keys for {name} such as {keys[0]!r}" for name, keys in found.elsewhere.items())
        raise UsageError(
            f"{what} with {counts}",
            "an adapter of the denoiser alone, since text encoders are not adapted",
            "load_adapter(path, ignore_text_encoders=True)",
        )
    if not found.changes:
        raise UsageError(f"{what}, which changes nothing in {part!r}", "an adapter of this network")
    return found.changes


def write_adapter(adapter: Adapter, network: nn.Module, folder: Path, layout: Literal["peft", "diffusers"]) -> None:
    """Write an adapter in the layout of another library.

    Args:
        adapter: The adapter.
        network: Its network. Keys have the names of the network of diffusers inside, if it is around one.
        folder: Where the files go.
        layout: "peft" for adapter_config.json and adapter_model.safetensors, "diffusers" for
            pytorch_lora_weights.safetensors.

    Raises:
        UsageError: If the library has no such adapters: magnitudes of inputs, grouped convolutions; or the folder
            cannot be written to.
    """
    prefix = inner_prefix(network)
    outside = [name for name in adapter.targets if not name.startswith(prefix)]
    modules = dict(network.named_modules())
    grouped = [name for name in adapter.targets if getattr(modules[name], "groups", 1) != 1]
    for names, why in ((outside, f"outside of {prefix}"), (grouped, "a convolution with groups")):
        if names:
            raise UsageError(
                f"an adapter that changes {names[0]!r}, {why}", f"layers that {layout} can change", 'layout="unmelt"'
            )
    changes = {name.removeprefix(prefix): change for name, change in changes_of(adapter).items()}
    layers = {name.removeprefix(prefix): shape for name, shape in layers_of(network).items()}
    if layout == "peft":
        tensors = peft_dialect.tensors_of(changes, layers)
        run_folder.prepare(folder)
        write_tensors(folder / PEFT_WEIGHTS, tensors, {"format": "pt"})
        write_json(folder / PEFT_CONFIG, peft_dialect.settings_of(changes, adapter.config.dropout))
        return
    inner = network.get_submodule(prefix.removesuffix("."))
    kind = "unet." if "unet" in type(inner).__name__.lower() else "transformer."
    tensors, metadata = diffusers_dialect.file_of(changes, layers, kind)
    run_folder.prepare(folder)
    write_tensors(folder / DIFFUSERS_WEIGHTS, tensors, metadata)


def check_size(file: Path, network: nn.Module) -> None:
    """Refuse a file that is too large to be an adapter of a network.

    Args:
        file: A file that exists.
        network: The network.

    Raises:
        UsageError: If it is larger than twice the network's weights in float32 and `SPARE_BYTES`.
    """
    most = 2 * sum(4 * weight.numel() + 512 for weight in network.parameters()) + SPARE_BYTES
    if (size := file.stat().st_size) > most:
        raise UsageError(f"{file} has {size:,} bytes", f"at most {most:,} for this network", "a file of an adapter")


def read_settings(path: Path) -> dict[str, Any]:
    """Read a description in JSON.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        UsageError: If it is missing, damaged, or too large.
    """
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        about = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error})", "the file as it was saved", "a copy of it") from None
    if not isinstance(about, dict):
        raise UsageError(f"{path} holds no adapter", "the file as it was saved", "a copy of it")
    return about


def _find(path: Path) -> tuple[Path, Path | None]:
    """The file of weights, and peft's settings where there are some."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file())
        names = [each.name for each in files]
        known = [name for name in (PEFT_WEIGHTS, DIFFUSERS_WEIGHTS) if name in names]
        weights = [path / name for name in known] or [each for each in files if each.suffix == ".safetensors"]
        if not weights and (pickles := [each for each in files if each.suffix.lower() in PICKLES]):
            path = pickles[0]
        elif len(weights) != 1:
            shown = ", ".join(each.name for each in weights) or "none"
            raise UsageError(f"{path} with {len(weights)} files of weights ({shown})", "one", "the path of the file")
        else:
            path = weights[0]
    if path.suffix.lower() in PICKLES:
        raise UsageError(
            f"{path}, a pickle, which can run code when it is opened",
            "a .safetensors file",
            "convert it where it is from",
        )
    if not path.is_file():
        raise UsageError(f"there is no {path}", "a .safetensors file, or a folder that holds one")
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"{path}", "a .safetensors file, or a folder that holds one")
    config = path.parent / PEFT_CONFIG
    return path, config if path.name == PEFT_WEIGHTS and config.is_file() else None

"""The files of a diffusers checkpoint: JSON and safetensors, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unmelt import run_folder
from unmelt.errors import UsageError
from unmelt.train.atomic_files import read_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"

SHARD = re.compile(r"[\w.-]+\.safetensors")
"""Names of files that an index may list: no paths."""

LEGACY_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention tensors in checkpoints from before 2023, and their present names."""


def read_json(path: Path) -> dict[str, Any]:
    """Read the description of a network or a scheduler.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        UsageError: If it is not there, or damaged.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no {path}",
            "a folder that diffusers saved a network or a pipeline to",
            "pipeline.save_pretrained(folder)",
        )
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error})", "the file as it was saved", "a copy of it") from None


def fill(network: nn.Module, folder: Path) -> None:
    """Load the weights in a network's folder, in one file or in several.

    Args:
        network: The network, made of the folder's description.
        folder: The folder.

    Raises:
        UsageError: If there are none as safetensors, or they do not fit the network.
    """
    most = run_folder.most_bytes(network.state_dict())
    names = "|".join(LEGACY_NAMES)
    weights: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        if path.stat().st_size > most:
            raise UsageError(
                f"{path} has {path.stat().st_size:,} bytes", f"at most the {most:,} that its config.json describes", ""
            )
        weights |= read_tensors(path)[0]
    weights = {
        re.sub(rf"(attentions\.\d+)\.({names})\.", lambda m: f"{m[1]}.{LEGACY_NAMES[m[2]]}.", name): value
        for name, value in weights.items()
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"{folder / WEIGHTS} does not fit the network that config.json describes ({str(error).splitlines()[0]})",
            "both files as they were saved together",
            "a copy of them",
        ) from None


def _weight_files(folder: Path) -> list[Path]:
    """The files of a network's weights: one, or those that an index lists; or else the only ones of a variant."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (index := folder / f"{WEIGHTS}.index.json").is_file():
        files = read_json(index).get("weight_map")
        listed = sorted(set(map(str, files.values()))) if isinstance(files, dict) else []
        if listed and all(SHARD.fullmatch(each) and (folder / each).is_file() for each in listed):
            return [folder / each for each in listed]
        missing = next((each for each in listed if not (folder / each).is_file()), "files of weights beside it")
        raise UsageError(f"{index} lists {missing!r}", "files beside it, all of them", "a whole copy of the folder")
    variants = sorted(folder.glob("diffusion_pytorch_model.*.safetensors"))
    if len(variants) == 1:
        return variants
    raise UsageError(
        f"there is no {folder / WEIGHTS}",
        "weights as safetensors; a pickle (.bin) is never opened",
        "pipeline.save_pretrained(folder, safe_serialization=True)",
    )

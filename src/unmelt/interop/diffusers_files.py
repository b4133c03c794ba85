"""The files of a diffusers checkpoint: JSON and safetensors, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from unmelt import run_folder
from unmelt.errors import UsageError
from unmelt.train.atomic_files import read_tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"

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
    """Load the weights in a network's folder.

    Args:
        network: The network, made of the folder's description.
        folder: The folder.

    Raises:
        UsageError: If there are none as safetensors, or they do not fit the network.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"there is no {path}",
            "weights as safetensors; a pickle (.bin) is never opened",
            "pipeline.save_pretrained(folder, safe_serialization=True)",
        )
    most = run_folder.most_bytes(network.state_dict())
    if path.stat().st_size > most:
        raise UsageError(
            f"{path} has {path.stat().st_size:,} bytes", f"at most the {most:,} that its config.json describes", ""
        )
    weights, _ = read_tensors(path)
    names = "|".join(LEGACY_NAMES)
    weights = {
        re.sub(rf"(attentions\.\d+)\.({names})\.", lambda m: f"{m[1]}.{LEGACY_NAMES[m[2]]}.", name): value
        for name, value in weights.items()
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"{path} does not fit the network that config.json describes ({str(error).splitlines()[0]})",
            "both files as they were saved together",
            "a copy of them",
        ) from None

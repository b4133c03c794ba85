"""What to compute on."""

import resource
import sys

import torch

from unmelt.errors import UsageError


def device_named(name: str | torch.device) -> torch.device:
    """A device to compute on; "auto" is a GPU where there is one."""
    known = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    name = str(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in known and not (name == "cuda" and torch.cuda.is_available()):
        raise UsageError(f"device {name!r}", f"one of {', '.join(known)}", "--device cpu")
    return torch.device(name)


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use: of the GPU's memory, or else of this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

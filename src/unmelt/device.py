"""Devices to compute on, and the memory in use on them."""

import sys

import torch

from unmelt.errors import UsageError


def device_named(name: str | torch.device) -> torch.device:
    """The torch device of this name.

    Args:
        name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" and so on, or a torch device.

    Returns:
        The device.

    Raises:
        UsageError: If this machine has no such device.
    """
    known = ["auto", "cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    known += ["mps"] if torch.backends.mps.is_available() else []
    name = str(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in known and not (name == "cuda" and torch.cuda.is_available()):
        raise UsageError(f"device {name!r}", f"one of {', '.join(known)}", "device='cpu'")
    return torch.device(name)


def peak_memory(device: torch.device) -> int:
    """Peak memory use so far.

    Args:
        device: A GPU, for the memory that torch has allocated on it; else the memory of this process is measured.

    Returns:
        Bytes; 0 for the process on systems that do not say, such as Windows.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # only Unix has it
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

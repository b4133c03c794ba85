"""What to compute on."""

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

"""Which kind of object each part of a model is."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from unmelt.control import Control
from unmelt.encoder import TextEncoder
from unmelt.planner import Planner
from unmelt.sampler import Grid, Sampler
from unmelt.train import Training


def check_kinds(parts: Mapping[str, Any], codec: type) -> None:
    """Refuse what is not of its kind, such as a number in place of a codec.

    Args:
        parts: What was built of a description, by role.
        codec: The interface of the codec.

    Raises:
        TypeError: If there is one; names it.
    """
    kinds: dict[str, Any] = {"denoiser": nn.Module, "codec": codec, "grid": Grid}
    optional: dict[str, Any] = {"sampler": Sampler, "encoder": TextEncoder, "planner": Planner}
    optional |= {"control": Control, "training": Training}
    for name, part in parts.items():
        if part is None and name not in kinds:
            continue
        kind = (kinds | optional).get(name)
        right = isinstance(part, kind) if kind else hasattr(part, "name") if name == "modality" else callable(part)
        if not right:
            raise TypeError(f"{part!r} as its {name}")

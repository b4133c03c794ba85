"""Students that are flow maps, made of a teacher's network.

The network gets two more inputs, the noise level that a jump arrives at and, if it is to learn guidance, its scale.
Both enter with weights 0, so that at first every jump is made with the teacher's belief: a step of DDIM. The student of
a `ResidualDenoiser` begins with the jump of the teacher's base, corrected as the teacher corrects the base's belief.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from unmelt.denoiser import FlowMap, NetworkDenoiser, ResidualDenoiser, ResidualFlowMap
from unmelt.errors import UsageError
from unmelt.rng import seeded

ADDED = (".arrival.", ".guidance.")
"""In the names of the weights that read what a flow map is given beyond a denoiser."""


def flow_map_of(
    teacher: nn.Module, guidance_range: Sequence[float] | None, is_denoiser: bool, fresh: bool = False
) -> FlowMap | ResidualFlowMap:
    """A flow map that begins as its teacher.

    Args:
        teacher: The teacher's denoiser; a flow map is copied.
        guidance_range: (low, high), guidance scales that it is to learn; None for none.
        is_denoiser: Whether it will learn jumps of no length, so that its belief can be asked for.
        fresh: Whether it begins with initial weights in place of the teacher's.

    Returns:
        The flow map.

    Raises:
        UsageError: If the teacher has no network of this library that takes the time of arrival as an input.
    """
    if not isinstance(teacher, FlowMap | NetworkDenoiser | ResidualDenoiser | ResidualFlowMap):
        raise UsageError(
            f"a {type(teacher).__name__} as the teacher of a flow map",
            "a denoiser of numbers with a network of its own",
            "um.denoiser.NetworkDenoiser(...)",
        )
    backbone = with_jumps(teacher.backbone, guidance_range is not None, fresh)
    common: dict[str, Any] = {"guidance_range": guidance_range, "is_denoiser": is_denoiser}
    if isinstance(teacher, ResidualDenoiser | ResidualFlowMap):
        base = copy.deepcopy(teacher.base)
        made: Any = ResidualFlowMap(backbone, base, teacher.data_sd, teacher.residual_sd, **common)
    else:
        made = FlowMap(backbone, teacher.process, teacher.prediction, teacher.shape, teacher.data_sd, **common)
    return made.to(next(teacher.parameters()).dtype)


def with_jumps(backbone: nn.Module, guidance: bool, fresh: bool = False) -> nn.Module:
    """A copy of a network that also takes an arrival level and a guidance scale, which change nothing yet.

    Args:
        backbone: A network of `unmelt.backbone`, or one of your own that takes `with_arrival` and `with_guidance` and
            keeps each argument of its constructor as an attribute.
        guidance: Whether it is to take a guidance scale.
        fresh: Whether it is to have initial weights in place of the same ones.

    Returns:
        The copy.

    Raises:
        UsageError: If the network takes no arrival level.
    """
    parameters, name = inspect.signature(type(backbone)).parameters, type(backbone).__name__
    needed = {"with_arrival": True, "with_guidance": guidance}
    if missing := [each for each in needed if each not in parameters]:
        raise UsageError(
            f"a student with a {name}, which has no argument {missing[0]}",
            "a network that can be told where a jump goes, and how strongly it is guided",
            "um.backbone.DiT, UNet, MLP or FrameTransformer",
        )
    with seeded(0):
        made = type(backbone)(**{each: getattr(backbone, each) for each in parameters} | needed)
    weights = {key: value.detach() for key, value in backbone.state_dict().items()}
    with torch.no_grad():
        for key, value in made.state_dict().items():
            if key in weights and not fresh:
                value.copy_(weights[key])
            elif any(part in key for part in ADDED):
                value.zero_()
    return made

"""What a model of latents reads while it is trained: its data encoded once, where that is possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unmelt.control import Control
from unmelt.data import Arrays, AspectRatioBuckets, Controlled, Encoded, Source, encoded
from unmelt.model.stored import TrainingData


def latent_data(codec: Any, source: Source, held_out: Source | None, device: torch.device) -> TrainingData:
    """Encode finite data by a codec that has weights. Other data go through the codec batch by batch.

    Args:
        codec: The codec.
        source: The training data.
        held_out: Held-out data; None for none.
        device: Where the codec computes.

    Returns:
        What training reads.
    """
    finite = (Arrays, AspectRatioBuckets)
    is_finite = isinstance(source, finite) and (held_out is None or isinstance(held_out, finite))
    if not isinstance(codec, nn.Module) or not is_finite:
        return TrainingData(source, held_out, codec)
    coder: Any = codec.to(device)

    @torch.no_grad()
    def encode(x: Tensor) -> Tensor:
        latents: Tensor = coder.encode(x.to(device))
        return latents

    weights = codec.state_dict()

    def latents(part: Arrays) -> Encoded:
        return encoded(part, encode, weights, coder.latent_shape(part.shape))

    def all_of(data: Any) -> Source:
        return data.changed(latents) if isinstance(data, AspectRatioBuckets) else latents(data)

    return TrainingData(all_of(source), None if held_out is None else all_of(held_out), None)


def with_control_pictures(data: TrainingData, control: Control) -> TrainingData:
    """What training reads, each picture with a control picture of itself.

    Args:
        data: What training reads, as pictures in [0, 1].
        control: Computes the control pictures.

    Returns:
        The same with control pictures as context.
    """
    held_out = None if data.held_out is None else Controlled(data.held_out, control)
    return data._replace(source=Controlled(data.source, control), held_out=held_out)

"""What a model of latents reads while it is trained: its data encoded once, where that is possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unmelt.data import Arrays, Source, encoded
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
    if not isinstance(codec, nn.Module) or not isinstance(source, Arrays) or not isinstance(held_out, Arrays | None):
        return TrainingData(source, held_out, codec)
    coder: Any = codec.to(device)

    @torch.no_grad()
    def encode(x: Tensor) -> Tensor:
        latents: Tensor = coder.encode(x.to(device))
        return latents

    weights, shape = codec.state_dict(), coder.latent_shape(source.shape)
    return TrainingData(
        encoded(source, encode, weights, shape),
        None if held_out is None else encoded(held_out, encode, weights, shape),
        None,
    )

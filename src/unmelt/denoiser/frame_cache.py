"""Frames that are final are read once: causal frames after them attend to cached keys and values.

    known = read_frames(denoiser, past, t, condition)      the keys and values of past frames, as a condition
    belief = denoiser(x_t, s, known)                       about the frames after them

With causal attention neither keys nor values of a frame depend on frames after it, so that the belief is the same as in
a call with all frames. What was read is part of the condition: samplers, guidance and batches of rows at different
frames need to know nothing of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.backbone.frame_transformer import FRAME_KV, FRAMES_READ
from unmelt.condition import Condition
from unmelt.denoiser.network import coefficients
from unmelt.errors import UsageError


@torch.no_grad()
def read_frames(
    denoiser: Any, x_t: Float[Tensor, "rows frames *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None
) -> Condition:
    """Read frames that will not change any more.

    Args:
        denoiser: A `NetworkDenoiser` whose backbone is a causal `FrameTransformer`.
        x_t: [rows, frames, *shape], the frames, after those that were read before.
        t: [rows] or [rows, frames], times at which they stand: 0 for clean ones.
        condition: What is known of each row and of these frames, and what an earlier call returned.

    Returns:
        The condition with what was read, for the frames that follow. Its vector is that of these frames where it has
        one for each frame, and is to be replaced by that of the next.

    Raises:
        UsageError: If the network keeps no keys and values, or has no room for so many frames.
    """
    backbone = getattr(denoiser, "backbone", None)
    if not hasattr(backbone, "keys_and_values"):
        raise UsageError(
            f"a cache of frames for a {type(denoiser).__name__}",
            "a network denoiser whose backbone attends causally to frames",
            "NetworkDenoiser(FrameTransformer(is_causal=True, ...), ...)",
        )
    c_in, level, _, _ = coefficients(
        denoiser.prediction, denoiser.process.schedule, denoiser.data_sd, t, x_t.dtype, x_t.ndim
    )
    network: Any = backbone
    fresh = network.keys_and_values(x_t * c_in, level, condition)
    known = condition or Condition()
    done = known.extra.get(FRAMES_READ, torch.zeros(len(x_t), dtype=torch.int64, device=x_t.device))
    kv = known.extra.get(FRAME_KV)
    if kv is None:
        kv = fresh.new_zeros(*fresh.shape[:4], network.frames, fresh.shape[5])
    slots = (done[:, None] + torch.arange(x_t.shape[1], device=x_t.device))[:, None, None, None, :, None]
    kv = kv.scatter(4, slots.expand_as(fresh), fresh)
    extra: Mapping[str, Tensor] = {**known.extra, FRAME_KV: kv, FRAMES_READ: done + x_t.shape[1]}
    return replace(known, extra=extra, kept=tuple(dict.fromkeys((*known.kept, FRAME_KV, FRAMES_READ))))

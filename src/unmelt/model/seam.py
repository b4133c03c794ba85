"""The border between known and new pixels, where an encoder and a decoder see both.

An encoder sees a neighbourhood of each place. Masked pixels are therefore filled from the pixels around them before
they are encoded, so that nothing of what they were comes through. A decoder does not give back the picture it was
given. Where known pixels end, its error there is carried on into the new ones, over about one place, so that no seam
is seen.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def filled(
    x: Float[Tensor, "rows channels h w"], known: Bool[Tensor, "rows 1 h w"]
) -> Float[Tensor, "rows channels h w"]:
    """Pictures whose unknown pixels are the mean of the known ones around them, at the finest scale that has some.

    Args:
        x: [rows, channels, height, width].
        known: [rows, 1, height, width], True where pixels are known.

    Returns:
        [rows, channels, height, width]: `x` where it is known; 0 in a row of which nothing is known.
    """
    return _filled(torch.where(known, x, 0.0), known.to(x.dtype))


def _filled(x: Tensor, known: Tensor) -> Tensor:
    if known.all() or max(x.shape[-2:]) == 1:
        return x
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(x * known, 2, ceil_mode=True) / share.clamp_min(torch.finfo(x.dtype).tiny)
    coarse = _filled(mean, (share > 0).to(x.dtype))
    around = F.interpolate(coarse, scale_factor=2.0)[..., : x.shape[-2], : x.shape[-1]]
    return torch.where(known > 0, x, around)


def without_seam(
    made: Float[Tensor, "rows channels h w"],
    x: Float[Tensor, "rows channels h w"],
    known: Bool[Tensor, "rows 1 h w"],
    width: float,
) -> Float[Tensor, "rows channels h w"]:
    """Decoded pictures, corrected near known pixels by what decoding got wrong of those.

    Args:
        made: [rows, channels, height, width], decoded.
        x: [rows, channels, height, width], the pictures.
        known: [rows, 1, height, width], True where pixels are known.
        width: Pixels over which the correction falls to nothing.

    Returns:
        [rows, channels, height, width], in [0, 1].
    """
    reach = max(1, round(width))
    at = torch.arange(-reach, reach + 1, dtype=x.dtype)
    bell = torch.exp(-0.5 * (2 * at / width) ** 2)
    bell /= bell.sum()
    kernel, beside_edge = (bell[:, None] * bell)[None, None], bell[reach + 1 :].sum()

    def blurred(values: Tensor) -> Tensor:
        return F.conv2d(values.flatten(0, 1)[:, None], kernel, padding=reach).view_as(values)

    weight = blurred(known.to(x.dtype))
    error = blurred((x - made) * known) / weight.clamp_min(torch.finfo(x.dtype).eps)
    return (made + error * (weight / beside_edge).clamp_max(1)).clamp(0, 1)

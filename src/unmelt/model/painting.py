"""Painting in pictures: what a mask covers is made anew, given the rest (inpainting), on a larger canvas (outpainting).

    new     = a place of the model's grid of which any pixel is masked
    belief  = new ? E[x0 | x_t, known] : the encoded picture
    result  = (1 - mask) picture + mask decoded

E[x0 | x_t, known] is that of `DPS`, with known values that have no noise. Every step is taken again after fresh noise
(`Restart`; RePaint: Lugmayr et al., 2022), which corrects much of what the approximation leaves. bench/inpainting.py
compares this with the exact conditional law, and with other methods. Tokens need neither: a masked model believes the
conditional law itself.

An encoder sees a neighbourhood of each place. Masked pixels are therefore filled from the pixels around them before
they are encoded, so that nothing of what they were comes through. A decoder does not give back the picture it was
given. Where known pixels end, its error there is carried on into the new ones, over about one place, so that no seam
is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.arguments.values import shown
from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.inverse import DPS, Masking, Replacement
from unmelt.modality import Images
from unmelt.model.data_rows import PILImage
from unmelt.model.picture_size import latent_shape, takes_any_size
from unmelt.model.request import SampleRequest, Start
from unmelt.sampler import Ancestral, Restart

if TYPE_CHECKING:
    from unmelt.model.picture_verbs import PictureVerbs


SHRINKAGE = 4.0
"""See `DPS`. It matters where a few numbers are known: of one pixel alone, the spread is 9 times too large without."""

RESAMPLES = 1
"""How often each step is taken again."""


def check_pictures(model: PictureVerbs, verb: str) -> None:
    """Refuse a model of other data than images.

    Args:
        model: The model.
        verb: What was called.

    Raises:
        UsageError: If it is no model of images.
    """
    if not isinstance(model.modality, Images):
        raise UsageError(
            f"model.{verb} of a model of {model.modality.name}",
            "a model of images; known numbers of other data are held by a wrapping",
            "model.sample(16, guidance=lambda denoiser: um.inverse.Replacement(denoiser, values, known))",
        )


def mask_rows(mask: Any, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows 1 h w"]:
    """A mask as users give it, for each picture: from 0, where the picture stays, to 1, where it is made anew.

    Args:
        mask: [rows, height, width], [rows, 1, height, width], [1, height, width] or [height, width]: booleans, numbers
            in [0, 1] or bytes, in a tensor, an array, lists or an image of PIL.
        x: [rows, channels, height, width], the pictures.

    Returns:
        [rows, 1, height, width].

    Raises:
        UsageError: If it holds no such numbers, or is of another size than the pictures.
    """
    high, wide = x.shape[-2:]
    example = f"torch.ones({high}, {wide}, dtype=torch.bool)"
    try:
        given = np.array(mask.convert("L")) if isinstance(mask, PILImage) else mask
        found = (given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"mask={shown(mask)}", "a mask of the pictures' size, 1 where they are made anew", example
        ) from None
    if found.is_complex():
        raise UsageError(f"mask={shown(mask)}", "real numbers from 0 to 1", example)
    is_bytes = found.dtype == torch.uint8 and found.numel() > 0 and int(found.max()) > 1
    found = found.float() / 255 if is_bytes else found.float()
    shape = tuple(found.shape)
    found = found[None] if found.ndim == 2 else found[:, 0] if found.ndim == 4 and found.shape[1] == 1 else found
    if found.ndim != 3 or tuple(found.shape[1:]) != (high, wide) or len(found) not in (1, len(x)):
        needed = f"one mask of {high} x {wide} pixels, or one for each of {len(x)} pictures"
        raise UsageError(f"a mask of shape {shape} for pictures of shape {tuple(x.shape)}", needed, example)
    if not ((found >= 0) & (found <= 1)).all():  # which nan is not
        least, most = found.min().item(), found.max().item()
        needed = "numbers from 0 (stays) to 1 (is made anew)"
        raise UsageError(f"a mask from {least:.4g} to {most:.4g}", needed, "mask / mask.max()")
    return found.expand(len(x), -1, -1)[:, None]


def inpaint(
    model: PictureVerbs,
    x: Float[Tensor, "rows channels h w"],
    mask: Float[Tensor, "rows 1 h w"],
    request: SampleRequest,
    strength: float,
    resamples: int,
) -> Float[Tensor, "rows channels h w"]:
    """Pictures with what is masked made anew, given the rest.

    Args:
        model: A model of images.
        x: [rows, channels, height, width], in data space.
        mask: [rows, 1, height, width], from 0 to 1.
        request: What is asked for, a row for each picture.
        strength: The time to which what is masked is noised, above 0 and at most 1: there it is made from nothing.
        resamples: How often each step is taken again.

    Returns:
        [rows, channels, height, width], on the CPU; exactly `x` where the mask is 0.

    Raises:
        UsageError: If the model is a student that jumps, or a number is out of its range.
    """
    if resamples < 0:
        raise UsageError(f"resamples={resamples}", "a whole number, 0 for none", f"resamples={RESAMPLES}")
    x = x.cpu()
    request = replace(request, start=_start(model, x, strength))
    with torch.no_grad():
        z = torch.cat([model.codec.encode(part.to(model.device)) for part in filled(x, mask == 0).split(model.CHUNK)])
    new = F.adaptive_max_pool2d(mask, z.shape[-2:]) > 0
    known = ~(new[:, 0] if model.of_tokens else new.expand(z.shape)).to(z.device)
    changed = (mask > 0).flatten(1).any(1)
    if (changed & known.flatten(1).any(1).cpu()).any():
        _check_can_hold(model)
    kinds = [(bool(each), bool(some)) for each, some in zip(changed, known.flatten(1).any(1), strict=True)]
    parts = []
    for (is_changed, some_known), run in groupby(range(len(x)), key=kinds.__getitem__):
        first, *_ = at = list(run)
        rows = slice(first, first + len(at))
        made = x[rows]
        if is_changed and not some_known:
            made = model.sample_request(request[rows])
        elif is_changed:
            made = _given_known(model, request[rows], z[rows], known[rows], resamples)
        if is_changed and z.shape[-2:] != x.shape[-2:]:
            made = without_seam(made, x[rows], mask[rows] == 0, x.shape[-1] / z.shape[-1])
        parts.append(torch.lerp(x[rows], made, mask[rows]))
    return torch.cat(parts)


def outpaint(
    model: PictureVerbs,
    x: Float[Tensor, "rows channels h w"],
    sides: Sequence[int],
    request: SampleRequest,
    resamples: int,
) -> Float[Tensor, "rows channels high wide"]:
    """Pictures with more around them, made in one piece on a larger canvas.

    Args:
        model: A model of images whose network takes any size.
        x: [rows, channels, height, width], in data space.
        sides: Pixels to add: left, right, top, bottom.
        request: What is asked for, a row for each picture.
        resamples: How often each step is taken again.

    Returns:
        [rows, channels, top + height + bottom, left + width + right]; the picture itself is exactly `x`.

    Raises:
        UsageError: If the network takes only one size, or not this one.
    """
    if min(sides) < 0 or max(sides) == 0:
        said = ", ".join(f"{name}={n}" for name, n in zip(("left", "right", "top", "bottom"), sides, strict=True))
        raise UsageError(f"outpaint with {said}", "pixels to add on one side or more, none below 0", "right=8")
    if not takes_any_size(model):
        size = "x".join(map(str, x.shape[-2:]))
        raise UsageError(
            f"model.outpaint of a model whose network takes pictures of {size} pixels alone",
            "a network that takes any size: UNet or JointDiT; or a picture moved within its frame, and a mask",
            "model.inpaint(torch.roll(x, -4, dims=-1), mask)",
        )
    canvas = F.pad(x.cpu(), tuple(sides))
    mask = F.pad(torch.zeros(len(x), 1, *x.shape[-2:]), tuple(sides), value=1.0)
    latent_shape(model, canvas.shape[-2:])
    return inpaint(model, canvas, mask, request, 1.0, resamples)


def _start(model: PictureVerbs, x: Tensor, strength: float) -> Start | None:
    """What is noised to begin with; None to begin with noise alone."""
    if not 0 < strength <= 1:
        raise UsageError(f"strength={strength}", "above 0 (nothing changed) and at most 1 (all anew)", "strength=0.5")
    if strength < 1 and model.of_tokens:
        raise UsageError(
            f"a mask and strength={strength} for a model of tokens", "tokens made from nothing", "strength=1.0"
        )
    return Start(x=x, strength=strength) if strength < 1 else None


def hold(
    denoiser: Denoiser, z: Float[Tensor, "rows *shape"], known: Bool[Tensor, "rows *shape"], data_sd: float = 1.0
) -> Denoiser:
    """A denoiser that is certain of known values, and believes the rest as DPS does given them.

    Args:
        denoiser: The denoiser, guided.
        z: [rows, *shape], values where they are known.
        known: [rows, *shape], True where they are known.
        data_sd: Standard deviation of the data.

    Returns:
        The denoiser.
    """
    count = known[0].numel()
    share = (known.flatten(1).sum(1) + SHRINKAGE) / (count + SHRINKAGE)  # of what DPS averages, which are not just 0
    settings: Any = {"strength": share.double(), "shrinkage": SHRINKAGE, "data_sd": data_sd}
    given = DPS(denoiser, Masking(known), torch.where(known, z, 0.0), 0.0, **settings)
    return Replacement(given, z, known)


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


def _given_known(
    model: PictureVerbs,
    request: SampleRequest,
    z: Shaped[Tensor, "rows *shape"],
    known: Bool[Tensor, "rows *shape"],
    resamples: int,
) -> Float[Tensor, "rows channels h w"]:
    """Decoded samples of rows of which some is known, but not all."""
    if model.of_tokens:
        tokens = torch.where(known, z, -1)
        return model.sample_request(
            replace(request, condition=replace(request.condition or Condition(), known_tokens=tokens))
        )
    request = replace(request, sampler=Restart(Ancestral(), times=resamples))
    most = request.rows if callable(request.guidance) else model.CHUNK  # a function may hold a value for each row
    parts = []
    for first in range(0, request.rows, most):
        rows = slice(first, first + most)
        transform = partial(hold, z=z[rows], known=known[rows], data_sd=getattr(model.denoiser, "data_sd", 1.0))
        parts.append(model.sample_request(replace(request[rows], transforms=(*request.transforms, transform))))
    return torch.cat(parts)


def _check_can_hold(model: PictureVerbs) -> None:
    """Refuse a model that cannot hold known values."""
    if hasattr(model.denoiser, "jump"):
        raise UsageError(
            "a student that jumps, which cannot be told what is known",
            "the model that it was distilled from",
            "teacher.inpaint(x, mask)",
        )

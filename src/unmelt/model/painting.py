"""Painting in pictures: what a mask covers is made anew, given the rest (inpainting), on a larger canvas (outpainting).

    new     = a place of the model's grid of which any pixel is masked
    belief  = new ? E[x0 | x_t, known] : the encoded picture
    result  = (1 - mask) picture + mask decoded

E[x0 | x_t, known] is that of `DPS`, with known values that have no noise. Every step is taken again after fresh noise
(`Restart`; RePaint: Lugmayr et al., 2022), which corrects much of what the approximation leaves. bench/inpainting.py
compares this with the exact conditional law, and with other methods. Tokens need neither: a masked model believes the
conditional law itself.

Where an encoder and a decoder see known and new pixels at once, `seam` separates them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.inverse import DPS, Masking, Replacement
from unmelt.modality import Images
from unmelt.model.picture_size import check_sides, latent_shape, takes_any_size
from unmelt.model.request import SampleRequest, Start
from unmelt.model.seam import filled, without_seam
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


class PaintedRows(NamedTuple):
    """Some of the pictures, and how they are made.

    Args:
        request: What is sampled for them; None where nothing of them is new.
        finish: From the samples of the request, or None, to the pictures [rows, channels, height, width].
    """

    request: SampleRequest | None
    finish: Callable[[Tensor | None], Tensor]


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
    parts = painted_rows(model, x, mask, request, strength, resamples)
    return torch.cat([finish(None if asked is None else model.sample_request(asked)) for asked, finish in parts])


def painted_rows(
    model: PictureVerbs,
    x: Float[Tensor, "rows channels h w"],
    mask: Float[Tensor, "rows 1 h w"],
    request: SampleRequest,
    strength: float,
    resamples: int,
) -> list[PaintedRows]:
    """What `inpaint` samples, and what it makes of the samples.

    Args:
        model: As for `inpaint`, like all that follow.
        x: [rows, channels, height, width], in data space.
        mask: [rows, 1, height, width], from 0 to 1.
        request: What is asked for, a row for each picture.
        strength: The time to which what is masked is noised.
        resamples: How often each step is taken again.

    Returns:
        The pictures in order, in runs of those that are made alike.

    Raises:
        UsageError: As for `inpaint`.
    """
    if resamples < 0:
        raise UsageError(f"resamples={resamples}", "a whole number, 0 for none", f"resamples={RESAMPLES}")
    x = x.cpu()
    request = replace(request, start=_start(model, x, strength))
    with torch.no_grad():
        z = torch.cat([model.codec.encode(part.to(model.device)) for part in filled(x, mask == 0).split(model.CHUNK)])
    if z.shape[1:] != model.denoiser.shape:  # of a larger canvas
        request = replace(request, shape=tuple(z.shape[1:]))
    new = F.adaptive_max_pool2d(mask, z.shape[-2:]) > 0
    known = ~(new[:, 0] if model.of_tokens else new.expand(z.shape)).to(z.device)
    changed = (mask > 0).flatten(1).any(1)
    if (changed & known.flatten(1).any(1).cpu()).any():
        _check_can_hold(model)
    place = x.shape[-1] / z.shape[-1] if z.shape[-2:] != x.shape[-2:] else None
    kinds = [(bool(each), bool(some)) for each, some in zip(changed, known.flatten(1).any(1), strict=True)]
    parts = []
    for (is_changed, some_known), run in groupby(range(len(x)), key=kinds.__getitem__):
        first, *_ = at = list(run)
        most = len(at) if callable(request.guidance) else model.CHUNK  # a function may hold a value for each row
        for begin in range(first, first + len(at), most):
            rows = slice(begin, min(begin + most, first + len(at)))
            asked = request[rows] if is_changed else None
            if asked is not None and some_known:
                asked = _given_known(model, asked, z[rows], known[rows], resamples)
            parts.append(PaintedRows(asked, partial(_composed, x[rows], mask[rows], place)))
    return parts


def _composed(
    x: Float[Tensor, "rows channels h w"],
    mask: Float[Tensor, "rows 1 h w"],
    place: float | None,
    made: Float[Tensor, "rows channels h w"] | None,
) -> Float[Tensor, "rows channels h w"]:
    """The pictures with what was made where the mask is; `place` is the width in pixels of a place of latents."""
    if made is None:
        return x
    if place is not None:
        made = without_seam(made, x, mask == 0, place)
    return torch.lerp(x, made, mask)


def outpaint(
    model: PictureVerbs,
    x: Float[Tensor, "rows channels h w"],
    sides: Sequence[int],
    request: SampleRequest,
    resamples: int,
) -> Float[Tensor, "rows channels high wide"]:
    """Pictures continued beyond their edges, made in one piece on a larger canvas.

    Args:
        model: A model of images whose network takes any size.
        x: [rows, channels, height, width], in data space.
        sides: Pixels to add: left, right, top, bottom.
        request: What is asked for, a row for each picture.
        resamples: How often each step is taken again.

    Returns:
        [rows, channels, top + height + bottom, left + width + right]; the picture itself is exactly `x`.

    Raises:
        UsageError: If the network takes only one size, or not this one, or a side is too long.
    """
    if min(sides) < 0 or max(sides) == 0:
        given = ", ".join(f"{name}={n}" for name, n in zip(("left", "right", "top", "bottom"), sides, strict=True))
        raise UsageError(f"outpaint with {given}", "pixels to add on one side or more, none below 0", "right=8")
    if not takes_any_size(model):
        own = "x".join(map(str, x.shape[-2:]))
        raise UsageError(
            f"model.outpaint of a model whose network takes pictures of {own} pixels alone",
            "a network that takes any size: UNet, JointDiT or DiT(any_size=True); "
            "or a picture moved within its frame, and a mask",
            "model.inpaint(torch.roll(x, -4, dims=-1), mask)",
        )
    left, right, top, bottom = sides
    size = top + x.shape[-2] + bottom, left + x.shape[-1] + right
    check_sides(size, f"right={x.shape[-1]}")
    latent_shape(model, size)
    canvas = F.pad(x.cpu(), tuple(sides))
    mask = F.pad(torch.zeros(len(x), 1, *x.shape[-2:]), tuple(sides), value=1.0)
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


def _given_known(
    model: PictureVerbs,
    request: SampleRequest,
    z: Shaped[Tensor, "rows *shape"],
    known: Bool[Tensor, "rows *shape"],
    resamples: int,
) -> SampleRequest:
    """The request for rows of which some is known, but not all."""
    if model.of_tokens:
        tokens = torch.where(known, z, -1)
        return replace(request, condition=replace(request.condition or Condition(), known_tokens=tokens))
    transform = partial(hold, z=z, known=known, data_sd=getattr(model.denoiser, "data_sd", 1.0))
    return replace(request, sampler=Restart(Ancestral(), times=resamples), transforms=(*request.transforms, transform))


def _check_can_hold(model: PictureVerbs) -> None:
    """Refuse a model that cannot hold known values."""
    if hasattr(model.denoiser, "jump"):
        raise UsageError(
            "a student that jumps, which takes no known values",
            "the model that it was distilled from",
            "teacher.inpaint(x, mask)",
        )

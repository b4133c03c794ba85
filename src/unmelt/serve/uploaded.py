"""Pictures that clients send: files of pictures to edit and of masks, and control pictures in base64.

Decoders raise anything at anything; a client is told which of its pictures cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import torch
from fastapi import Request
from fastapi.routing import APIRoute
from jaxtyping import Float
from PIL import Image, ImageOps
from starlette.datastructures import FormData
from starlette.responses import Response
from torch import Tensor

from unmelt.data.crop import cropped, reason
from unmelt.model import Model
from unmelt.model.picture_size import picture_shape
from unmelt.serve.api_error import APIError

MOST_SIDE = 4096
"""Pixels of the longest side of a picture."""

UNLIMITED = 2**40
"""Bytes of a text in a form: bodies have their own limit."""

Control: TypeAlias = str | Mapping[str, str | None] | None
"""A PNG in base64, or of a model with several controls, these by the control's name."""

ControlScale: TypeAlias = float | Mapping[str, float] | None
"""How much of a control is added; or these by the control's name."""


def pixels_of(model: Model, content: bytes) -> Float[Tensor, "one channels height width"]:
    """A picture to edit, cropped and resized to the model's size.

    Args:
        model: The model.
        content: The file.

    Returns:
        [1, channels, height, width], in [0, 1].

    Raises:
        APIError: If it is no picture, or too large.
    """
    _opened(content, "image")
    return _cropped(content, picture_shape(model), "image")


def mask_of(model: Model, content: bytes, picture: bytes) -> Float[Tensor, "height width"]:
    """A mask: 1 where a picture is made anew, which is where it is transparent, or white if it has no alpha.

    Args:
        model: The model.
        content: The mask's file.
        picture: The file of the picture, which has as many pixels.

    Returns:
        [height, width], of the model's size.

    Raises:
        APIError: If one of them cannot be read, or their sizes differ.
    """
    image, size = _opened(content, "mask"), _opened(picture, "image").size
    if image.size != size:
        pair = " and a picture of ".join(f"{wide} x {high}" for wide, high in (image.size, size))
        raise APIError(400, f"a mask of {pair} pixels, which must be equal", "mask", "invalid_image")
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    try:
        grey = 255 - np.asarray(image.convert("RGBA"))[:, :, 3] if has_alpha else np.asarray(image.convert("L"))
    except Exception as error:
        raise _unreadable("mask", error) from None
    plain = io.BytesIO()
    Image.fromarray(grey).save(plain, "PNG")
    return _cropped(plain.getvalue(), (1, *picture_shape(model)[1:]), "mask")[0, 0]


def control_of(model: Model, control: Control, scale: ControlScale) -> dict[str, Any]:
    """The control pictures of a body, as arguments of `model.request`.

    Args:
        model: The model.
        control: The pictures.
        scale: Their scales. None: 1.

    Returns:
        `control` and `control_scale`; empty where there are none.

    Raises:
        APIError: If the model has no such control, or something is no picture.
    """
    if control is None and scale is None:
        return {}
    known = model.control_names
    if control is None or not known:
        said = "control_scale without a control" if control is None else "this model follows no control pictures"
        raise APIError(400, said, "control", "invalid_value")
    if isinstance(control, str):
        found: Any = _decoded(control, "control")
    else:
        found = {name: None if each is None else _decoded(each, f"control.{name}") for name, each in control.items()}
    for param, given in (("control", control), ("control_scale", scale)):
        if odd := [name for name in given if name not in known] if isinstance(given, Mapping) else []:
            raise APIError(400, f"no control {odd[0]!r}; there are: {', '.join(known)}", param, "invalid_value")
    return {"control": found, "control_scale": scale}


def controls_in(form: FormData) -> dict[str, Any]:
    """The control pictures and their scales in a form, as a body in JSON would have them.

    A field `control` holds one in base64. The fields `control[name]` hold several, as OpenAI's clients send objects; so
    does a field `control` with an object in JSON. Scales are sent likewise.

    Args:
        form: The form.

    Returns:
        `control` and `control_scale`; None for what is not there.

    Raises:
        APIError: If a field is a file, or begins an object and is none.
    """
    return {name: _field(form, name) for name in ("control", "control_scale")}


def _field(form: FormData, name: str) -> Any:
    fields = [(key, value) for key, value in form.multi_items() if key.partition("[")[0] == name]
    if odd := [key for key, value in fields if not isinstance(value, str)]:
        raise APIError(400, f"{odd[0]} as a file; a text is needed: a PNG in base64", name, "invalid_value")
    by_name = {found[1]: value for key, value in fields if (found := re.fullmatch(rf"{name}\[(\w+)\]", key))}
    if by_name or not fields:
        return by_name or None
    text = str(fields[-1][1])
    if not text.lstrip().startswith("{"):
        return text or None
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError):
        raise APIError(400, f"{name} is no object in JSON", name, "invalid_value") from None


def _decoded(text: Any, name: str) -> Image.Image:
    """A picture in base64, perhaps as a data URL, decoded and upright."""
    try:
        content = base64.b64decode(re.sub(r"^data:image/\w+;base64,", "", text), validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise APIError(400, f"{name} is not in base64", name, "invalid_image") from None
    try:
        return ImageOps.exif_transpose(_opened(content, name))
    except APIError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from None


def _opened(content: bytes, name: str) -> Image.Image:
    """An image of which the header alone is read."""
    try:
        image = Image.open(io.BytesIO(content))
    except Exception as error:
        raise _unreadable(name, error) from None
    if max(image.size) > MOST_SIDE:
        raise APIError(
            400, f"{name} has a side of {max(image.size)} pixels; at most {MOST_SIDE}", name, "invalid_image"
        )
    return image


def _cropped(content: bytes, shape: Sequence[int], name: str) -> Tensor:
    """[1, channels, height, width] in [0, 1]: cropped and resized as training data are."""
    channels, high, wide = shape
    try:
        pixels = cropped(content, (high, wide), channels)
    except Exception as error:
        raise _unreadable(name, error) from None
    return torch.from_numpy(pixels.copy())[None].float() / 255


def _unreadable(name: str, error: Exception) -> APIError:
    return APIError(400, f"{name} cannot be read ({reason(error)})", name, "invalid_image")


@final
class LargeFields(APIRoute):
    """A route whose forms may have texts as large as the body: a picture in base64 is longer than other texts."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request, whose form is read first.

        Returns:
            The handler.
        """
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            return await handler(_LargeFields(request.scope, request.receive))

        return answered


class _LargeFields(Request):
    def form(self, **limits: Any) -> Any:
        return super().form(**{**limits, "max_part_size": UNLIMITED})

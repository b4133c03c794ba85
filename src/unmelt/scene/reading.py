"""Reading: what stands where in a picture, by matching templates.

With ink y = 1 - picture, and the ink t of an object in a colour and a size, the score of that thing at a place is the
share of its ink that is explained there, in the square of the thing and a margin around it:

    score   =  1 - |y - t|^2 / |t|^2  =  (2 <y, t> - |y|^2) / |t|^2
    detail  =  <h y, h t> / |h t|^2                                    h: a picture less its mean over 5 x 5 pixels

Both are 1 for the thing itself. Score tells which thing it is, and falls with anything else in its square; detail falls
as a picture is smeared, and noise leaves it as it is on average. The thing, place and size of the best score are read
if both are high enough, what overlaps them is set aside, and so on.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.scene.painting import PARTS, SIDES
from unmelt.scene.scene import COLOURS, OBJECTS
from unmelt.scene.sprites import sprites
from unmelt.scene.thing import Thing

LEAST_SCORE: Final = 0.7
LEAST_DETAIL: Final = 0.22
"""What a thing must have to be read."""

MOST: Final = 6
"""Things that are looked for in a picture, twice as many as a scene has."""

OVERLAP: Final = 0.75
"""Things are one if their centres are nearer than this share of their mean side, along both axes."""

MARGIN: Final = 1
"""Parts around a thing that must be empty."""

ROWS: Final = 32
"""Pictures that are read at a time."""


@checked("um.scene.read")
def read(pictures: Shaped[Tensor, "rows 3 size size"]) -> list[tuple[Thing, ...]]:
    """Read pictures.

    Args:
        pictures: [rows, 3, size, size], in [0, 1], or bytes. They are read at a size of 32.

    Returns:
        The things in each picture, the clearest first.

    Raises:
        UsageError: If they are not square pictures in colour.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not 0 < pictures.shape[2] == pictures.shape[3]:
        raise UsageError(f"pictures of shape {list(pictures.shape)}", "[rows, 3, size, size]", "read(picture[None])")
    pictures = pictures / 255 if pictures.dtype == torch.uint8 else pictures
    return [things for some in pictures.split(ROWS) for things in _read(some)]


def _read(pictures: Float[Tensor, "rows 3 size size"]) -> list[tuple[Thing, ...]]:
    ink = 1 - pictures.float().cpu().nan_to_num(0.0).clamp(0, 1)
    if ink.shape[-1] != PARTS:
        ink = F.interpolate(ink, (PARTS, PARTS), mode="bilinear", antialias=True)
    ink = F.pad(ink, (MARGIN,) * 4)
    detail, matches = _detail(ink), _matches(ink)
    score = matches.score.clone()
    things: list[list[Thing]] = [[] for _ in ink]
    for _ in range(MOST):
        best, place = score.max(1)
        for row in (best >= LEAST_SCORE).nonzero()[:, 0].tolist():
            at = int(place[row])
            kind, side, left, top = (int(each[at]) for each in (matches.kind[row], *matches[2:]))
            wanted, end = _template_details(side)[kind], side + 2 * MARGIN
            if (detail[row, :, top : top + end, left : left + end] * wanted).sum() < LEAST_DETAIL * wanted.norm() ** 2:
                continue
            named, coloured = divmod(kind, len(COLOURS))
            centre = (left + side / 2) / PARTS, (top + side / 2) / PARTS
            things[row].append(Thing(OBJECTS[named], COLOURS[coloured], *centre))
        x, y = (corner + matches.side / 2 for corner in (matches.left, matches.top))
        near = OVERLAP * (matches.side[place][:, None] + matches.side) / 2
        score[((x - x[place][:, None]).abs() < near) & ((y - y[place][:, None]).abs() < near)] = -torch.inf
    return [tuple(each) for each in things]


class _Matches(NamedTuple):
    """The best object and colour at every place, for all sizes; one after the other along the last axis.

    Args:
        score: Its score.
        kind: Number of the object and colour.
        side: Side of the thing, in parts.
        left: Of its square, in parts.
        top: The same.
    """

    score: Float[Tensor, "rows places"]
    kind: Int64[Tensor, "rows places"]
    side: Int64[Tensor, " places"]
    left: Int64[Tensor, " places"]
    top: Int64[Tensor, " places"]


def _matches(ink: Float[Tensor, "rows 3 height width"]) -> _Matches:
    found = []
    for side in SIDES:
        template, whole = _templates(side), side + 2 * MARGIN
        there = whole**2 * F.avg_pool2d(ink.square().sum(1, keepdim=True), whole, 1)
        explained = 2 * F.conv2d(ink, template) - there
        score, kind = (explained / template.square().sum((1, 2, 3))[:, None, None]).max(1)
        top, left = torch.meshgrid(*map(torch.arange, score.shape[1:]), indexing="ij")
        places = [each.flatten() for each in (torch.full_like(left, side), left, top)]
        found.append(_Matches(score.flatten(1), kind.flatten(1), *places))
    return _Matches(*(torch.cat(each, -1) for each in zip(*found, strict=True)))


@lru_cache(maxsize=len(SIDES))
def _templates(side: int) -> Float[Tensor, "kinds 3 whole whole"]:
    """The ink of every object in every colour, with its margin."""
    drawn = sprites(side)
    return F.pad((drawn.alpha[:, None, None] * (1 - drawn.rgb)).flatten(0, 1), (MARGIN,) * 4)


@lru_cache(maxsize=len(SIDES))
def _template_details(side: int) -> Float[Tensor, "kinds 3 whole whole"]:
    return _detail(_templates(side))


def _detail(ink: Float[Tensor, "rows 3 height width"]) -> Float[Tensor, "rows 3 height width"]:
    return ink - F.avg_pool2d(ink, 5, 1, 2)

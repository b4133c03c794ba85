"""Captions that end in a layout, as a sequence and a map of the picture.

    "a red star above a cat | 1 red star top c1; 1 cat bottom b5"

Words are encoded by another encoder. The layout becomes the context of the network, which then need not learn which
words stand for which part of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.encoder.encoder import EncodedMap, EncodedText, TextEncoder
from unmelt.encoder.hashed_captions import HashedCaptionEncoder
from unmelt.errors import UsageError
from unmelt.scene import MAP_CHANNELS, Scene, layout_map


@final
@checked_init("um.encoder.LayoutEncoder")
@dataclass(frozen=True)
class LayoutEncoder:
    """Encodes captions of scenes by another encoder, and layouts at their end as maps (`um.scene.layout_map`).

    Args:
        words: The other encoder.
        size: Side of the maps: that of the pictures.
    """

    words: TextEncoder = HashedCaptionEncoder(context=True)
    size: int = 32

    @property
    def width(self) -> int:
        """The number of features of each vector, of the other encoder."""
        return self.words.width

    @property
    def map_channels(self) -> int:
        """Channels of the maps: 19."""
        return MAP_CHANNELS

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        """Encode captions by the other encoder.

        Args:
            captions: One caption a row; None or an empty one leaves the row without tokens.

        Returns:
            sequence [rows, length, width] and mask [rows, length].
        """
        return self.words(captions)

    def maps(self, captions: Sequence[str | None]) -> EncodedMap:
        """Draw the layouts at the end of captions.

        Args:
            captions: One caption a row.

        Returns:
            values [rows, 19, size, size], 0 where there is no layout; and given [rows].
        """
        found = [_map(caption or "", self.size) for caption in captions]
        nothing = torch.zeros(MAP_CHANNELS, self.size, self.size)
        values = torch.stack([nothing if each is None else each for each in found]) if found else nothing[None][:0]
        return EncodedMap(values, torch.tensor([each is not None for each in found], dtype=torch.bool))


def _map(caption: str, size: int) -> Float[Tensor, "channels size size"] | None:
    try:
        scene = Scene.parse(caption.rpartition("|")[2])
    except UsageError:
        return None
    return layout_map(scene, size) if scene.groups[0].cells else None

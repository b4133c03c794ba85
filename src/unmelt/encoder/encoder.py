"""What a text encoder is: captions in, a padded sequence of vectors and its mask out.

An encoder is frozen. It is no part of what is trained, and its output is what `Condition.sequence` and
`Condition.sequence_mask` hold.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from unmelt.condition import Condition


class EncodedText(NamedTuple):
    """Encoded captions, padded to the length of the longest one.

    Args:
        sequence: The vectors of each caption's tokens, float32; 0 where a token is padding.
        mask: True where a token is real. A row without a caption has none.
    """

    sequence: Float[Tensor, "rows length width"]
    mask: Bool[Tensor, "rows length"]


class EncodedMap(NamedTuple):
    """What captions say of the parts of a picture.

    Args:
        values: A map of each picture, float32; 0 in rows that have none.
        given: True where a row has one.
    """

    values: Float[Tensor, "rows channels height width"]
    given: Bool[Tensor, " rows"]


class EncodedVector(NamedTuple):
    """What captions say as a whole.

    Args:
        values: A vector of each caption, float32; 0 in rows that have none.
        given: True where a row has one.
    """

    values: Float[Tensor, "rows features"]
    given: Bool[Tensor, " rows"]


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that turns captions into sequences: an object with a `width` that is called with captions.

    A row's vectors depend on its own caption alone, whatever else is in the batch. An encoder may also have a method
    `maps(captions) -> EncodedMap`, whose maps are the context of the network (`LayoutEncoder`), and a method
    `vectors(captions) -> EncodedVector`, whose vectors are `Condition.vector` (pooled features of a language model).
    """

    @property
    def width(self) -> int:
        """The number of features of each vector: the `sequence_width` of the backbone that reads them."""

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        """Encode captions.

        Args:
            captions: One caption a row; None or an empty one leaves the row without tokens.

        Returns:
            sequence [rows, length, width] and mask [rows, length], on the CPU.
        """


def caption_condition(encoder: TextEncoder, captions: Sequence[str | None]) -> Condition:
    """Encode captions as the condition of a network.

    Args:
        encoder: The encoder.
        captions: One caption a row; None or an empty one for nothing.

    Returns:
        A condition with a sequence, with a context if the encoder makes maps, and with a vector if it makes vectors.
    """
    sequence, mask = encoder(captions)
    fields: dict[str, Any] = {"sequence": sequence, "sequence_mask": mask}
    given: dict[str, Tensor] = {}
    for name, method in (("context", "maps"), ("vector", "vectors")):
        if (encode := getattr(encoder, method, None)) is not None:
            fields[name], given[name] = encode(captions)
    return Condition(**fields, given=given)

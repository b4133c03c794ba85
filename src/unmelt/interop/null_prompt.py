"""The null condition of networks that were trained elsewhere: what their pipeline gives them for an empty prompt.

It is stored with the weights, as numbers that are not trained.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError


class Prompt(NamedTuple):
    """What a network reads of a prompt.

    Args:
        sequence: The vectors of its tokens.
        mask: True where a token is real.
        vector: What it says as a whole; None for networks that read none.
    """

    sequence: Float[Tensor, "rows length width"]
    mask: Bool[Tensor, "rows length"]
    vector: Float[Tensor, "rows features"] | None

    @classmethod
    def of_real_tokens(cls, sequence: Tensor, vector: Tensor | None = None) -> "Prompt":
        """A prompt of which every token is real.

        Args:
            sequence: [rows, length, width], the vectors of its tokens.
            vector: [rows, features], what it says as a whole.

        Returns:
            The prompt.
        """
        return cls(sequence, torch.ones_like(sequence[:, :, 0], dtype=torch.bool), vector)


def prompt_or_null(condition: Condition | None, rows: int, null: Prompt) -> Prompt:
    """The prompt of each row, or the null in rows that have none.

    Args:
        condition: What is known of each row.
        rows: How many rows.
        null: The null, of one row.

    Returns:
        The prompts, all of one length.

    Raises:
        UsageError: If sequences or vectors are of another width than the null's, or there is one without the other.
    """
    sequence = None if condition is None else condition.sequence
    if condition is None or sequence is None:
        vector = None if null.vector is None else null.vector.expand(rows, -1)
        return Prompt(null.sequence.expand(rows, -1, -1), null.mask.expand(rows, -1), vector)
    if sequence.shape[2] != null.sequence.shape[2] or (condition.vector is None) != (null.vector is None):
        raise UsageError(
            f"a condition with sequences of width {sequence.shape[2]}, "
            f"and {'no' if condition.vector is None else 'a'} vector",
            f"width {null.sequence.shape[2]}, and {'no' if null.vector is None else 'a'} vector",
            "model.condition_of(rows, prompt=prompt)",
        )
    length = max(sequence.shape[1], null.sequence.shape[1])
    mask = condition.sequence_mask
    mask = torch.ones_like(sequence[:, :, 0], dtype=torch.bool) if mask is None else mask
    given = mask.any(1)
    if (flags := condition.is_given("sequence")) is not None:
        given = given & flags
    sequence = torch.where(given[:, None, None], _longer(sequence, length), _longer(null.sequence, length))
    mask = torch.where(given[:, None], _longer(mask, length), _longer(null.mask, length))
    vector = condition.vector
    if vector is not None and null.vector is not None:
        vector = torch.where(given[:, None], vector, null.vector)
    return Prompt(sequence, mask, vector)


def _longer(value: Tensor, length: int) -> Tensor:
    """Tokens, zeros appended."""
    return torch.cat([value, value.new_zeros(value.shape[0], length - value.shape[1], *value.shape[2:])], 1)

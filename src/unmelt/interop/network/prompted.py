"""Networks of diffusers that read a prompt, and what a row without one is given: their pipeline's empty prompt.

The empty prompt is stored with the weights, as numbers that are not trained.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.network.settings import Settings, make_network


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


class PromptedNetwork(CallRepr, nn.Module, ABC):
    """A network of diffusers on latents of any size that reads a prompt.

    Args:
        kind: Its class in diffusers.
        settings: Arguments of the class.
        tokens: Tokens of the empty prompt.

    Raises:
        UsageError: If this version of diffusers has no such class, or it does not take the settings.
    """

    takes_any_size = True
    null_sequence: Tensor
    null_vector: Tensor | None

    def __init__(self, kind: str, settings: Settings, tokens: int) -> None:
        super().__init__()
        self.network, self.settings = make_network(kind, settings)
        self.tokens = tokens

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        """The network's output.

        Args:
            x: Noisy latents, scaled to unit size.
            level: Noise levels, log(sigma / alpha) / 4.
            condition: Encoded prompts; rows without one have the empty prompt.

        Returns:
            What the network was trained to predict, for each row.

        Raises:
            UsageError: If prompts or latents are not of a shape that the network reads.
        """

    def _set_widths(self, sequence: int, vector: int = 0) -> None:
        """The features of each token, and those of what a prompt says as a whole; 0 for none."""
        self.sequence_width = sequence
        self.register_buffer("null_sequence", torch.zeros(1, self.tokens, sequence))
        self.register_buffer("null_vector", torch.zeros(1, vector) if vector else None)

    @final
    def set_null(
        self, sequence: Float[Tensor, "length width"], vector: Float[Tensor, " features"] | None = None
    ) -> None:
        """Set what rows without a prompt are given.

        Args:
            sequence: The vectors of its tokens.
            vector: What it says as a whole, for networks that read that.

        Raises:
            UsageError: If the network reads features of other widths than these.
        """
        given = (sequence.shape[-1], 0 if vector is None else len(vector))
        read = (self.sequence_width, 0 if self.null_vector is None else self.null_vector.shape[1])
        if given != read:
            raise UsageError(
                f"text encoders of {_widths(*given)} for a network that reads {_widths(*read)}",
                "parts that were trained together",
                "the whole pipeline",
            )
        self.null_sequence = sequence[None]
        self.null_vector = None if vector is None else vector[None]

    @final
    def prompts(self, condition: Condition | None, x: Float[Tensor, "rows channels height width"]) -> Prompt:
        """The prompt of each row, or the empty one in rows that have none.

        Args:
            condition: What is known of each row.
            x: The rows, whose type the prompts get.

        Returns:
            The prompts, all of one length.

        Raises:
            UsageError: If sequences or vectors are of other widths than the network reads, or there is one without the
                other.
        """
        sequence, mask, vector = self._filled(condition, len(x))
        return Prompt(sequence.to(x.dtype), mask, None if vector is None else vector.to(x.dtype))

    def _filled(self, condition: Condition | None, rows: int) -> Prompt:
        empty, said = self.null_sequence, self.null_vector
        real = torch.ones_like(empty[:, :, 0], dtype=torch.bool)
        sequence = None if condition is None else condition.sequence
        if condition is None or sequence is None:
            vector = None if said is None else said.expand(rows, -1)
            return Prompt(empty.expand(rows, -1, -1), real.expand(rows, -1), vector)
        vector = condition.vector
        if sequence.shape[2] != empty.shape[2] or (vector is None) != (said is None):
            raise UsageError(
                f"a condition with sequences of width {sequence.shape[2]}, "
                f"and {'no' if vector is None else 'a'} vector",
                f"width {empty.shape[2]}, and {'no' if said is None else 'a'} vector",
                "model.condition_of(rows, prompt=prompt)",
            )
        length = max(sequence.shape[1], empty.shape[1])
        mask = condition.sequence_mask
        mask = torch.ones_like(sequence[:, :, 0], dtype=torch.bool) if mask is None else mask
        given = mask.any(1)
        if (flags := condition.is_given("sequence")) is not None:
            given = given & flags
        sequence = torch.where(given[:, None, None], _longer(sequence, length), _longer(empty, length))
        mask = torch.where(given[:, None], _longer(mask, length), _longer(real, length))
        if vector is not None and said is not None:
            vector = torch.where(given[:, None], vector, said)
        return Prompt(sequence, mask, vector)


def _longer(value: Tensor, length: int) -> Tensor:
    """Tokens, zeros appended."""
    return torch.cat([value, value.new_zeros(value.shape[0], length - value.shape[1], *value.shape[2:])], 1)


def _widths(sequence: int, vector: int) -> str:
    return f"width {sequence}" + (f" and pooled features of width {vector}" if vector else " without pooled features")

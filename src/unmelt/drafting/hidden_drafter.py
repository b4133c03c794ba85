"""A drafter that reads the verifier's hidden states: a `DraftNetwork` with the verifier's embedding and head.

    q_1 ... q_k = softmax(head(network(h_1 ... h_(a - 1), x_a)))         tokens x_1 ... x_a; k masks after them

The verifier has computed the hidden states anyway. Tokens of a block are drawn independently, so that the laws for
verification are the q. What the network has learned changes how many are accepted, and not the law of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.drafting.draft import Draft
from unmelt.drafting.draft_network import DraftNetwork
from unmelt.drafting.transformers_verifier import TransformersVerifier
from unmelt.errors import UsageError
from unmelt.guidance.temperature import check_temperature, tempered
from unmelt.posterior import draw
from unmelt.rng import RowSeeds


@final
@checked_init("um.drafting.HiddenDrafter")
@dataclass(frozen=True)
class HiddenDrafter:
    """A drafter that reads the hidden states of a `TransformersVerifier`. `um.recipe.drafter` trains one.

    Args:
        verifier: The verifier.
        network: The network, of the verifier's width.
        temperature: Of the drafted tokens; 0 drafts the likeliest ones, which suits a greedy verifier.

    Raises:
        UsageError: If the network is none for this verifier, or the temperature is out of range.
    """

    verifier: TransformersVerifier
    network: DraftNetwork
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        width, most = self.verifier.width, self.verifier.depth
        if self.network.width != width or max(self.network.layers) > most:
            raise UsageError(
                f"a network of width {self.network.width} that reads layers {self.network.layers}"
                f" of a verifier of width {width} and {most} layers",
                "one that was made for this verifier",
                f"DraftNetwork(width={width}, layers=(1, {most}))",
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the verifier that it reads."""
        return self.network.layers

    @property
    def block(self) -> int:
        """Tokens of the longest draft."""
        return self.network.block

    def logits(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, "rows places"],
        hidden: Float[Tensor, "rows length features"],
    ) -> Float[Tensor, "rows places block vocabulary"]:
        """Logits of the tokens after beginnings of each row.

        Args:
            x: Rows of tokens.
            lengths: Number of tokens of each beginning, at least 1.
            hidden: The verifier's hidden states; read at the tokens before the last one of a beginning.

        Returns:
            Logits of a whole block for each.
        """
        rows, places = lengths.shape
        ends = (lengths - 1).flatten()
        row = torch.arange(rows, device=x.device).repeat_interleave(places)
        at = ends[:, None] + torch.arange(-self.network.context, 0, device=x.device)
        first = int(at.min().clamp_min(0))
        head, own = self.verifier.model.get_output_embeddings(), self.network.mask.dtype
        seen = hidden[:, first : int(ends.max())] if int(ends.max()) else hidden[:, :1]
        context = self.network.read(seen.to(own))[row[:, None], (at - first).clamp_min(0)]
        last = self.verifier.model.get_input_embeddings()(x[row, ends][:, None]).to(own)
        found: Tensor = head(self.network(context, at >= 0, last).to(head.weight.dtype))
        return found.unflatten(0, (rows, places))

    @torch.no_grad()
    def __call__(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"] | None,
        k: int,
        rng: RowSeeds,
    ) -> Draft:
        """Draft the next tokens of each row; see `Drafter`.

        Args:
            x: Rows of tokens.
            lengths: Number of tokens of each row's text.
            hidden: The verifier's hidden states; None before it has read anything, when nothing is drafted.
            k: Tokens to draft.
            rng: The rows' noise.

        Returns:
            The block.

        Raises:
            UsageError: If more tokens are asked for than a block has.
        """
        if k > self.block:
            raise UsageError(f"a block of {k} tokens", f"at most {self.block}, the drafter's", f"block={self.block}")
        if hidden is None:
            return Draft.nothing(len(x), k, x.device)
        logits = self.logits(x, lengths[:, None], hidden)[:, 0, :k]
        log_q = tempered(logits.double(), self.temperature).log_softmax(-1)
        tokens = draw(log_q.exp(), rng.uniform((len(x), k), torch.float64, x.device))
        return Draft(tokens, torch.full_like(lengths, k), log_q)

    @classmethod
    @checked("um.drafting.HiddenDrafter.load")
    def load(cls, folder: str | Path, verifier: TransformersVerifier) -> HiddenDrafter:
        """Read the drafter of a run that `um.recipe.drafter` trained.

        Args:
            folder: The run folder.
            verifier: The verifier that it was trained for.

        Returns:
            The drafter, on the verifier's device.

        Raises:
            UsageError: If the folder is damaged or holds something else, or the verifier is another one.
        """
        found: HiddenDrafter = import_module("unmelt.model").DrafterModel.load(folder).drafter_for(verifier)
        return found

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
import torch.nn.functional as F
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
        vocabulary, words = self.verifier.vocabulary, self.network.words
        if words > vocabulary:
            given, needed = f"a network that drafts {words} tokens of {vocabulary}", f"at most {vocabulary}"
            raise UsageError(given, needed, f"DraftNetwork(width={width}, layers=(1, {most}), words=0)")
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
    ) -> Float[Tensor, "rows places block words"]:
        """Logits of the tokens after beginnings of each row, of those tokens that the network can draft.

        Args:
            x: Rows of tokens.
            lengths: Number of tokens of each beginning, at least 1.
            hidden: The verifier's hidden states; read at the tokens before the last one of a beginning.

        Returns:
            Logits of a whole block for each.
        """
        ends = lengths - 1
        first, most = int((ends.min() - self.network.context).clamp_min(0)), int(ends.max())
        own, weight, bias = self.network.mask.dtype, *self.head()
        context = self.network.read((hidden[:, first:most] if most else hidden[:, :1]).to(own))
        last = self.verifier.model.get_input_embeddings()(x.gather(1, ends)[:, :, None]).to(own)
        return F.linear(self.network(context, ends - first, last).to(weight.dtype), weight, bias)

    def head(self) -> tuple[Tensor, Tensor | None]:
        """The part of the verifier's head that makes logits of the tokens that the network can draft.

        Returns:
            Weight [words, width] and bias [words]; None for no bias.
        """
        head = self.verifier.model.get_output_embeddings()
        if not self.network.words:
            return head.weight, head.bias
        rows = vars(self).get("_rows")
        if rows is None or rows.dtype != head.weight.dtype or rows.device != head.weight.device:
            rows = head.weight[self.network.drafted].t().contiguous().t()  # by columns, see `weight_layout`
            vars(self)["_rows"] = rows
        return rows, None if head.bias is None else head.bias[self.network.drafted]

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
        counts, words = torch.full_like(lengths, k), self.network.drafted if self.network.words else None
        if self.temperature == 0:
            tokens = logits.argmax(-1)
            return Draft(tokens if words is None else words[tokens], counts)
        log_q = tempered(logits.double(), self.temperature).log_softmax(-1)
        tokens = draw(log_q.exp(), rng.uniform((len(x), k), torch.float64, x.device))
        if words is not None:
            every = log_q.new_full((len(x), k, self.verifier.vocabulary), -torch.inf)
            every[..., words], tokens = log_q, words[tokens]
            log_q = every
        return Draft(tokens, counts, log_q)

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

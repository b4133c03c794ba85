"""A small network that drafts a block from the verifier's hidden states, all tokens in one pass (after DFlash, 2026).

    c_i = W [norm(h_i^l) for l in layers]                      a token whose hidden states the verifier has given
    e, m_1 ... m_k                                             the last token's embedding; then masks
    q_1 ... q_k = head(norm(transformer(c, e, m)))             the verifier's own embedding and head, which do not learn

A context token attends to context tokens up to itself, the last token and the masks to all of them and to each other.
What it learns from is the verifier itself, by cross-entropy with its laws on rows of text, at places drawn at random:

    loss = - sum over j of w^(j - 1) sum_v p(v | x_1 ... x_(a + j - 1)) log q_j(v | h_1 ... h_(a - 1), x_a)

with w below 1, since a token counts only where all tokens before it are accepted. The law of what is written does not
depend on what was learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unmelt.arguments import checked, checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.rotary import RotaryAttention, attention, rotary_angles
from unmelt.drafting.draft import Draft
from unmelt.drafting.transformers_verifier import TransformersVerifier
from unmelt.errors import UsageError
from unmelt.guidance.temperature import check_temperature, tempered
from unmelt.posterior import draw
from unmelt.rng import RowSeeds

CONFIG, WEIGHTS = "drafter.json", "drafter.safetensors"
"""Files of a saved drafter."""


class _Layer(nn.Module):
    """Attention, then a gated perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, h: Tensor, angle: Tensor, mask: Tensor) -> Tensor:
        h = h + self.attention(self.norm1(h), angle, partial(attention, mask=mask))
        gate, value = self.up(self.norm2(h)).chunk(2, -1)
        return h + self.down(F.silu(gate) * value)


@final
@checked_init("um.drafting.HiddenDrafter")
class HiddenDrafter(nn.Module):
    """A drafter that reads the hidden states of a `TransformersVerifier`. `um.drafting.train_drafter` makes one.

    Args:
        verifier: The verifier, whose weights are none of the drafter's.
        layers: Layers whose hidden states are read, 0 for the embeddings.
        block: Tokens of the longest draft.
        context: Tokens that are read, the last ones.
        depth: Transformer layers.
        heads: Attention heads; twice their number must divide the verifier's width.
        temperature: Of the drafted tokens; 0 drafts the likeliest ones, which suits a greedy verifier.

    Raises:
        UsageError: If a number is out of range.
    """

    def __init__(
        self,
        verifier: TransformersVerifier,
        *,
        layers: Sequence[int],
        block: int = 8,
        context: int = 32,
        depth: int = 1,
        heads: int = 4,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, "HiddenDrafter", block=block, context=context, depth=depth, heads=heads)
        check_temperature(temperature)
        most = verifier.init_cache(1, 1).kv.shape[1]
        if not layers or not all(0 <= each <= most for each in layers):
            raise UsageError(f"layers={tuple(layers)}", f"one or several of 0 to {most}", f"layers=(1, {most})")
        self._shared = (verifier,)  # in a tuple, so that its weights are not the drafter's
        self.layers, self.block, self.context = tuple(layers), block, context
        self.depth, self.heads, self.temperature = depth, heads, temperature
        width = int(verifier.model.get_input_embeddings().weight.shape[1])
        self.width = width
        self.into = nn.Linear(len(self.layers) * width, width, bias=False)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width)

    @property
    def verifier(self) -> TransformersVerifier:
        """The verifier."""
        return self._shared[0]

    def logits(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"],
    ) -> Float[Tensor, "rows block vocabulary"]:
        """Logits of the tokens after each row's text.

        Args:
            x: Rows of tokens.
            lengths: Number of tokens of each row's text, at least 1.
            hidden: The verifier's hidden states; read at the tokens before the last one of each text.

        Returns:
            Logits of a whole block.
        """
        places = (lengths - 1)[:, None] + torch.arange(-self.context, 0, device=x.device)
        is_text = places >= 0
        features = hidden.gather(1, places.clamp_min(0)[..., None].expand(-1, -1, hidden.shape[-1]))
        features = F.rms_norm(features.unflatten(-1, (-1, self.width)), (self.width,)).flatten(2)
        last = self.verifier.model.get_input_embeddings()(x.gather(1, (lengths - 1)[:, None]))
        h = torch.cat([self.into(features), last, self.mask.expand(len(x), self.block, -1)], 1)
        angle = rotary_angles(torch.arange(h.shape[1], device=x.device)[:, None], self.width // self.heads)
        mask = self._mask(is_text)
        for each in self.blocks:
            h = each(h, angle, mask)
        return self.verifier.model.get_output_embeddings()(self.norm(h[:, self.context + 1 :]))

    def _mask(self, is_text: Bool[Tensor, "rows context"]) -> Bool[Tensor, "rows 1 n n"]:
        """True where a place attends to another; always to itself."""
        n = is_text.shape[1] + 1 + self.block
        every = torch.arange(n, device=is_text.device)
        ahead = (every > every[:, None]) & (every[:, None] < is_text.shape[1])
        real = F.pad(is_text, (0, 1 + self.block), value=True)
        return ((real[:, None] & ~ahead) | (every == every[:, None]))[:, None]

    @torch.no_grad()
    def forward(
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
        logits = tempered(self.logits(x, lengths, hidden)[:, :k].double(), self.temperature)
        log_q = logits.log_softmax(-1)
        tokens = draw(log_q.exp(), rng.uniform((len(x), k), torch.float64, x.device))
        return Draft(tokens, torch.full_like(lengths, k), log_q)

    def save(self, folder: str | Path) -> None:
        """Write settings and weights to a folder. The verifier is not written.

        Args:
            folder: A folder, which is made if it is not there.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = ("layers", "block", "context", "depth", "heads", "temperature")
        (folder / CONFIG).write_text(json.dumps({name: getattr(self, name) for name in names}), encoding="utf-8")
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)

    @classmethod
    @checked("um.drafting.HiddenDrafter.load")
    def load(cls, folder: str | Path, verifier: TransformersVerifier) -> HiddenDrafter:
        """Read what `save` wrote.

        Args:
            folder: The folder.
            verifier: The verifier that the drafter was trained for.

        Returns:
            The drafter.

        Raises:
            UsageError: If the files are not there or are damaged, or fit another verifier.
        """
        folder = Path(folder)
        try:
            settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            made = cls(verifier, **{**settings, "layers": tuple(settings["layers"])})
            made.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(
                f"a drafter in {folder} that cannot be read for this verifier ({said})",
                f"{CONFIG} and {WEIGHTS} as they were saved, and the verifier it was trained for",
                "drafter.save(folder)",
            ) from None
        return made.to(verifier.model.device).eval()

"""An autoregressive drafter of the size and the training of a `HiddenDrafter`, for comparison.

It is the same network with blocks of one token. Token j of a block is drafted by a call of its own, which reads the
hidden states of the verified text and the embeddings of the tokens drafted so far. It learns from the same rows, places
and laws, as many tokens of a block at each place, by as many steps.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from unmelt.data import Source
from unmelt.drafting import Draft, DraftNetwork, HiddenDrafter, TransformersVerifier
from unmelt.drafting.draft_step import DECAY
from unmelt.drafting.kept_states import KeptStates
from unmelt.guidance.temperature import tempered
from unmelt.posterior import draw
from unmelt.rng import seeded
from unmelt.train import Phase, Trainer, Training


@dataclass(frozen=True)
class AutoregressiveDrafter:
    """Drafts one token after the other."""

    inner: HiddenDrafter
    block: int
    temperature: float = 0.0

    @property
    def network(self):
        return self.inner.network

    @property
    def layers(self):
        return self.network.layers

    def logits(self, context: Tensor, ends: Tensor, tokens: Tensor) -> Tensor:
        """Logits of the token after these, [rows, places, words]; they come after `ends` context tokens."""
        embedded = self.inner.verifier.model.get_input_embeddings()(tokens)
        return F.linear(self.network(context, ends, embedded)[:, :, 0], *self.inner.head())

    @torch.no_grad()
    def __call__(self, x, lengths, hidden, k, rng):
        if hidden is None:
            return Draft.nothing(len(x), k)
        ends = lengths[:, None] - 1
        first, most = int((ends.min() - self.network.context).clamp_min(0)), int(ends.max())
        context = self.network.read(hidden[:, first:most] if most else hidden[:, :1])
        tokens, words, every = x.gather(1, ends)[:, :, None], self.network.words, []
        for _ in range(k):
            logits = self.logits(context, ends - first, tokens)[:, 0]
            if self.temperature == 0:
                token = logits.argmax(-1)
            else:
                law = tempered(logits.double(), self.temperature).softmax(-1)
                token = draw(law, rng.uniform((len(x),), torch.float64))
                rng = rng.advance()
                every.append(law.log())
            token = self.network.drafted[token] if words else token
            tokens = torch.cat([tokens, token[:, None, None]], 2)
        counts, found = torch.full_like(lengths, k), tokens[:, 0, 1:]
        if not every:
            return Draft(found, counts)
        law = torch.stack(every, 1)
        if words:
            law = law.new_full((len(x), k, self.inner.verifier.vocabulary), -torch.inf)
            law[..., self.network.drafted] = torch.stack(every, 1)
        return Draft(found, counts, law)


@dataclass(frozen=True)
class _Step:
    """Its `TrainStep`."""

    drafter: AutoregressiveDrafter
    places: int

    @cached_property
    def states(self):
        return KeptStates(self.drafter.inner)

    def networks(self):
        return {"network": self.drafter.network}

    def frozen(self):
        return (self.drafter.inner.verifier.model,)

    def phases(self):
        return (Phase(network="network", loss=self._loss),)

    def after_update(self, network, step):
        pass

    def _loss(self, batch, rng):
        x, k, drafter = batch.x0, self.drafter.block, self.drafter
        hidden, p = self.states(x)
        rows, length = x.shape
        u = rng.uniform((rows, self.places), torch.float64)
        lengths = 2 + (u * (length - k - 1)).long().clamp_max(length - k - 2)
        row, ends = torch.arange(rows)[:, None], lengths - 1
        context, loss = drafter.network.read(hidden.float()), torch.zeros(rows, self.places)
        for j in range(k):
            tokens = x[row[..., None], ends[..., None] + torch.arange(j + 1)]
            log_q = drafter.logits(context, ends, tokens).float().log_softmax(-1)
            loss = loss - DECAY**j * (p[row, ends + j] * log_q).sum(-1)
        return loss.mean(1) / sum(DECAY**j for j in range(k))


def trained(
    verifier: TransformersVerifier, like: DraftNetwork, source: Source, training: Training, places: int
) -> AutoregressiveDrafter:
    """A drafter of the settings of a network, trained as that was."""
    with seeded(training.seed):
        network = DraftNetwork(
            width=like.width,
            layers=like.layers,
            block=1,
            context=like.context,
            depth=like.depth,
            heads=like.heads,
            words=like.words,
        )
    with torch.no_grad():  # as `um.recipe.drafter` begins
        network.norm.weight.fill_(1 / verifier.model.get_output_embeddings().weight.norm(dim=1).mean())
    if like.words:
        network.drafted.copy_(like.drafted)
    drafter = AutoregressiveDrafter(HiddenDrafter(verifier, network), like.block)
    for event in Trainer(_Step(drafter, places), source, None, training).run():
        if event.kind == "log":
            print(f"autoregressive drafter, step {event.step}: loss {event.numbers['loss']:.3f}", flush=True)
    return drafter

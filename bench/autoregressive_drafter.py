"""An autoregressive drafter of the size and the training of a `HiddenDrafter`, for comparison.

It is the same network with blocks of one token. Token j of a block is drafted by a call of its own, which reads the
hidden states of the verified text and the embeddings of the tokens drafted so far. It learns from the same rows, places
and laws, as many tokens of a block at each place, by as many steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmelt.data import Source
from unmelt.drafting import Draft, DraftNetwork, TransformersVerifier
from unmelt.drafting.draft_step import DECAY
from unmelt.guidance.temperature import tempered
from unmelt.posterior import draw
from unmelt.rng import seeded
from unmelt.train import Phase, Trainer, Training


@dataclass(frozen=True)
class AutoregressiveDrafter:
    """Drafts one token after the other."""

    verifier: TransformersVerifier
    network: DraftNetwork
    block: int
    temperature: float = 0.0

    @property
    def layers(self):
        return self.network.layers

    def logits(self, context: Tensor, ends: Tensor, tokens: Tensor) -> Tensor:
        """Logits of the token after these, [rows, places, vocabulary]; they come after `ends` context tokens."""
        embedded = self.verifier.model.get_input_embeddings()(tokens)
        return self.verifier.model.get_output_embeddings()(self.network(context, ends, embedded))[:, :, 0]

    @torch.no_grad()
    def __call__(self, x, lengths, hidden, k, rng):
        if hidden is None:
            return Draft.nothing(len(x), k)
        ends = lengths[:, None] - 1
        first, most = int((ends.min() - self.network.context).clamp_min(0)), int(ends.max())
        context = self.network.read(hidden[:, first:most] if most else hidden[:, :1])
        tokens, laws = x.gather(1, ends)[:, :, None], []
        for _ in range(k):
            log_q = tempered(self.logits(context, ends - first, tokens)[:, 0].double(), self.temperature).log_softmax(
                -1
            )
            token = draw(log_q.exp(), rng.uniform((len(x),), torch.float64))
            rng, tokens = rng.advance(), torch.cat([tokens, token[:, None, None]], 2)
            laws.append(log_q)
        return Draft(tokens[:, 0, 1:], torch.full_like(lengths, k), torch.stack(laws, 1))


@dataclass(frozen=True)
class _Step:
    """Its `TrainStep`."""

    drafter: AutoregressiveDrafter
    places: int

    def networks(self):
        return {"network": self.drafter.network}

    def frozen(self):
        return (self.drafter.verifier.model,)

    def phases(self):
        return (Phase(network="network", loss=self._loss),)

    def after_update(self, network, step):
        pass

    def _loss(self, batch, rng):
        x, k, drafter = batch.x0, self.drafter.block, self.drafter
        model = drafter.verifier.model
        with torch.no_grad():
            out = model.base_model(input_ids=x, output_hidden_states=True, use_cache=False)
            hidden = torch.cat([out.hidden_states[layer] for layer in drafter.layers], -1)
            p = model.get_output_embeddings()(out.last_hidden_state).float().softmax(-1)
        rows, length = x.shape
        u = rng.uniform((rows, self.places), torch.float64)
        lengths = 2 + (u * (length - k - 1)).long().clamp_max(length - k - 2)
        row, ends = torch.arange(rows)[:, None], lengths - 1
        context, loss = drafter.network.read(hidden), torch.zeros(rows, self.places)
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
            width=like.width, layers=like.layers, block=1, context=like.context, depth=like.depth, heads=like.heads
        )
    drafter = AutoregressiveDrafter(verifier, network, like.block)
    for event in Trainer(_Step(drafter, places), source, None, training).run():
        if event.kind == "log":
            print(f"autoregressive drafter, step {event.step}: loss {event.numbers['loss']:.3f}", flush=True)
    return drafter

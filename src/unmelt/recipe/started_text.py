"""Text by masked diffusion from somebody else's language model, causal ones first.

The weights and the tokenizer are those of the model; the mask is one new token. A causal model keeps its shift, the
output at a token being about the next one, and its attention grows from causal to full (Gong et al., 2025). Then it
learns by the bound of masked diffusion, whole or by low-rank adaptation.

With blocks it learns block diffusion (Fast-dLLM v2: Wu et al., 2025): blocks are written one after the other with an
exact cache, which full attention cannot have.
"""

from collections.abc import Sequence

from unmelt.adapter import LoRA
from unmelt.data import Source
from unmelt.denoiser import Blockwise, TokenDenoiser
from unmelt.errors import UsageError
from unmelt.interop.language.block_network import BlockLanguageNetwork
from unmelt.interop.language.model import LanguageModel
from unmelt.model import TextModel
from unmelt.objective import NELBO, AnyOrder, AttentionAnnealing, Objective
from unmelt.process import Mask
from unmelt.recipe.text_model import TrainingArgs
from unmelt.sampler import grid
from unmelt.sampler.tokens import Confidence, Unmask
from unmelt.train import AdamW

ADAPTER = "lora"
"""Name of the adapter."""


def check_start(changed: Sequence[str], anneal: int, lora: int) -> None:
    """Refuse settings that do not go with a model to start from, before it is read.

    Args:
        changed: Names of settings of a network that are given.
        anneal: Training steps in which attention grows.
        lora: Rank of the adapter.

    Raises:
        UsageError: If there are some, or a number is negative.
    """
    if changed:
        raise UsageError(
            f"{' and '.join(changed)} beside a model to start from",
            "its own network and tokenizer, by masked diffusion of whole rows or of blocks",
            "um.recipe.text(start='path/to/model', folder='books')",
        )
    for name, value in (("anneal", anneal), ("lora", lora)):
        if value < 0:
            raise UsageError(f"{name}={value}", "a whole number, 0 or more", f"{name}=0")


def started_text_model(
    language: LanguageModel,
    source: Source,
    held_out: Source | None,
    training: TrainingArgs,
    anneal: int,
    lora: int,
    notes: str,
    block: int = 0,
    bidirectional_row_fraction: float = 0.0,
) -> TextModel:
    """A model of rows of tokens that starts from a language model.

    Args:
        language: Its network and tokenizer.
        source: Training rows.
        held_out: Rows for evaluation; None for none.
        training: Settings of the training run.
        anneal: Training steps in which the attention of a causal model grows from causal to full.
        lora: Rank of the adapter that learns; 0: all weights learn.
        notes: A sentence for the run folder.
        block: Tokens per block; 0: whole rows.
        bidirectional_row_fraction: With blocks, share of rows that train full attention.

    Returns:
        The untrained model.

    Raises:
        UsageError: If there are blocks, and the model is not a causal one that can have them.
    """
    masks, (length,), padding = Mask(language.tokenizer.vocabulary), source.shape, language.tokenizer.padding
    denoiser: TokenDenoiser | Blockwise
    objective: Objective
    if block:
        both = bidirectional_row_fraction > 0
        denoiser = Blockwise(BlockLanguageNetwork(language.network, block), masks, (length,), both)
        sampler = Unmask(Confidence(), cache=True, end_token=language.tokenizer.end)
        objective = AnyOrder(
            equal_token_weights=True,
            padding=padding,
            bidirectional_row_fraction=bidirectional_row_fraction,
            antithetic_masks=True,
        )
    else:
        denoiser, sampler = TokenDenoiser(language.network, masks, (length,)), Unmask(Confidence())
        objective = NELBO(padding=padding)
        if anneal and language.is_causal:
            objective = AttentionAnnealing(objective=objective, steps=min(anneal, max(1, training.steps // 2)))
    model = TextModel(
        denoiser=denoiser,
        codec=language.tokenizer,
        sampler=sampler,
        grid=grid.uniform(min(length, 64)),
        objective=objective,
        training=training.training(AdamW(), ADAPTER if lora else ""),
        source=source,
        held_out=held_out,
        notes=notes,
    )
    if lora:
        model.add_adapter(ADAPTER, LoRA(rank=lora, alpha=2.0 * lora), seed=training.seed)
    return model

"""What the recipes for text share: a transformer on tokens, and one of three training objectives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from unmelt.backbone import Transformer
from unmelt.codec import Tokenizer
from unmelt.data import FillInTheMiddle, Questions, Source
from unmelt.denoiser import Autoregressive, Blockwise, TokenDenoiser
from unmelt.model import TextModel
from unmelt.objective import NELBO, AnyOrder, NextToken, Objective
from unmelt.process import Mask, Uniform
from unmelt.rng import seeded
from unmelt.sampler import Ancestral, Sampler, grid
from unmelt.sampler.tokens import LeftToRight, Unmask
from unmelt.train import Muon, Training
from unmelt.train.lr_schedule import Trapezoid
from unmelt.train.optimizer import Optimizer

Kind: TypeAlias = Literal["masked", "uniform", "autoregressive"]


class TransformerSize(NamedTuple):
    """Transformer size.

    Args:
        width: Features per token.
        depth: Number of layers.
        heads: Attention heads; twice their number must divide width.
        block: Tokens per attention block (0: full bidirectional attention).
        bidirectional_row_fraction: With blocks, share of rows that train full bidirectional attention.
    """

    width: int
    depth: int
    heads: int
    block: int = 0
    bidirectional_row_fraction: float = 0.0


class TrainingArgs(NamedTuple):
    """Settings of a training run.

    Args:
        steps: Training steps.
        batch: Rows per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.
    """

    steps: int
    batch: int
    lr: float
    ema: float
    seed: int
    save_every: int
    picture_every: int

    def training(self, optimizer: Optimizer, adapter: str = "") -> Training:
        """What a run of text learns by.

        Args:
            optimizer: How gradients become updates.
            adapter: Name of the adapter that learns; "" for all weights.

        Returns:
            The settings, with a rate that rises for 80 steps and falls over the second half.
        """
        return Training(
            steps=self.steps,
            batch=self.batch,
            lr=self.lr,
            ema=self.ema,
            lr_schedule=Trapezoid(warmup=max(1, min(80, self.steps // 10)), fall=0.5),
            optimizer=optimizer,
            seed=self.seed,
            save_every=self.save_every,
            picture_every=self.picture_every,
            adapter=adapter,
        )


def text_model(
    kind: Kind,
    tokenizer: Tokenizer,
    source: Source,
    held_out: Source | None,
    size: TransformerSize,
    training: TrainingArgs,
    *,
    fim_rate: float = 0.0,
    padded: bool = True,
    equal_token_weights: bool = True,
    notes: str = "",
    questions: Callable[[], Mapping[str, Questions]] | None = None,
    coordinates: Sequence[Sequence[int]] | None = None,
) -> TextModel:
    """A model of rows of tokens.

    Args:
        kind: Masked diffusion, uniform diffusion, or autoregression.
        tokenizer: The tokenizer, with its special tokens.
        source: Training rows.
        held_out: Rows for evaluation; None for none.
        size: Size of the transformer.
        training: Settings of the training run.
        fim_rate: Share of rows that train fill in the middle; autoregression only.
        padded: Whether rows may end in padding.
        equal_token_weights: Masked diffusion: weight every masked token equally, rather than every number of masked
            tokens.
        notes: A sentence for the run folder.
        questions: Returns the questions that evaluation asks, by kind; None for none.
        coordinates: Coordinates of each place; None for places in sequence.

    Returns:
        The untrained model.
    """
    vocabulary, (length,) = tokenizer.vocabulary, source.shape
    is_causal, block = kind == "autoregressive", size.block or None
    process = Uniform(vocabulary) if kind == "uniform" else Mask(vocabulary)
    with seeded(training.seed):
        backbone = Transformer(
            input_vocabulary=process.symbols,
            vocabulary=vocabulary,
            length=length,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            block=1 if is_causal else block,
            time=kind == "uniform",
            coordinates=coordinates,
        )
    if fim_rate > 0:
        marks = [tokenizer.special(name) for name in ("prefix", "suffix", "middle", "end")]
        source = FillInTheMiddle(source, fim_rate, marks, training.seed)
    end, padding = tokenizer.special("end"), tokenizer.special("padding") if padded else None
    denoiser: TokenDenoiser | Autoregressive | Blockwise
    objective: Objective
    sampler: Sampler
    if is_causal:
        denoiser = Autoregressive(backbone, Mask(vocabulary), (length,), fim_rate > 0)
        objective = NextToken(padding=padding)
        sampler = Unmask(LeftToRight(), cache=True, end_token=end)
    elif kind == "uniform":
        denoiser, objective = TokenDenoiser(backbone, process, (length,)), NELBO(padding=padding)
        sampler = Ancestral()
    else:
        masks = Mask(vocabulary)
        if block:
            denoiser, sampler = (
                Blockwise(backbone, masks, (length,), size.bidirectional_row_fraction > 0),
                Unmask(cache=True, end_token=end),
            )
        else:
            denoiser, sampler = TokenDenoiser(backbone, masks, (length,)), Ancestral()
        objective = AnyOrder(
            equal_token_weights=equal_token_weights,
            padding=padding,
            bidirectional_row_fraction=size.bidirectional_row_fraction if block else 0.0,
            antithetic_masks=bool(block),
        )
    model = TextModel(
        denoiser=denoiser,
        codec=tokenizer,
        sampler=sampler,
        grid=grid.uniform(length if is_causal else min(length, 64)),
        objective=objective,
        training=training.training(Muon()),
        source=source,
        held_out=held_out,
        notes=notes,
    )
    model.questions = questions
    return model

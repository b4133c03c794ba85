"""What the recipes for text share: a transformer on tokens, and one of three ways to learn to write."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from unmelt.backbone import Transformer
from unmelt.codec import Tokenizer
from unmelt.data import FillInTheMiddle, Questions, Source
from unmelt.denoiser import Autoregressive, Blockwise, TokenNetwork
from unmelt.model import TextModel
from unmelt.objective import NELBO, AnyOrder, NextToken, Objective
from unmelt.process import Mask, Uniform
from unmelt.rng import seeded
from unmelt.sampler import Ancestral, Sampler, grid
from unmelt.sampler.tokens import LeftToRight, Unmask
from unmelt.train import Muon, Training
from unmelt.train.lr_schedule import Trapezoid

Kind: TypeAlias = Literal["masked", "uniform", "autoregressive"]


class TransformerSize(NamedTuple):
    """Features, blocks, heads; places that read from one another before the next ones are begun, 0 for all; and the
    share of rows from which a network of blocks learns to read from all sides nevertheless."""

    width: int
    depth: int
    heads: int
    block: int = 0
    bidirectional_fraction: float = 0.0


class TrainingArgs(NamedTuple):
    """Of training."""

    steps: int
    batch: int
    lr: float
    ema: float
    seed: int
    save_every: int
    picture_every: int


def text_model(
    kind: Kind,
    tokenizer: Tokenizer,
    real: Source,
    aside: Source | None,
    size: TransformerSize,
    course: TrainingArgs,
    *,
    fim_rate: float = 0.0,
    padded: bool = True,
    token_mean: bool = True,
    notes: str = "",
    questions: Callable[[], Mapping[str, Questions]] | None = None,
    coordinates: Sequence[Sequence[int]] | None = None,
) -> TextModel:
    """A model of rows of tokens.

    fim_rate   share of rows from which an autoregressive model learns to fill a middle in
    padded   whether rows may end in padding
    token_mean     whether masks are learned with every masked token alike, or every number of masks
    coordinates   where each place stands, if not one after the other
    """
    vocabulary, (length,) = tokenizer.vocabulary, real.shape
    reads_on, block = kind == "autoregressive", size.block or None
    process = Uniform(vocabulary) if kind == "uniform" else Mask(vocabulary)
    with seeded(course.seed):
        backbone = Transformer(
            symbols=process.symbols,
            vocabulary=vocabulary,
            length=length,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            block=1 if reads_on else block,
            time=kind == "uniform",
            coordinates=coordinates,
        )
    if fim_rate > 0:
        marks = [tokenizer.special(name) for name in ("prefix", "suffix", "middle", "end")]
        real = FillInTheMiddle(real, fim_rate, marks, course.seed)
    end, padding = tokenizer.special("end"), tokenizer.special("padding") if padded else None
    denoiser: TokenNetwork | Autoregressive | Blockwise
    objective: Objective
    sampler: Sampler
    if reads_on:
        denoiser = Autoregressive(backbone, Mask(vocabulary), (length,), fim_rate > 0)
        objective = NextToken(padding=padding)
        sampler = Unmask(LeftToRight(), cache=True, end=end)
    elif kind == "uniform":
        denoiser, objective = TokenNetwork(backbone, process, (length,)), NELBO(padding=padding)
        sampler = Ancestral()
    else:
        masks = Mask(vocabulary)
        if block:
            denoiser, sampler = (
                Blockwise(backbone, masks, (length,), size.bidirectional_fraction > 0),
                Unmask(cache=True, end=end),
            )
        else:
            denoiser, sampler = TokenNetwork(backbone, masks, (length,)), Ancestral()
        objective = AnyOrder(
            token_mean=token_mean,
            padding=padding,
            bidirectional_fraction=size.bidirectional_fraction if block else 0.0,
            antithetic_masks=bool(block),
        )
    model = TextModel(
        denoiser=denoiser,
        codec=tokenizer,
        sampler=sampler,
        grid=grid.uniform(length if reads_on else min(length, 64)),
        objective=objective,
        training=Training(
            steps=course.steps,
            batch=course.batch,
            lr=course.lr,
            ema=course.ema,
            lr_schedule=Trapezoid(warmup=max(1, min(80, course.steps // 10)), fall=0.5),
            optimizer=Muon(),
            seed=course.seed,
            save_every=course.save_every,
            picture_every=course.picture_every,
        ),
        source=real,
        held_out=aside,
        notes=notes,
    )
    model.questions = questions
    return model

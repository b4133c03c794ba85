"""Your own images."""

from typing import Literal

from unmelt import data
from unmelt.backbone import UNet
from unmelt.codec import Affine
from unmelt.control import control_named
from unmelt.data import Arrays, AspectRatioBuckets, Report
from unmelt.data.split import SplitBy
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import Preconditioned
from unmelt.encoder import TextEncoder, caption_encoder
from unmelt.model import Model
from unmelt.objective import EDMWeight, LogNormalSigma, Regression, Stratified
from unmelt.process import Gaussian
from unmelt.recipe.control import DROP_EACH
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import VarianceExploding
from unmelt.train import Training

MULTIPLE = 4
"""What the sides of buckets are multiples of: the network halves its grid twice."""


def training_images(
    folder: Folder,
    size: int,
    channels: int,
    seed: int,
    multiple: int | None,
    label: str,
    caption: str,
    encoder: TextEncoder,
) -> tuple[Arrays | AspectRatioBuckets, Report]:
    """Read images as squares, or in buckets of several aspect ratios.

    Args:
        folder: Path of the images.
        size: Side of the squares.
        channels: 3 for colour, 1 for greyscale.
        seed: Seed of the order in which batches come.
        multiple: What the sides of buckets are multiples of; None for squares.
        label: Column of classes.
        caption: Column of captions.
        encoder: Encodes the captions.

    Returns:
        (source, report).
    """
    if multiple is None:
        return data.images(folder, size, channels, seed, label=label, caption=caption, encoder=encoder)
    multiple = min(multiple, size)
    return data.image_buckets(
        folder, size, channels, seed, multiple=multiple, label=label, caption=caption, encoder=encoder
    )


@recorded
def images(
    *,
    folder: Folder,
    size: int = 32,
    aspect_ratio_buckets: bool = False,
    channels: Literal[1, 3] = 3,
    label: str = "auto",
    caption: str = "",
    encoder: str = "words",
    caption_queries: int = 0,
    control: Literal["none", "edges", "gray", "low-resolution"] = "none",
    held_out: float = 0.1,
    split: SplitBy = "content",
    width: int = 64,
    blocks: int = 2,
    steps: int = 20_000,
    batch: int = 64,
    lr: float = 1e-3,
    ema: float = 0.999,
    drop: float = 0.1,
    dropout: float = 0.0,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> Model:
    """Images of any size and format, cropped to squares or to the nearest of several shapes.

    Classes come from subfolders or from a column.

    Args:
        folder: Path of the images: a folder, zip, tar, .npy, .npz, parquet, WebDataset shards, or hf:owner/name.
        size: Side of the square training images, in pixels.
        aspect_ratio_buckets: Train on several shapes of nearly size * size pixels, each image cropped to the nearest.
        channels: 3 for colour, 1 for greyscale.
        label: Column of classes, where there are columns; auto for a usual name, empty for no classes.
        caption: Column of captions; auto for a usual name or a .txt beside each image, empty for none.
        encoder: What reads captions: words, hashed; or the folder or .gguf file of a language model.
        caption_queries: Learned queries that read captions, of which pictures read the answers; 0: pictures read words.
        control: What is computed of each image and given to the network, to be given to samples.
        held_out: Share of the images held out for evaluation.
        split: What decides an item's side: its own content, or its position, as in version 0.1.0.
        width: Channels of the U-Net at its finest level.
        blocks: Residual blocks at each level, in the encoder and in the decoder.
        steps: Training steps.
        batch: Images per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without class, caption and control, for guidance.
        dropout: Dropout rate of features; raise it for small folders.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The untrained model.
    """
    reader = caption_encoder(encoder)
    everything, report = training_images(
        folder, size, channels, seed, MULTIPLE if aspect_ratio_buckets else None, label, caption, reader
    )
    source, held_out_images = everything.split(held_out, by=split)
    reads = None if control == "none" else control_named(control, channels)
    with seeded(seed):
        backbone = UNet(
            channels=channels,
            width=width,
            multipliers=(1, 2, 2),
            blocks=blocks,
            attention=(False, False, True),
            dropout=dropout,
            context_channels=0 if reads is None else reads.channels,
            classes=len(source.classes),
            sequence_width=reader.width if caption else 0,
            sequence_queries=caption_queries if caption else 0,
        )
    return Model(
        denoiser=NetworkDenoiser(
            backbone, Gaussian(VarianceExploding(0.002, 80.0)), Preconditioned(0.5), source.shape, data_sd=0.5
        ),
        codec=Affine.images(),
        grid=grid.balanced(20),
        objective=Regression(
            times=Stratified(LogNormalSigma(mean=-1.2, sd=1.2)),
            weight=EDMWeight(0.5),
            drop=drop if source.classes or caption or reads is not None else 0.0,
            drop_each=0.0 if reads is None else DROP_EACH,
        ),
        training=Training(
            steps=steps,
            batch=batch,
            lr=lr,
            ema=ema,
            precision=precision,
            seed=seed,
            save_every=save_every,
            picture_every=picture_every,
        ),
        classes=source.classes,
        source=source,
        held_out=held_out_images,
        encoder=reader if caption else None,
        control=reads,
        notes=str(report),
    )

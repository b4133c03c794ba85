"""Your own images by latent diffusion: a transformer on what an autoencoder makes of them."""

import math
from pathlib import Path
from typing import Any, Literal

from unmelt.backbone import DiT, JointDiT, Transformer
from unmelt.codec import Autoencoder, QuantizedAutoencoder
from unmelt.data.split import SplitBy
from unmelt.denoiser import NetworkDenoiser, TokenDenoiser
from unmelt.denoiser.prediction import FlowVelocity
from unmelt.encoder import caption_encoder
from unmelt.errors import UsageError
from unmelt.interop import DiffusersCodec, codec_from_diffusers
from unmelt.interop.network.autoencoder import is_diffusers_codec
from unmelt.modality import Images
from unmelt.model import CodecModel, Model, load
from unmelt.objective import AnyOrder, FlatWeight, LogitNormal, Regression, Stratified
from unmelt.process import Gaussian, Mask
from unmelt.recipe.images import training_images
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import seeded
from unmelt.sampler import Ancestral, grid
from unmelt.schedule import Straight
from unmelt.train import Muon, Training
from unmelt.train.lr_schedule import Cosine


@recorded
def latents(
    *,
    folder: Folder,
    codec: Folder,
    size: int = 64,
    aspect_ratio_buckets: bool = False,
    label: str = "auto",
    caption: str = "",
    encoder: str = "words",
    caption_queries: int = 0,
    held_out: float = 0.1,
    split: SplitBy = "content",
    patch: int = 2,
    width: int = 256,
    depth: int = 8,
    heads: int = 4,
    attention: Literal["cross", "joint"] = "cross",
    shift: float = 1.0,
    steps: int = 20_000,
    batch: int = 64,
    lr: float = 2e-3,
    ema: float = 0.999,
    drop: float = 0.1,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> Model:
    """A diffusion transformer on the latents of an autoencoder: one that `recipe.autoencoder` trained, or of diffusers.

    All images are encoded once, into the cache. Paths from noise to latents are straight (rectified flow). Tokens are
    learned by masked diffusion, in any order.

    Args:
        folder: Path of the images: a folder, zip, tar, .npy, .npz, parquet, WebDataset shards, or hf:owner/name.
        codec: Run folder of the autoencoder, or a folder in which diffusers saved one.
        size: Side of the square images, in pixels.
        aspect_ratio_buckets: Train on several shapes of nearly size * size pixels, each image cropped to the nearest.
            Of numbers only.
        label: Column of classes, where there are columns; auto for a usual name, empty for no classes.
        caption: Column of captions; auto for a usual name or a .txt beside each image, empty for none.
        encoder: What reads captions: words, hashed; or the folder or .gguf file of a language model.
        caption_queries: Learned queries that read captions, of which pictures read the answers; 0: pictures read words.
            Of numbers only.
        held_out: Share of the images held out for evaluation.
        split: What decides an item's side: its own content, or its position.
        patch: Side of the patches of latents that are one place of the transformer; of numbers only.
        width: Features of the transformer; a multiple of heads.
        depth: Number of blocks.
        heads: Attention heads.
        attention: How the transformer reads captions: cross, by attention to them; joint, by attention of both to both.
        shift: Factor on the noise at every time; above 1 for large latents. Of numbers only.
        steps: Training steps.
        batch: Images per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without class and caption, for guidance.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The untrained model.

    Raises:
        UsageError: If `codec` holds no trained autoencoder, or one of tokens where buckets are asked for.
    """
    coder = autoencoder_of(Path(codec))
    reader = caption_encoder(encoder)
    if aspect_ratio_buckets and isinstance(coder, QuantizedAutoencoder):
        given = "aspect_ratio_buckets=True for latents that are tokens"
        raise UsageError(given, "one shape, or latents that are numbers", "aspect_ratio_buckets=False")
    multiple = patch * coder.factor if aspect_ratio_buckets else None
    everything, report = training_images(folder, size, coder.channels, seed, multiple, label, caption, reader)
    source, held_out_images = everything.split(held_out, by=split)
    shape, known = coder.latent_shape(source.shape), bool(source.classes or caption)
    training = Training(
        steps=steps,
        batch=batch,
        lr=lr,
        ema=ema,
        lr_schedule=Cosine(warmup=max(1, steps // 20)),
        optimizer=Muon(),
        precision=precision,
        seed=seed,
        save_every=save_every,
        picture_every=picture_every,
    )
    common: dict[str, Any] = {"codec": coder, "modality": Images(), "training": training, "classes": source.classes}
    common |= {"source": source, "held_out": held_out_images, "notes": str(report)}
    if isinstance(coder, QuantizedAutoencoder):
        with seeded(seed):
            network = Transformer(
                input_vocabulary=coder.vocabulary + 1,
                vocabulary=coder.vocabulary,
                length=math.prod(shape),
                width=width,
                depth=depth,
                heads=heads,
                classes=len(source.classes),
                sequence_width=reader.width if caption else 0,
                coordinates=[(row, column) for row in range(shape[0]) for column in range(shape[1])],
            )
        return Model(
            denoiser=TokenDenoiser(network, Mask(coder.vocabulary), shape),
            grid=grid.cosine(16),
            sampler=Ancestral(),
            objective=AnyOrder(equal_token_weights=True, drop=drop if known else 0.0),
            encoder=reader if caption else None,
            **common,
        )
    with seeded(seed):
        sizes: dict[str, Any] = {"channels": shape[0], "patch": patch, "width": width, "depth": depth, "heads": heads}
        knows: dict[str, Any] = {"classes": len(source.classes)}
        knows["sequence_width"] = reader.width if caption else 0
        knows["sequence_queries"] = caption_queries if caption else 0
        backbone = (
            JointDiT(**sizes, **knows)
            if attention == "joint"
            else DiT(**sizes, **knows, size=shape[1:], any_size=aspect_ratio_buckets, qk_norm=True)
        )
    return Model(
        denoiser=NetworkDenoiser(backbone, Gaussian(Straight(shift)), FlowVelocity(), shape),
        grid=grid.uniform(20),
        objective=Regression(
            times=Stratified(LogitNormal()), weight=FlatWeight(FlowVelocity()), drop=drop if known else 0.0
        ),
        encoder=reader if caption else None,
        **common,
    )


def autoencoder_of(run: Path) -> Autoencoder | QuantizedAutoencoder | DiffusersCodec:
    """Load the autoencoder of a finished run, or one that diffusers saved.

    Args:
        run: Its folder.

    Returns:
        The autoencoder.

    Raises:
        UsageError: If there is no such folder, it holds something else, or its training is not done.
    """
    if is_diffusers_codec(run):
        return codec_from_diffusers(run)
    model = load(run, "cpu")
    if not isinstance(model, CodecModel):
        raise UsageError(
            f"codec={str(run)!r}, which holds no autoencoder",
            "a run of one",
            'um.recipe.autoencoder(folder="faces", size=64).fit(out="runs/faces-codec")',
        )
    if model.training is not None and model.steps_done < model.training.steps:
        raise UsageError(
            f"codec={str(run)!r}, which has taken {model.steps_done:,} of {model.training.steps:,} training steps",
            "an autoencoder whose training is done; its latents are measured at the end",
            f"um.recipe.resumed({str(run)!r}).fit({str(run)!r})",
        )
    return model.codec

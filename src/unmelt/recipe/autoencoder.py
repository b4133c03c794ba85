"""An autoencoder of your own images: the first stage of latent diffusion."""

from pathlib import Path
from typing import Literal

from unmelt import data
from unmelt.codec import Affine, Autoencoder, QuantizedAutoencoder
from unmelt.data.split import SplitBy
from unmelt.errors import UsageError
from unmelt.model import CodecModel, Model, load
from unmelt.objective import DenoiserFeatures, Equivariance, Reconstruction
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import seeded
from unmelt.train import Training
from unmelt.train.lr_schedule import Cosine


@recorded
def autoencoder(
    *,
    folder: Folder,
    size: int = 64,
    channels: Literal[1, 3] = 3,
    latents: Literal["numbers", "tokens"] = "numbers",
    latent_channels: int = 4,
    levels: tuple[int, ...] = (8, 5, 5, 5),
    widths: tuple[int, ...] = (64, 128),
    blocks: tuple[int, ...] = (1, 2),
    patch: int = 2,
    kl: float = 1e-3,
    features: Folder = "",
    perceptual: float = 0.3,
    equivariance: float = 0.5,
    held_out: float = 0.1,
    split: SplitBy = "content",
    steps: int = 10_000,
    batch: int = 32,
    lr: float = 1e-3,
    ema: float = 0.999,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> CodecModel:
    """An autoencoder that divides the sides of images by 4 or more; `recipe.latents` learns what it makes of them.

    Args:
        folder: Path of the images: a folder, zip, tar, .npy, .npz, parquet, WebDataset shards, or hf:owner/name.
        size: Side of the square training images, in pixels; a multiple of patch * 2^(len(widths) - 1).
        channels: 3 for colour, 1 for greyscale.
        latents: numbers for Gaussian latents, tokens for finite scalar quantisation.
        latent_channels: Channels of the latents; of numbers only.
        levels: Levels of each dimension of a token; of tokens only.
        widths: Channels on each grid, from the finest to the coarsest.
        blocks: Residual blocks on each grid, each way.
        patch: Side of the squares that become one place of the finest grid.
        kl: Weight of the KL term, in nats a number of the image; of numbers only.
        features: Run folder of a model of images, in the features of whose network a perceptual distance is taken;
            empty for no such term.
        perceptual: Weight of the perceptual distance.
        equivariance: Share of the rows that are decoded from shrunk and turned latents; of numbers only.
        held_out: Share of the images held out for evaluation.
        split: What decides an item's side: its own content, or its position.
        steps: Training steps.
        batch: Images per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between pictures of images and their reconstructions; 0 for none.

    Returns:
        The untrained autoencoder.
    """
    everything, report = data.images(folder, size, channels, seed, label="")
    source, held_out_images = everything.split(held_out, by=split)
    of_numbers = latents == "numbers"
    with seeded(seed):
        codec = (
            Autoencoder(channels=channels, latent_channels=latent_channels, patch=patch, widths=widths, blocks=blocks)
            if of_numbers
            else QuantizedAutoencoder(channels=channels, levels=levels, patch=patch, widths=widths, blocks=blocks)
        )
    codec.latent_shape(source.shape)
    return CodecModel(
        codec=codec,
        objective=Reconstruction(
            kl=kl if of_numbers else 0.0,
            perceptual=perceptual,
            features=features_of(Path(features), source.shape) if str(features) else None,
            equivariance=Equivariance(share=equivariance) if of_numbers and equivariance else None,
        ),
        training=Training(
            steps=steps,
            batch=batch,
            lr=lr,
            ema=ema,
            lr_schedule=Cosine(warmup=max(1, steps // 20)),
            precision=precision,
            seed=seed,
            save_every=save_every,
            picture_every=picture_every,
        ),
        source=source,
        held_out=held_out_images,
        notes=str(report),
    )


def features_of(run: Path, shape: tuple[int, ...]) -> DenoiserFeatures:
    """The features of a trained model of images.

    Args:
        run: Its run folder.
        shape: Shape of the images that they are to be taken of.

    Returns:
        The features, with the model's weights.

    Raises:
        UsageError: If there is no such run, or it is no model of the pixels of such images.
    """
    model = load(run, "cpu")
    if not isinstance(model, Model) or not isinstance(model.codec, Affine) or model.denoiser.shape[0] != shape[0]:
        raise UsageError(
            f"features={str(run)!r}, which is no model of the pixels of images with {shape[0]} channels",
            "a run of such a model",
            'um.recipe.images(folder="faces", size=64).fit(out="runs/faces-pixels")',
        )
    return DenoiserFeatures(model.denoiser)

"""Scenes: pictures painted by a program, and what they show in words."""

from typing import Literal

from unmelt.backbone import UNet
from unmelt.codec import Affine
from unmelt.data import Scenes
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import Preconditioned
from unmelt.encoder import LayoutEncoder, caption_encoder
from unmelt.model import Model
from unmelt.objective import EDMWeight, LogNormalSigma, Regression, Stratified
from unmelt.planner import LayoutPlanner
from unmelt.process import Gaussian
from unmelt.recipe.origin import recorded
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import VarianceExploding
from unmelt.train import Muon, Training
from unmelt.train.lr_schedule import Cosine


@recorded
def scenes(
    *,
    size: int = 32,
    encoder: str = "words",
    captions: int = 4000,
    shuffled: bool = False,
    width: int = 32,
    blocks: int = 1,
    steps: int = 10_000,
    batch: int = 32,
    lr: float = 3e-3,
    ema: float = 0.998,
    drop: float = 0.1,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 1000,
) -> Model:
    """Pictures of up to three coloured objects from captions; what samples show is read by `um.scene.read`.

    Captions are wordings of a scene, its plan, or both ("two red stars | 2 red star"). Combinations and wordings that
    `um.scene` holds out are not among them.

    Args:
        size: Side of the pictures, in pixels.
        encoder: words for hashed words; or the path of a language model, whose hidden states are attended to.
        captions: Number of different captions.
        shuffled: Whether each picture gets the caption of another, as a control.
        width: Channels of the U-Net at its finest level; a multiple of 4.
        blocks: Residual blocks at each level, in the encoder and in the decoder.
        steps: Training steps.
        batch: Pictures per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without caption, for guidance.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The untrained model.
    """
    reader = LayoutEncoder(caption_encoder(encoder, context=True), size)
    source, held_out = (
        Scenes(size=size, captions=captions, layouts=True, shuffled=shuffled, encoder=reader, seed=each)
        for each in (seed, seed + 1)
    )
    with seeded(seed):
        backbone = UNet(
            channels=3,
            patch=2,
            width=width,
            multipliers=(1, 2, 4),
            blocks=blocks,
            attention=(False, True, True),
            positions=True,
            context_channels=reader.map_channels,
            sequence_width=reader.width,
        )
    return Model(
        denoiser=NetworkDenoiser(
            backbone, Gaussian(VarianceExploding(0.002, 80.0)), Preconditioned(0.5), source.shape, data_sd=0.5
        ),
        codec=Affine.images(),
        grid=grid.balanced(20),
        objective=Regression(
            times=Stratified(LogNormalSigma(mean=-0.6, sd=1.4)),  # what is where is decided at much noise
            weight=EDMWeight(0.5),
            drop=drop,
        ),
        training=Training(
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
        ),
        source=source,
        held_out=held_out,
        encoder=reader,
        planner=LayoutPlanner(),
    )

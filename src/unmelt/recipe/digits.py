"""Handwritten digits: real images, from nothing to samples in a minute."""

from typing import Literal

from unmelt import data
from unmelt.backbone import UNet
from unmelt.codec import Affine
from unmelt.denoiser import Network
from unmelt.denoiser.prediction import Preconditioned
from unmelt.model import Model
from unmelt.objective import EDM, LogNormalSigma, Regression, Stratified
from unmelt.process import Gaussian
from unmelt.recipe.recorded import recorded
from unmelt.rng import seeded
from unmelt.sampler import DPMpp, grid
from unmelt.schedule import VarianceExploding
from unmelt.train import Training


@recorded
def digits(
    *,
    width: int = 32,
    steps: int = 800,
    batch: int = 128,
    lr: float = 4e-3,
    ema: float = 0.99,
    drop: float = 0.1,
    precision: Literal["float32", "bfloat16"] = "float32",
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 0,
) -> Model:
    """The ten digits of scikit-learn, 8 x 8 pixels, one class each.

    Args:
        width: Channels of the U-Net on its finest level.
        steps: Training steps.
        batch: Images a step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows that learn without their class, for guidance.
        precision: Of matrix products.
        seed: Of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.
    """
    real = data.digits(seed=seed)
    with seeded(seed):
        backbone = UNet(
            channels=1, width=width, multipliers=(1, 2), blocks=1, attention=(False, False), classes=len(real.classes)
        )
    return Model(
        denoiser=Network(
            backbone, Gaussian(VarianceExploding(0.02, 80.0)), Preconditioned(0.75), real.shape, data_sd=0.75
        ),
        codec=Affine.images(),
        sampler=DPMpp(order=2),
        grid=grid.karras(20, sigma_min=0.02),
        objective=Regression(times=Stratified(LogNormalSigma(mean=-0.8, sd=1.2)), weight=EDM(0.75), drop=drop),
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
        classes=real.classes,
        source=real,
        held_out=data.digits(held_out=True),
    )

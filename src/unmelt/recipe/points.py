"""What the recipes for points in one or two dimensions share: a conditional perceptron on EDM's process."""

from unmelt.backbone import MLP
from unmelt.codec import Affine
from unmelt.data import Toy
from unmelt.denoiser import Network
from unmelt.denoiser.prediction import Preconditioned
from unmelt.model import Model
from unmelt.objective import EDM, LogNormalSigma, Regression, Stratified
from unmelt.process import Gaussian
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import VarianceExploding
from unmelt.train import Training

SPREAD = 1.5
"""About the standard deviation of the toy densities, which becomes 1 in model space."""


def points(real: Toy, fresh: Toy, width: int, depth: int, steps: int, batch: int, lr: float, seed: int) -> Model:
    """A model of `real`, to be judged by `fresh`."""
    with seeded(seed):
        backbone = MLP(shape=real.shape, width=width, depth=depth, classes=len(real.classes))
    return Model(
        denoiser=Network(
            backbone, Gaussian(VarianceExploding(0.002, 80.0)), Preconditioned(1.0), real.shape, data_sd=1.0
        ),
        codec=Affine(scale=SPREAD),
        grid=grid.balanced(20),
        objective=Regression(
            times=Stratified(LogNormalSigma(mean=-1.0, sd=1.4)), weight=EDM(1.0), drop=0.1 if real.classes else 0.0
        ),
        training=Training(steps=steps, batch=batch, lr=lr, ema=0.995, seed=seed),
        classes=real.classes,
        source=real,
        held_out=fresh,
    )

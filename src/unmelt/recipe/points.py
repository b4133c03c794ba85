"""What the recipes for points in one or two dimensions share: a conditional multilayer perceptron on EDM's process."""

from unmelt.backbone import MLP
from unmelt.codec import Affine
from unmelt.data import Toy
from unmelt.denoiser import Network
from unmelt.denoiser.prediction import Preconditioned
from unmelt.model import Model
from unmelt.objective import EDMWeight, LogNormalSigma, Regression, Stratified
from unmelt.process import Gaussian
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import VarianceExploding
from unmelt.train import Training

DATA_SD = 1.5
"""Approximate standard deviation of the toy densities, which becomes 1 in model space."""


def points(source: Toy, held_out: Toy, width: int, depth: int, steps: int, batch: int, lr: float, seed: int) -> Model:
    """A model of a toy density.

    Args:
        source: The density to train on.
        held_out: The same density with another seed, for evaluation.
        width: Features of the network's layers.
        depth: Number of residual blocks.
        steps: Training steps.
        batch: Points per step.
        lr: Peak learning rate.
        seed: Seed of weights and noise.

    Returns:
        The untrained model.
    """
    with seeded(seed):
        backbone = MLP(shape=source.shape, width=width, depth=depth, classes=len(source.classes))
    return Model(
        denoiser=Network(
            backbone, Gaussian(VarianceExploding(0.002, 80.0)), Preconditioned(1.0), source.shape, data_sd=1.0
        ),
        codec=Affine(scale=DATA_SD),
        grid=grid.balanced(20),
        objective=Regression(
            times=Stratified(LogNormalSigma(mean=-1.0, sd=1.4)),
            weight=EDMWeight(1.0),
            drop=0.1 if source.classes else 0.0,
        ),
        training=Training(steps=steps, batch=batch, lr=lr, ema=0.995, seed=seed),
        classes=source.classes,
        source=source,
        held_out=held_out,
    )

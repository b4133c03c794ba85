"""Diffusion policy: plans of actions, given what has been observed (Chi et al., 2023).

The network predicts x0. Plans have few degrees of freedom and many numbers: x0 lies on a thin set, which a narrow
network finds; a velocity or noise fills all dimensions, and a network must carry it through (Li and He, 2025).
"""

from typing import Literal

from torch import nn

from unmelt import data
from unmelt.backbone import FrameMLP, FrameTransformer, StandardizedVector
from unmelt.codec import Standardize
from unmelt.data import ActionChunks
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import X0
from unmelt.modality import Actions
from unmelt.model import Model
from unmelt.objective import KnownPrefix, MinSNR, Regression, Stratified, Uniform
from unmelt.process import Gaussian
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import Straight
from unmelt.train import Training

MOST_WEIGHT = 100.0
"""Largest weight of an error in x0: that of a flow's velocity, (1 - t)^2 / t^2 nearly, is without bound at t = 0."""


@recorded
def policy(
    *,
    episodes: Folder,
    horizon: int = 16,
    observed: int = 2,
    stride: int = 1,
    network: Literal["mlp", "transformer"] = "mlp",
    known: float = 0.5,
    held_out: float = 0.1,
    width: int = 128,
    depth: int = 4,
    steps: int = 20_000,
    batch: int = 64,
    lr: float = 4e-3,
    ema: float = 0.999,
    drop: float = 0.1,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> Model:
    """A policy from demonstrations: it plans chunks of actions, given the last observations.

    `unmelt train policy --episodes demos --out runs/policy`, then `um.Policy(um.load("runs/policy")).act(observation)`.

    Args:
        episodes: Path of the demonstrations: .npz files, or a folder of LeRobot.
        horizon: Actions of a plan.
        observed: Last observations that the policy is given.
        stride: Moments between the beginnings of two training plans; 0 for one plan an episode, from its beginning.
        network: mlp, for plans of up to some hundred numbers; or transformer, with a token for each action.
        known: Share of training plans of which a first part is known, so that plans can be gone on with.
        held_out: Share of the episodes held out for evaluation.
        width: Features of the network.
        depth: Number of blocks.
        steps: Training steps.
        batch: Plans per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without observations, for guidance and for plans of no particular situation.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The untrained model.
    """
    train, test = data.read_episodes(episodes).split(held_out)
    source, beside = (ActionChunks(each, horizon, observed, stride, seed) for each in (train, test))
    seen = Standardize.of(source.observations)
    frame, vector_width = source.shape[1:], observed * source.observations.shape[1]
    with seeded(seed):
        backbone: nn.Module
        if network == "mlp":
            backbone = FrameMLP(frames=horizon, shape=frame, width=width, depth=depth, vector_width=vector_width)
        else:
            backbone = FrameTransformer(
                frames=horizon, shape=frame, width=width, depth=depth, vector_width=vector_width
            )
        backbone = StandardizedVector(backbone, seen.mean, seen.sd)
    return Model(
        denoiser=NetworkDenoiser(backbone, Gaussian(Straight()), X0(), source.shape),
        codec=Standardize.of(source.actions),
        modality=Actions(),
        grid=grid.uniform(8),
        objective=Regression(
            times=KnownPrefix(Stratified(Uniform()), horizon, known) if horizon > 1 else Stratified(Uniform()),
            weight=MinSNR(MOST_WEIGHT),
            drop=drop,
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
        source=source,
        held_out=beside,
    )

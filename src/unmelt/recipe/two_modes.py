"""Two modes on a line: the smallest generative model."""

from unmelt import data
from unmelt.model import Model
from unmelt.recipe.origin import recorded
from unmelt.recipe.points import points


@recorded
def two_modes(
    *,
    sd: float = 0.3,
    width: int = 64,
    depth: int = 3,
    steps: int = 1500,
    batch: int = 512,
    lr: float = 2e-3,
    seed: int = 0,
) -> Model:
    """Points around -2 and +2 on a line, trained on an endless supply of samples.

    `unmelt train two_modes --out runs/two_modes`: about 20 seconds on 2 cores; energy distance to the truth within the
    noise of 2000 samples.

    Args:
        sd: Standard deviation of each mode.
        width: Features of the network's layers.
        depth: Number of residual blocks of the network.
        steps: Training steps.
        batch: Points per step.
        lr: Peak learning rate.
        seed: Seed of weights, data and noise.

    Returns:
        The untrained model.
    """
    return points(
        data.TwoModes(sd=sd, seed=seed), data.TwoModes(sd=sd, seed=seed + 1), width, depth, steps, batch, lr, seed
    )

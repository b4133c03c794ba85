"""A model of windows of frames: what the recipes of worlds and of films share."""

from unmelt import data
from unmelt.backbone import FrameUNet
from unmelt.codec import Affine
from unmelt.data import FrameWindows
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import X0
from unmelt.modality import Video
from unmelt.model import Model
from unmelt.objective import Regression
from unmelt.process import Gaussian
from unmelt.recipe.origin import Folder
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import Straight
from unmelt.train import Training


def frame_model(
    episodes: Folder,
    held_out: float,
    frames: int,
    *,
    patch: int,
    width: int,
    blocks: int,
    objective: Regression,
    sampling_steps: int,
    training: Training,
) -> Model:
    """A model whose network predicts x0 of windows of frames, given the actions where there are some.

    Args:
        episodes: Path of the episodes.
        held_out: Share of the episodes held out for evaluation.
        frames: Frames of a window.
        patch: Side of the squares of pixels that are the places of the network's finest level.
        width: Channels of the U-Net at its finest level.
        blocks: Residual blocks at each level, in the encoder and in the decoder.
        objective: The loss.
        sampling_steps: Steps of the model's own grid.
        training: Steps, batch, learning rate and so on; its seed is that of weights and windows too.

    Returns:
        The untrained model.
    """
    train, test = (FrameWindows(each, frames, training.seed) for each in data.read_episodes(episodes).split(held_out))
    with seeded(training.seed):
        backbone = FrameUNet(
            frames=frames,
            channels=train.shape[1],
            patch=patch,
            width=width,
            blocks=blocks,
            vector_width=train.actions.shape[1],
        )
    return Model(
        denoiser=NetworkDenoiser(backbone, Gaussian(Straight()), X0(), train.shape),
        codec=Affine.images(),
        modality=Video(),
        grid=grid.uniform(sampling_steps),
        objective=objective,
        training=training,
        source=train,
        held_out=test,
    )

"""World models: the next frame given the last frames and the action, by diffusion (Alonso et al., 2024).

The network predicts x0: most of a frame is certain, and a velocity or noise would have to be carried through every
pixel. Times are drawn mostly from the noisy end, where a frame has to be foretold; later ones show it already.
"""

from typing import Literal

from unmelt.denoiser.prediction import X0
from unmelt.model import Model
from unmelt.objective import FlatWeight, KnownPrefix, LogitNormal, Regression, Stratified
from unmelt.recipe.frame_model import frame_model
from unmelt.recipe.origin import Folder, recorded
from unmelt.train import Training


@recorded
def world(
    *,
    episodes: Folder,
    frames: int = 4,
    context_noise: float = 0.1,
    known: float = 0.9,
    patch: int = 2,
    held_out: float = 0.1,
    width: int = 32,
    blocks: int = 1,
    steps: int = 40_000,
    batch: int = 16,
    lr: float = 2e-3,
    ema: float = 0.999,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> Model:
    """A world to play in: the next frame, given the frames before it and the action.

    `unmelt train world --episodes games.npz --out runs/world`, then `unmelt play runs/world`.

    Args:
        episodes: Path of the episodes, .npz files with frames [moments, channels, height, width] and actions.
        frames: Frames of a window, the new one included.
        context_noise: Latest time to which known frames are noised in training, each to its own; 0 for clean ones.
        known: Share of training windows of which all frames but the last are known; of the others none is.
        patch: Side of the squares of pixels that are the places of the network's finest level.
        held_out: Share of the episodes held out for evaluation.
        width: Channels of the U-Net at its finest level.
        blocks: Residual blocks at each level, in the encoder and in the decoder.
        steps: Training steps.
        batch: Windows per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The untrained model.
    """
    times = KnownPrefix(Stratified(LogitNormal(1.5)), frames, share=known, known=frames - 1, noise=context_noise)
    training = Training(
        steps=steps,
        batch=batch,
        lr=lr,
        ema=ema,
        precision=precision,
        seed=seed,
        save_every=save_every,
        picture_every=picture_every,
    )
    return frame_model(
        episodes,
        held_out,
        frames,
        patch=patch,
        width=width,
        blocks=blocks,
        objective=Regression(times=times, weight=FlatWeight(X0())),
        sampling_steps=8,
        training=training,
    )

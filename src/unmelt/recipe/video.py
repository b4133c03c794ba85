"""Films: windows of frames, of which any beginning may be known.

The network predicts x0, which lies on a thin set of all films; a velocity or noise would have to be carried through
every pixel of every frame.
"""

from typing import Literal

from unmelt.model import Model
from unmelt.objective import KnownPrefix, MinSNR, Regression, Stratified, Uniform
from unmelt.recipe.frame_model import frame_model
from unmelt.recipe.origin import Folder, recorded
from unmelt.train import Training


@recorded
def video(
    *,
    episodes: Folder,
    frames: int = 16,
    known: float = 0.5,
    context_noise: float = 0.1,
    patch: int = 2,
    held_out: float = 0.1,
    width: int = 48,
    blocks: int = 2,
    steps: int = 20_000,
    batch: int = 32,
    lr: float = 1e-3,
    ema: float = 0.999,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 1000,
) -> Model:
    """Films of frames: whole windows, windows after a first frame, and longer films window after window.

    `unmelt train video --episodes films.npz --out runs/films`, then `unmelt sample runs/films --out film.gif`.

    Args:
        episodes: Path of the films, .npz files with frames [moments, channels, height, width].
        frames: Frames of a window.
        known: Share of training windows of which a beginning of random length is known.
        context_noise: Latest time to which known frames are noised in training, each to its own; 0 for clean ones.
        patch: Side of the squares of pixels that are the places of the network's finest level.
        held_out: Share of the films held out for evaluation.
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
    times = KnownPrefix(Stratified(Uniform()), frames, share=known, noise=context_noise)
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
        objective=Regression(times=times, weight=MinSNR(5.0)),
        sampling_steps=16,
        training=training,
    )

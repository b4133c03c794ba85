"""A vocoder of your own recordings: mel frames to sound."""

from typing import Literal

from unmelt import data
from unmelt.codec import Mel, Vocoder
from unmelt.data.split import SplitBy
from unmelt.model import VocoderModel
from unmelt.objective import SpectralLoss
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import seeded
from unmelt.train import AdamW, Training
from unmelt.train.lr_schedule import Cosine

MEASURED = 256
"""Recordings that means and deviations of mel bands are measured on at most."""


@recorded
def vocoder(
    *,
    folder: Folder,
    sample_rate: int = 16_000,
    n_fft: int = 1024,
    hop: int = 256,
    bands: int = 80,
    longest: float = 30.0,
    width: int = 192,
    depth: int = 6,
    start_iterations: int = 4,
    excerpt: int = 8192,
    held_out: float = 0.1,
    split: SplitBy = "content",
    steps: int = 3000,
    batch: int = 8,
    lr: float = 2e-3,
    ema: float = 0.995,
    precision: Literal["auto", "float32", "bfloat16"] = "float32",
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 500,
) -> VocoderModel:
    """A vocoder that turns mel frames into sound; `recipe.speech` learns what frames a text has.

    Args:
        folder: Folder of recordings; what is said in them does not matter.
        sample_rate: Samples per second.
        n_fft: Samples of a frame.
        hop: Samples between frames.
        bands: Bands of the mel scale.
        longest: Seconds of the longest recording that is taken.
        width: Features of the network.
        depth: Blocks of the network.
        start_iterations: Iterations of Griffin-Lim that the network starts from.
        excerpt: Samples of the excerpts that it learns from.
        held_out: Share of the recordings held out for evaluation.
        split: What decides a recording's side: its own content, or its position.
        steps: Training steps.
        batch: Excerpts per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights and data.
        save_every: Steps between checkpoints.
        picture_every: Steps between spectrograms of recordings, each with what is made of its frames; 0 for none.

    Returns:
        The untrained vocoder.
    """
    everything, report = data.recordings(folder, sample_rate=sample_rate, longest=longest, needs_text=False, seed=seed)
    source, held_out_recordings = everything.split(held_out, by=split)
    mel = measured_mel(source, Mel(sample_rate=sample_rate, n_fft=n_fft, hop=hop, bands=bands))
    with seeded(seed):
        codec = Vocoder(mel, width=width, depth=depth, start_iterations=start_iterations)
    return VocoderModel(
        codec=codec,
        objective=SpectralLoss(),
        training=Training(
            steps=steps,
            batch=batch,
            lr=lr,
            ema=ema,
            optimizer=AdamW(betas=(0.8, 0.99)),
            lr_schedule=Cosine(warmup=max(1, steps // 20)),
            precision=precision,
            seed=seed,
            save_every=save_every,
            picture_every=picture_every,
        ),
        excerpt=excerpt,
        source=source,
        held_out=held_out_recordings,
        notes=str(report),
    )


def measured_mel(source: data.Recordings, like: Mel) -> Mel:
    """Mel frames of unit size on some of the recordings.

    Args:
        source: The recordings.
        like: All other settings.

    Returns:
        The codec.
    """
    count = min(len(source), MEASURED)
    return Mel.measured((source.sound(k * len(source) // count) for k in range(count)), like)

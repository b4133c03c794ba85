"""Your own recordings: text to speech."""

from pathlib import Path
from typing import Literal

from unmelt import data
from unmelt.backbone import SpeechDiT
from unmelt.codec import Mel, Vocoder
from unmelt.data.split import SplitBy
from unmelt.denoiser import NetworkDenoiser
from unmelt.denoiser.prediction import FlowVelocity
from unmelt.encoder import CharacterEncoder
from unmelt.errors import UsageError
from unmelt.model import SpeechModel, VocoderModel, load
from unmelt.objective import FlatWeight, LogitNormal, Regression, Stratified
from unmelt.process import Gaussian
from unmelt.recipe.origin import Folder, recorded
from unmelt.recipe.vocoder import measured_mel
from unmelt.rng import seeded
from unmelt.sampler import grid
from unmelt.schedule import Straight
from unmelt.train import Muon, Training
from unmelt.train.lr_schedule import Cosine


@recorded
def speech(
    *,
    folder: Folder,
    vocoder: Folder = "",
    sample_rate: int = 16_000,
    n_fft: int = 1024,
    hop: int = 256,
    bands: int = 80,
    longest: float = 20.0,
    held_out: float = 0.05,
    split: SplitBy = "content",
    width: int = 256,
    depth: int = 6,
    heads: int = 4,
    text_width: int = 128,
    text_depth: int = 3,
    steps: int = 20_000,
    batch: int = 16,
    lr: float = 2e-3,
    ema: float = 0.999,
    drop: float = 0.15,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 1000,
) -> SpeechModel:
    """Text to speech: a diffusion transformer from characters to mel frames, by flow matching on straight paths.

    Args:
        folder: Folder of recordings with what is said in them: LJSpeech's layout, JSON lines, or a .txt beside each.
        vocoder: Run folder of a vocoder that `recipe.vocoder` trained; empty for Griffin-Lim. Its frames are used then.
        sample_rate: Samples per second, without a vocoder; the next three likewise.
        n_fft: Samples of a frame.
        hop: Samples between frames.
        bands: Bands of the mel scale.
        longest: Seconds of the longest recording that is taken.
        held_out: Share of the sentences held out for evaluation.
        split: What decides a recording's side: what is said in it, or its position.
        width: Features of the transformer; a multiple of twice heads.
        depth: Number of blocks.
        heads: Attention heads.
        text_width: Features of a character.
        text_depth: Blocks in which characters read their neighbours.
        steps: Training steps.
        batch: Recordings per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without text, voice and known frames, for guidance.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples, as sounds and spectrograms; 0 for none.

    Returns:
        The untrained model.
    """
    codec = vocoder_of(Path(vocoder)) if str(vocoder) else None
    rate = sample_rate if codec is None else codec.sample_rate
    everything, report = data.recordings(folder, sample_rate=rate, longest=longest, seed=seed)
    source, held_out_recordings = everything.split(held_out, by=split)
    mel = codec.mel if codec is not None else Mel(sample_rate=rate, n_fft=n_fft, hop=hop, bands=bands)
    mel = mel if codec is not None else measured_mel(source, mel)
    lasts = (source.lengths.double() / rate).tolist()
    labels = None if source.labels is None else source.labels.tolist()
    encoder = CharacterEncoder.fitted(source.texts, lasts, labels, len(source.classes))
    with seeded(seed):
        backbone = SpeechDiT(
            bands=mel.bands,
            sequence_width=encoder.width,
            width=width,
            depth=depth,
            heads=heads,
            text_width=text_width,
            text_depth=text_depth,
            classes=len(source.classes),
        )
    shape = (mel.frames(int(source.lengths.max())), mel.bands)
    return SpeechModel(
        denoiser=NetworkDenoiser(backbone, Gaussian(Straight()), FlowVelocity(), shape),
        codec=mel if codec is None else codec,
        encoder=encoder,
        grid=grid.uniform(8),
        objective=Regression(times=Stratified(LogitNormal()), weight=FlatWeight(FlowVelocity()), drop=drop),
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
        classes=source.classes,
        source=source,
        held_out=held_out_recordings,
        notes=str(report),
    )


def vocoder_of(run: Path) -> Vocoder:
    """Load the vocoder of a finished run.

    Args:
        run: Its folder.

    Returns:
        The vocoder.

    Raises:
        UsageError: If there is no such folder, it holds something else, or its training is not done.
    """
    model = load(run, "cpu")
    make = 'um.recipe.vocoder(folder="recordings").fit(out="runs/vocoder")'
    if not isinstance(model, VocoderModel):
        raise UsageError(f"vocoder={str(run)!r}, which holds none", "a run of one", make)
    if model.training is not None and model.steps_done < model.training.steps:
        raise UsageError(
            f"vocoder={str(run)!r}, which has taken {model.steps_done:,} of {model.training.steps:,} training steps",
            "a vocoder whose training is done",
            f"um.recipe.resumed({str(run)!r}).fit({str(run)!r})",
        )
    return model.codec

"""A voice from a folder of recordings with what is said in them: a vocoder, a model of speech, and a sentence.

    python examples/speech.py --folder recordings [--text "the sea was calm"] [--out runs/speech]

Stopped half-way, the same command goes on from the last checkpoint.
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(
    folder: Path,
    text: str = "the sea was calm",
    training: int = 20_000,
    width: int = 256,
    batch: int = 16,
    sample_rate: int = 16_000,
    out: Path = Path("runs/speech"),
) -> Path:
    """Train, say, draw.

    Args:
        folder: Where the recordings are.
        text: What is to be said.
        training: Training steps of the model; the vocoder has a seventh.
        width: Features of the transformer.
        batch: Recordings per training step.
        sample_rate: Samples per second of what is learned.
        out: Folder of runs, sound and picture.
    """
    fewer = {"depth": 1, "held_out": 0.3} if training < 100 else {}  # of a trial
    vocoder = {"sample_rate": sample_rate, "batch": batch, "width": width // 2}
    um.recipe.vocoder(folder=folder, steps=max(1, training // 7), **vocoder, **fewer).fit(out / "vocoder")
    model = um.recipe.speech(
        folder=folder, vocoder=out / "vocoder", steps=training, width=width, batch=batch, **fewer
    ).fit(out / "run")
    said = model.sample(text, guidance=2.0, seed=0)
    (written,) = model.write(said, out / "said.wav")
    model.draw(said, out / "said.png")
    print(f"{said[0].shape[-1] / model.sample_rate:.1f} s of sound in {written}, drawn in {out}/said.png")
    return written


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))

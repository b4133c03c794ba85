"""`unmelt say RUN TEXT`: speech of a text, as a WAV file."""

from pathlib import Path
from typing import Annotated

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, class_named
from unmelt.errors import UsageError
from unmelt.terminal import notify


def say(
    folder: RunFolder,
    text: Annotated[str, "TEXT"],
    /,
    voice: str | None = None,
    prompt: Path | None = None,
    prompt_text: str = "",
    speed: float = 1.0,
    guidance: float = 2.0,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Say a text with a trained model of speech. Sentences are said one by one, with a pause between them.

    Args:
        folder: The run folder.
        text: What is to be said.
        voice: The voice, by name or by number. Default: no particular one.
        prompt: A recording whose voice goes on, in place of a voice's name.
        prompt_text: What is said in that recording.
        speed: Above 1 is faster than the voice speaks.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        steps: Network evaluations per sentence, approximately. Default: the model's own number.
        seed: Seed of the speech; the same seed gives the same speech.
        out: File to write: .wav, or .png for a spectrogram (default: RUN/said.wav).
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If the run is no model of speech, the text cannot be said, or the output cannot be written.
    """
    import torch

    from unmelt.interop.load_model import load_model
    from unmelt.model import SpeechModel
    from unmelt.model.sentences import PAUSE, sentences

    out = out or folder / "said.wav"
    destination.check_file(out, (".wav", ".png", ".npy"))
    model = load_model(folder, device)
    if not isinstance(model, SpeechModel):
        raise UsageError(
            f"{folder}, which is no model of speech",
            "a run of one",
            "unmelt train speech --folder recordings --out runs/speech",
        )
    named = class_named(voice, model.classes)
    sounds = model.sample(
        sentences(text),
        voice=named,
        prompt=prompt,
        prompt_text=prompt_text,
        speed=speed,
        guidance=guidance,
        steps=steps,
        seed=seed,
    )
    pause = torch.zeros(1, int(PAUSE * model.sample_rate))
    parts = [part for sound in sounds for part in (sound, pause)][:-1]
    x = torch.cat(parts, 1)
    with destination.made(out.parent):
        model.write(x, out)
    notify(f"{x.shape[-1] / model.sample_rate:.1f} seconds: {out}")

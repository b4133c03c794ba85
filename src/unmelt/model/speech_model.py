"""The facade for speech: a text and a voice become frames of a mel spectrogram, and these a sound.

    model = um.recipe.speech(folder="recordings").fit(out="runs/speech")
    x = model.sample("The sea was calm.", voice="anna", guidance=2.0)[0]        # [1, samples]
    x = model.sample("And so it stayed.", prompt="me.wav", prompt_text="What is said in it.")[0]

How long a text takes follows from its letters and from the voice (`encoder.CharacterEncoder`); with a prompt, from how
long the prompt took.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked
from unmelt.class_labels import Label, labels_of
from unmelt.codec import Mel, Vocoder
from unmelt.condition import KNOWN_FRAMES, Condition
from unmelt.data import SpeechBatches, read_sound, resample
from unmelt.encoder import CharacterEncoder
from unmelt.errors import UsageError
from unmelt.modality import Modality, Sound
from unmelt.model.base import BaseModel, SamplingPlan
from unmelt.model.request import Guide, SampleRequest, given_seed
from unmelt.model.speech_evaluation import evaluate, held_out_sounds, padded
from unmelt.model.speech_request import SpeechRequest
from unmelt.model.stored import TrainingData
from unmelt.rng import Seed
from unmelt.sampler import Grid, Sampler, State, default_sampler

Texts: TypeAlias = str | Sequence[str]
"""What is to be said: one text, or one for each row."""

Prompt: TypeAlias = str | Path | Tensor | None
"""A recording whose voice goes on: a file, or [samples] in [-1, 1] at the model's sample rate."""

PREVIEWS, PROMPT_SECONDS = 4, (0.3, 20.0)
"""Texts of a preview, and seconds of the shortest and the longest prompt."""

SPEEDS = (0.25, 4.0)
"""Slowest and fastest speed."""


class SpeechSettings(TypedDict, total=False):
    """Arguments of `SpeechModel.sample` beside the text."""

    voice: Label | None
    prompt: Prompt
    prompt_text: str
    speed: float
    guidance: Guide
    steps: int | None
    seed: Seed
    sampler: Sampler | None
    grid: Grid | None
    adapter: str | Sequence[str | None] | None


@final
class SpeechModel(BaseModel):
    """A diffusion model of speech. A recipe makes one; `um.load` reads one from a run folder.

    Constructor arguments are those of `StoredModel`; `codec` is a `Mel` or a `Vocoder`, `encoder` a `CharacterEncoder`,
    and classes are voices.
    """

    CHUNK, SETTINGS = 16, frozenset(("text", *SpeechSettings.__annotations__))

    def check_parts(self) -> None:
        super().check_parts()
        self._check_kinds()

    def _check_kinds(self) -> None:
        """Refuse a codec that makes no mel frames, and an encoder that knows no lengths."""
        if not isinstance(self.codec, Mel | Vocoder) or not isinstance(self.encoder, CharacterEncoder):
            raise UsageError(
                f"a model of speech with a {type(self.codec).__name__} and a {type(self.encoder).__name__}",
                "a Mel or a Vocoder, and a CharacterEncoder",
                "SpeechModel(codec=um.codec.Mel(), encoder=um.encoder.CharacterEncoder(alphabet=' abc'), ...)",
            )

    def default_modality(self) -> Modality:
        self._check_kinds()
        return Sound(self.mel.sample_rate)

    @property
    def mel(self) -> Mel:
        """The frames that it makes."""
        return self.codec.mel if isinstance(self.codec, Vocoder) else self.codec

    @property
    def sample_rate(self) -> int:
        """Samples per second of its sounds."""
        return self.mel.sample_rate

    def training_data(self, device: torch.device) -> TrainingData:
        def batches(source: Any) -> SpeechBatches:
            assert isinstance(self.encoder, CharacterEncoder)
            return SpeechBatches(source, self.mel.encode, self.encoder)

        assert self.source is not None
        return TrainingData(batches(self.source), None if self.held_out is None else batches(self.held_out), None)

    # Generating

    def plan(self, request: SampleRequest) -> SamplingPlan:
        grid = self.grid if request.grid is None else request.grid
        grid = grid if request.steps is None else dataclasses.replace(grid, steps=request.steps)
        if request.sampler or self.sampler:
            return SamplingPlan(self.denoiser, request.sampler or self.sampler, grid)
        sampler, own = default_sampler(grid.steps)
        return SamplingPlan(self.denoiser, sampler, own if request.grid is None else grid)

    def seconds_of(self, text: str, voice: Label | None = None, speed: float = 1.0) -> float:
        """How long a text will take.

        Args:
            text: The text.
            voice: The voice, by name or number. None: a mean one.
            speed: Above 1 is faster.

        Returns:
            Seconds.

        Raises:
            UsageError: If the text cannot be said, there is no such voice, or the speed is out of range.
        """
        label = self._voices(1, voice)
        number = None if label is None else int(label[0])
        return self._characters.seconds_of(text, number) / _checked_speed(speed)

    @property
    def _characters(self) -> CharacterEncoder:
        assert isinstance(self.encoder, CharacterEncoder)
        return self.encoder

    def _voices(self, rows: int, voice: Label | None) -> Tensor | None:
        if voice is not None and not self.classes:
            raise UsageError(f"voice={voice!r} for a model that knows one voice", "none", "model.sample('hello')")
        if isinstance(voice, str) and voice not in self.classes:
            known = ", ".join(self.classes)
            raise UsageError(f"there is no voice {voice!r}", f"one of {known}", f"voice={self.classes[0]!r}")
        return labels_of(rows, voice, self.classes)

    def speech_request(self, text: Texts, **settings: Unpack[SpeechSettings]) -> SpeechRequest:
        """What `sample` is asked for, as one value.

        Args:
            text: What is to be said.
            settings: The arguments of `sample`.

        Returns:
            The request.

        Raises:
            UsageError: As for `sample`.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise UsageError("no text", "a text, or one for each row", "model.sample('hello')")
        given: dict[str, Any] = dict(settings)
        voice, prompt, prompt_text = (given.pop(name, None) for name in ("voice", "prompt", "prompt_text"))
        speed = _checked_speed(given.pop("speed", 1.0))
        for each in texts:
            self._characters.read(each)
        label, rows = self._voices(len(texts), voice), len(texts)
        numbers = [None] * rows if label is None else label.tolist()
        known, pace = None, 1.0
        if prompt is not None or prompt_text:
            known, pace = self._prompt(prompt, prompt_text or "", voice)
        before = 0 if known is None else len(known)
        per_second = self.mel.sample_rate / self.mel.hop
        seconds = [pace * self._characters.seconds_of(*each) / speed for each in zip(texts, numbers, strict=True)]
        lengths = [before + max(1, math.ceil(per_second * each)) for each in seconds]
        said = [each if known is None else f"{prompt_text} {each}" for each in texts]
        sequence, mask = self._characters(said)
        frame, longest = torch.arange(max(lengths)), max(lengths)
        wanted = (frame < torch.tensor(lengths)[:, None]) & (frame >= before)
        extra: dict[str, Tensor] = {}
        if known is not None:
            filled = torch.zeros(rows, longest, self.mel.bands + 1)
            filled[:, :before, :-1], filled[:, :before, -1] = known, 1.0
            extra[KNOWN_FRAMES] = filled
        condition = Condition(label=label, sequence=sequence, sequence_mask=mask, x_mask=wanted, extra=extra)
        given["seed"] = given_seed(given.get("seed", 0))
        request = SampleRequest(rows=rows, condition=condition, shape=(longest, self.mel.bands), **given)
        return SpeechRequest(request=request, lengths=tuple(lengths), known=known)

    def _prompt(self, prompt: Prompt, text: str, voice: Label | None) -> tuple[Float[Tensor, "frames bands"], float]:
        """The frames of a prompt, and how long it took beside what is expected of its text."""
        if prompt is None or not text.strip():
            raise UsageError(
                "a prompt without its text" if prompt is not None else "prompt_text without a prompt",
                "a recording, and what is said in it",
                'model.sample("hello", prompt="me.wav", prompt_text="What is said in it.")',
            )
        if voice is not None:
            raise UsageError(f"voice={voice!r} and a prompt", "one of them: the prompt has a voice", "voice=None")
        if isinstance(prompt, Tensor):
            sound = prompt.detach().cpu().float().flatten()
        else:
            file = read_sound(prompt)
            sound = resample(file.mono, file.sample_rate, self.sample_rate)
        seconds = len(sound) / self.sample_rate
        low, high = PROMPT_SECONDS
        fits = low <= seconds <= high
        if not fits or sound.abs().max() < 1e-3:
            given = "a silent prompt" if fits else f"a prompt of {seconds:,.1f} seconds"
            raise UsageError(given, f"{low:g} to {high:g} seconds of speech", "a part of the recording")
        return self.mel.encode(sound[None, None])[0], seconds / self._characters.seconds_of(text)

    @checked("model.sample")
    def sample(
        self,
        text: Texts,
        *,
        voice: Label | None = None,
        prompt: Prompt = None,
        prompt_text: str = "",
        speed: float = 1.0,
        guidance: Guide = 1.0,
        steps: int | None = None,
        seed: Seed = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
        adapter: str | Sequence[str | None] | None = None,
    ) -> list[Float[Tensor, "1 samples"]]:
        """Say texts.

        Args:
            text: What is to be said, or one text for each row.
            voice: The voice by name or number, or one for each row. None: no particular one.
            prompt: A recording whose voice goes on, for all rows: a file, or [samples] at the model's sample rate.
            prompt_text: What is said in the prompt.
            speed: Above 1 is faster than the voice speaks.
            guidance: Scale of classifier-free guidance (1 is none), one for each row, or a function that wraps the
                denoiser.
            steps: Number of sampling steps. None: the model's own.
            seed: One for all rows, or one for each. A seed gives the same row in any batch. None draws a fresh one.
            sampler: Replaces the model's sampler.
            grid: Replaces the model's grid of times; with `steps`, only its spacing.
            adapter: Name of an adapter, or a name or None for each row. None: the model's active adapter.

        Returns:
            A sound [1, samples] in [-1, 1] for each text, on the CPU; the prompt is not repeated.

        Raises:
            UsageError: If a text is empty or has letters that were never learned, there is no such voice, or the prompt
                cannot be read.
        """
        settings: Any = {"voice": voice, "prompt": prompt, "prompt_text": prompt_text, "speed": speed}
        settings |= {"guidance": guidance, "steps": steps, "seed": seed, "sampler": sampler, "grid": grid}
        return self.say(self.speech_request(text, **settings, adapter=adapter))

    def say(self, asked: SpeechRequest) -> list[Float[Tensor, "1 _"]]:
        """Sample a request.

        Args:
            asked: What is asked for.

        Returns:
            A sound for each row.
        """
        found: list[Tensor] = []
        for begin in range(0, asked.request.rows, self.CHUNK):
            part = asked[begin : begin + self.CHUNK]
            found += self._sounds(deque(self.states(part.request), maxlen=1).pop())
        return found

    def decode_state(self, state: State) -> Float[Tensor, "rows 1 samples"]:
        sounds, samples = self._sounds(state), (state.x.shape[1] - 1) * self.mel.hop
        return torch.stack([F.pad(sound, (0, samples - sound.shape[1])) for sound in sounds])

    def samples_of(self, asked: SpeechRequest) -> list[int]:
        """How long the sounds of a request will be.

        Args:
            asked: The request.

        Returns:
            Samples of each row.
        """
        before = 0 if asked.known is None else len(asked.known)
        return [(length - 1 - before) * self.mel.hop for length in asked.lengths]

    def _sounds(self, state: State) -> list[Float[Tensor, "1 _"]]:
        """The sounds of the frames that were generated; the vocoder sees the known ones before them."""
        condition = state.condition or Condition()
        known, wanted = condition.extra.get(KNOWN_FRAMES), condition.x_mask
        found = []
        for row, z in enumerate(state.x):
            before = 0 if known is None else int((known[row, :, -1] > 0).sum())
            z = z if wanted is None else z[: before + int(wanted[row].sum())]
            if known is not None:
                z = torch.cat([known[row, :before, :-1].to(z), z[before:]])
            found.append(self.decode(z[None])[0, :, before * self.mel.hop :].cpu())
        return found

    def encode(self, x: Float[Tensor, "rows 1 samples"]) -> Float[Tensor, "rows frames bands"]:
        with torch.no_grad():
            return self.codec.encode(x.to(self.device))

    def decode(self, z: Float[Tensor, "rows frames bands"]) -> Float[Tensor, "rows 1 samples"]:
        with torch.no_grad():
            return self.codec.decode(z)

    # Judging

    def save_preview(self, path: Path | None) -> Path | None:
        _, made, texts = held_out_sounds(self, PREVIEWS, None, 2.0, 0)
        if path is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(made, path.with_suffix(".wav"))
        names = [text[:24] for text in texts]
        self.modality.draw(padded(made), torch.arange(len(made)), names).save(path.with_suffix(".png"))
        return path.with_suffix(".png")

    @checked("model.evaluate")
    def evaluate(
        self, *, samples: int | None = None, steps: int | None = None, guidance: float = 2.0, seed: int = 0
    ) -> dict[str, Any]:
        """How near speech of held-out texts is to the recordings of them.

        frechet          Fréchet distance of log spectra (`metric.LogSpectrum`), in dB^2, to the held-out recordings.
        frechet_floor    The same of as many training recordings.
        seconds_error    Mean error of the predicted length, as a share of the recording's.

        Whether the words are understood is for a recogniser to say, which is no part of this library.

        Args:
            samples: Texts to judge by. None: all that are held out, and at most 64.
            steps: Number of sampling steps.
            guidance: Scale of classifier-free guidance.
            seed: Seed of the samples.

        Returns:
            Figures by name, and what was asked for.

        Raises:
            UsageError: If there are no held-out recordings.
        """
        return evaluate(self, samples, steps, guidance, seed)

    @checked("model.write")
    def write(self, x: Sequence[Tensor] | Tensor, path: str | Path) -> list[Path]:
        """Write sounds as files (.wav), as a picture of their spectrograms (.png), or as numbers (.npy).

        Args:
            x: A sound [1, samples], or several, as `sample` returns them.
            path: The file; of several sounds NAME-0.wav, NAME-1.wav, ... beside it.

        Returns:
            The files.

        Raises:
            UsageError: If the path's suffix is another, or the file cannot be written.
        """
        return self.modality.write(padded([x] if isinstance(x, Tensor) else x), Path(path))

    @checked("model.draw")
    def draw(self, x: Sequence[Tensor], path: str | Path | None = None) -> Any:
        """Spectrograms of sounds.

        Args:
            x: Sounds [1, samples], as `sample` returns them.
            path: Where the picture is written; None writes nothing.

        Returns:
            The picture.
        """
        picture = self.modality.draw(padded(x))
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        return picture


def _checked_speed(speed: float) -> float:
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise UsageError(f"speed={speed}", f"a number from {SPEEDS[0]} to {SPEEDS[1]}", "speed=1.0")
    return speed

"""Sound: [channels, samples] in [-1, 1], shown as spectrograms, judged by log spectra, written as WAV files.

frechet        Fréchet distance, in dB^2, of the samples to held-out sounds over log spectra: the mean and the standard
               deviation over time of the level of every frequency band (`metric.LogSpectrum`). `frechet_floor` is that
               of the training sounds.
nearest_train  Median Euclidean distance of a sample's waveform to the nearest training waveform; `nearest_floor` is
               that of held-out sounds. A model that copies its training sounds falls far below the floor.

A WAV file holds whole numbers from -32767 to 32767, the waveform times 32767 (16-bit PCM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL.Image import Image
from torch import Tensor

from unmelt import picture
from unmelt.arguments import checked_init
from unmelt.data import Source
from unmelt.data.wav import wav_bytes
from unmelt.errors import UsageError
from unmelt.metric import LogSpectrum, SampleSet, decibels, frechet_distance, nearest_neighbour, spectrogram
from unmelt.modality.files import check_suffix, write_array, write_picture
from unmelt.modality.modality import Distance
from unmelt.train.atomic_files import write

PER_CLASS, MOST_SOUNDS, IN_STRIP, MOMENTS = 2, 16, 4, 9
"""Sounds of each class in a preview, sounds in all, rows and columns of a strip."""

HIGH, WIDE, QUIETEST = 128, 192, -80.0
"""Pixels of a spectrogram at most, and the level in dB that is drawn black."""


@final
@checked_init("um.modality.Sound")
@dataclass(frozen=True)
class Sound:
    """Waveforms [rows, channels, samples] in [-1, 1].

    Args:
        sample_rate: Samples per second.

    Raises:
        UsageError: If the sample rate is below 1.
    """

    sample_rate: int

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise UsageError(f"Sound(sample_rate={self.sample_rate})", "samples per second", "Sound(16_000)")

    @property
    def name(self) -> str:
        return "sound"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".wav", ".png", ".npy")

    @property
    def hub_task(self) -> str:
        return ""

    def preview_rows(self, classes: int) -> int:
        """Choose 2 sounds of each class, and at most 16."""
        return min(PER_CLASS * max(1, classes), MOST_SOUNDS)

    def samples_to_score(self, real: int) -> int:
        """Choose as many sounds as there are training sounds."""
        return real

    def draw(
        self,
        x: Float[Tensor, "rows channels samples"],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw a spectrogram of each sound in a column, with the names of their classes where they have any.

        Time runs from left to right and frequency from bottom to top; 0 dB is brightest and -80 dB black.
        """
        names = [] if labels is None else [classes[label] for label in labels.tolist()]
        return picture.tiles(self._pictures(x), columns=1, row_labels=names)

    def strip(
        self,
        frames: Sequence[Float[Tensor, "rows channels samples"]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw spectrograms: a row for each of the first 4 sounds, a column for each time."""
        return picture.strip([self._pictures(frame[:IN_STRIP]) for frame in frames], times, MOMENTS)

    def write(
        self,
        x: Float[Tensor, "rows channels samples"],
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write the sounds (.wav), the picture that `draw` makes (.png), or the numbers (.npy).

        One sound becomes `path` itself; several become NAME-0.wav, NAME-1.wav, ... beside it.
        """
        check_suffix(path, self.suffixes)
        if path.suffix.lower() == ".npy":
            return write_array(path, x)
        if path.suffix.lower() == ".png":
            return write_picture(path, self.draw(x, labels, classes))
        width = len(str(len(x) - 1))
        paths = [path] if len(x) == 1 else [path.with_stem(f"{path.stem}-{k:0{width}}") for k in range(len(x))]
        for one, sound in zip(paths, x, strict=True):
            write(one, wav_bytes(sound, self.sample_rate))
        return paths

    def score(self, made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
        """Score by Fréchet distance over log spectra, and by nearest training sounds."""
        features = LogSpectrum(self.sample_rate)
        target = features(held_out.x)
        return {
            "features": features.name,
            "frechet": frechet_distance(features(made.x), target),
            "frechet_floor": frechet_distance(features(real.x), target),
            "nearest_train": nearest_neighbour(made.x, real.x).distance.median().item(),
            "nearest_floor": nearest_neighbour(held_out.x, real.x).distance.median().item(),
        }

    def distance(
        self, real: Float[Tensor, "n channels samples"], held_out: Float[Tensor, "m channels samples"]
    ) -> Distance:
        """Choose the Fréchet distance over log spectra, in dB^2."""
        features = LogSpectrum(self.sample_rate)
        target = features(held_out)
        return Distance(
            "Fréchet distance of log spectra",
            lambda x: frechet_distance(features(x), target),
            frechet_distance(features(real), target),
        )

    def _pictures(self, x: Float[Tensor, "rows channels samples"]) -> Float[Tensor, "rows 3 height width"]:
        """Spectrograms of the mean over channels, as colours; averaged down where large, stretched where short."""
        import matplotlib

        power = spectrogram(x.detach().cpu().double().nan_to_num(0.0).mean(1), self.sample_rate)
        size = min(HIGH, power.shape[1]), min(WIDE, power.shape[2])
        level = decibels(F.adaptive_avg_pool2d(power, size)).flip(1)
        level = level.repeat_interleave(max(1, HIGH // level.shape[2]), 2)
        shades = matplotlib.colormaps["magma"](np.clip(1 - level.numpy() / QUIETEST, 0, 1))[..., :3]
        return torch.from_numpy(shades).permute(0, 3, 1, 2)

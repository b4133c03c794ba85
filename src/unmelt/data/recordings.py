"""Recordings of speech, read once into one file of the cache: one channel, one sample rate, 16 bits.

A recording that is silent, cut off, too short or too long, or that has no transcript, is left out, counted and named in
a report. The file in the cache lies under a digest of the names, sizes and dates of all recordings.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.cache_folder import cache_folder
from unmelt.condition import Condition
from unmelt.data import files
from unmelt.data.pixel_cache import temporary
from unmelt.data.resample import resample
from unmelt.data.source import Arrays
from unmelt.data.split import SplitBy, content_key, digest, held_out_rows, items_by_class
from unmelt.data.transcripts import Recording, transcripts
from unmelt.data.wav import read_sound
from unmelt.errors import UsageError

SHORTEST, QUIETEST = 0.1, 1e-3
"""Seconds of the shortest recording, and the loudest sample of one that counts as silent."""

MANY = 5
"""Files that a report names before it only counts."""

LOUDEST = 32_767
"""What a sample of 1 is in the cache."""


class RecordingsReport(NamedTuple):
    """How much was found, and what was left out.

    Args:
        recordings: Number of recordings.
        seconds: How long they last in all.
        voices: Number of voices; 1 where nothing says who speaks.
        refused: Name and reason of everything that was left out.
    """

    recordings: int
    seconds: float
    voices: int
    refused: tuple[str, ...]

    def __str__(self) -> str:
        found = f"{self.recordings:,} recordings, {self.seconds / 60:.1f} minutes, {self.voices} voices"
        if not self.refused:
            return found
        names = "; ".join(self.refused[:MANY]) + (" ..." if len(self.refused) > MANY else "")
        return f"{found}; {len(self.refused)} left out ({names})"


@final
class Recordings:
    """A finite source of sounds of different lengths, each with its transcript and its voice.

    Args:
        sounds: [samples], all recordings one after the other, 16-bit integers.
        lengths: Samples of each recording.
        texts: What is said in each; "" if unknown.
        sample_rate: Samples per second.
        labels: The voice of each recording; None for one voice.
        classes: Names of the voices; empty for one.
        seed: Seed of the order in which they come.

    Raises:
        UsageError: If the numbers of lengths, texts and labels differ, or there is nothing.
    """

    def __init__(
        self,
        sounds: Tensor,
        lengths: Sequence[int],
        texts: Sequence[str],
        sample_rate: int,
        labels: Int64[Tensor, " n"] | None = None,
        classes: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        same = len(lengths) == len(texts) and (labels is None or len(labels) == len(lengths))
        if not same or not lengths or min(lengths) < 1 or sum(lengths) > len(sounds):
            raise UsageError(
                f"{len(lengths)} recordings and {len(texts)} texts",
                "a length, a text and a voice for each",
                "Recordings(torch.cat(sounds), [len(each) for each in sounds], texts, 16_000)",
            )
        self.sounds, self.texts, self.sample_rate = sounds, list(texts), sample_rate
        self.lengths = torch.tensor(lengths, dtype=torch.int64)
        self._begin = torch.cumsum(self.lengths, 0) - self.lengths
        self.labels, self.classes, self.seed = labels, tuple(classes), seed
        self._order = Arrays(torch.arange(len(texts)), seed=seed)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the longest recording: 1, samples."""
        return (1, int(self.lengths.max()))

    @property
    def seconds(self) -> float:
        """How long all recordings last."""
        return int(self.lengths.sum()) / self.sample_rate

    def __len__(self) -> int:
        return len(self.texts)

    def sound(self, item: int) -> Float[Tensor, " samples"]:
        """One recording.

        Args:
            item: Its number.

        Returns:
            [samples], in [-1, 1].
        """
        begin = int(self._begin[item])
        return self.sounds[begin : begin + int(self.lengths[item])].float() / LOUDEST

    def items(self, step: int, rows: int) -> Int64[Tensor, " rows"]:
        """Number the items that a batch consists of, as `Arrays.items`.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            [rows], numbers of items.
        """
        return self._order.items(step, rows)

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows 1 samples"], Condition | None]:
        items = self.items(step, rows)
        x = torch.zeros(rows, 1, int(self.lengths[items].max()))
        for row, item in zip(x, items.tolist(), strict=True):
            row[0, : self.lengths[item]] = self.sound(item)
        return x, None if self.labels is None else Condition(label=self.labels[items])

    def keys(self) -> Int64[Tensor, " n"]:
        """Hash what is said in each recording, so that a sentence is on one side of a split in all voices.

        Returns:
            A key for each; that of the sound where nothing is said.
        """
        keys = [
            content_key(text.lower().encode() if text else self.sound(k).numpy().tobytes())
            for k, text in enumerate(self.texts)
        ]
        return torch.tensor(keys, dtype=torch.int64)

    def split(self, held_out: float = 0.1, seed: int = 0, by: SplitBy = "content") -> tuple["Recordings", "Recordings"]:
        """Split into a training and a held-out part, each voice on its own, by the rules of `data.split`.

        Args:
            held_out: The held-out share, between 0 and 1.
            seed: Seed of the split.
            by: "content": by what is said in each. "position": by the numbers of all.

        Returns:
            (the rest, the held-out part).

        Raises:
            UsageError: If the share is not between 0 and 1 or leaves one side empty.
        """
        groups = items_by_class(len(self), self.labels, len(self.classes))
        out = held_out_rows(groups, self.keys, held_out, seed, by)
        return self.only((~out).nonzero()[:, 0]), self.only(out.nonzero()[:, 0])

    def only(self, items: Int64[Tensor, " items"]) -> "Recordings":
        """A source of some of the recordings.

        Args:
            items: Their numbers.

        Returns:
            The smaller source, with a copy of their sounds.
        """
        parts = [slice(int(self._begin[item]), int(self._begin[item] + self.lengths[item])) for item in items.tolist()]
        return Recordings(
            torch.cat([self.sounds[part] for part in parts]),
            self.lengths[items].tolist(),
            [self.texts[item] for item in items.tolist()],
            self.sample_rate,
            None if self.labels is None else self.labels[items],
            self.classes,
            self.seed,
        )

    def identity(self) -> dict[str, Any]:
        """What distinguishes these data from others; see `data.identity`.

        Returns:
            Number of recordings, and digests of sounds, voices and texts.
        """
        return {
            "rows": len(self),
            "sample_rate": self.sample_rate,
            "contents": digest(self.sounds.numpy().tobytes()),
            "labels": None if self.labels is None else digest(self.labels.numpy().tobytes()),
            "captions": digest(json.dumps(self.texts).encode()),
        }


@checked("um.data.recordings")
def recordings(
    folder: str | Path,
    *,
    sample_rate: int = 16_000,
    longest: float = 30.0,
    needs_text: bool = True,
    seed: int = 0,
) -> tuple[Recordings, RecordingsReport]:
    """Read a folder of recordings: LJSpeech's layout, JSON lines, or a .txt beside each (`data.transcripts`).

    Args:
        folder: The folder.
        sample_rate: Samples per second wanted; other rates are resampled, and channels averaged.
        longest: Seconds of the longest recording that is taken.
        needs_text: Whether recordings without a transcript are left out.
        seed: Seed of the order in which they come.

    Returns:
        (the recordings, a report of what was found and left out).

    Raises:
        UsageError: If there is no such folder, no usable recording in it, or the cache cannot be written to.
    """
    if sample_rate < 1000 or not longest > 0:
        raise UsageError(
            f"sample_rate={sample_rate}, longest={longest}",
            "at least 1,000 samples per second, above 0 seconds",
            "sample_rate=16_000, longest=30.0",
        )
    listed, refused = transcripts(folder)
    wanted = []
    for each in listed:
        if needs_text and not each.text:
            refused.append(f"{each.name} has no transcript")
        else:
            wanted.append(each)
    sounds, found = _packed(wanted, Path(folder).expanduser(), sample_rate, longest)
    pairs = list(zip(wanted, found, strict=True))
    refused += [f"{each.name} {why}" for each, why in pairs if isinstance(why, str)]
    good = [(each, length) for each, length in pairs if isinstance(length, int)]
    if not good:
        raise UsageError(
            f"no usable recordings in {folder} ({'; '.join(refused[:MANY])})",
            f"recordings of {SHORTEST} to {longest:g} seconds with transcripts",
            "a folder such as LJSpeech-1.1",
        )
    voices = sorted({each.voice for each, _ in good})
    labels = torch.tensor([voices.index(each.voice) for each, _ in good]) if len(voices) > 1 else None
    made = Recordings(
        sounds,
        [length for _, length in good],
        [each.text for each, _ in good],
        sample_rate,
        labels,
        [voice or "unnamed" for voice in voices] if len(voices) > 1 else (),
        seed,
    )
    return made, RecordingsReport(len(made), made.seconds, len(voices), tuple(refused))


def _packed(wanted: Sequence[Recording], top: Path, sample_rate: int, longest: float) -> tuple[Tensor, list[int | str]]:
    """All sounds in one tensor, and for each its samples, or why it was left out: from the cache if they are there."""
    made_from = repr((sample_rate, longest, [files.signature(each.path) for each in wanted]))
    name = hashlib.sha256(made_from.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    folder = cache_folder()
    data, about = folder / f"{name}.sound", folder / f"{name}.json"
    found = _known(about, len(wanted))
    count = sum(each for each in found or () if isinstance(each, int))
    if found is None or not data.exists() or data.stat().st_size != 2 * count:
        found = _write(wanted, top, data, about, sample_rate, longest)
        count = sum(each for each in found if isinstance(each, int))
    if count == 0:
        return torch.zeros(0, dtype=torch.int16), found
    return torch.from_file(str(data), shared=False, size=count, dtype=torch.int16), found


def _known(about: Path, count: int) -> list[int | str] | None:
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    right = isinstance(found, list) and len(found) == count
    return found if right and all(isinstance(each, str) or (type(each) is int and each > 0) for each in found) else None


def _write(
    wanted: Sequence[Recording], top: Path, data: Path, about: Path, sample_rate: int, longest: float
) -> list[int | str]:
    """Write both files, whole or not at all: the .json is written last and says that the sounds are complete."""
    incomplete = temporary(data)
    found: list[int | str] = []
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        about.unlink(missing_ok=True)
        with open(incomplete, "wb") as file:
            for each in _read_all(wanted, top, sample_rate, longest):
                found.append(each if isinstance(each, str) else len(each))
                if not isinstance(each, str):
                    file.write(each.tobytes())
        os.replace(incomplete, data)
        about.write_text(json.dumps(found), encoding="utf-8")
        return found
    except OSError as error:
        raise UsageError(
            f"the cache of recordings {data.parent} cannot be written ({error.strerror})",
            "room there",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    finally:
        incomplete.unlink(missing_ok=True)


def _read_all(wanted: Sequence[Recording], top: Path, sample_rate: int, longest: float) -> Iterator[np.ndarray | str]:
    """The samples of each recording as 16-bit integers, or why it is left out."""
    from rich.console import Console
    from rich.progress import track

    def read(each: Recording) -> np.ndarray | str:
        try:
            sound = read_sound(each.path, top)
        except UsageError as error:
            return error.given.partition(" ")[2] or error.given
        if sound.seconds > longest:
            return f"lasts {sound.seconds:,.0f} seconds, more than the {longest:g} that are taken"
        if sound.seconds < SHORTEST:
            return f"lasts {sound.seconds:.3f} seconds, less than {SHORTEST}"
        mono = resample(sound.mono, sound.sample_rate, sample_rate)
        if mono.abs().max() < QUIETEST:
            return "is silent"
        samples: np.ndarray = (mono.clamp(-1, 1) * LOUDEST).round().to(torch.int16).numpy()
        return samples

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from track(
            pool.map(read, wanted),
            description="reading recordings",
            total=len(wanted),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

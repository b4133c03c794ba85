"""WAV files: RIFF chunks of which "fmt " says how numbers are written and "data" holds them, channel after channel.

    8 bits                  0 to 255, 128 is silence         x = (n - 128) / 128
    16, 24 and 32 bits      with a sign, least byte first    x = n / 2^(bits - 1)
    float, 32 and 64 bits   x itself

(Microsoft and IBM, 1991, "Multimedia Programming Interface and Data Specifications 1.0".) The extensible format names
one of these by the first two bytes of its identifier. Other formats (FLAC, Ogg, MP3) are read by soundfile where it is
installed.
"""

import io
import struct
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.data import files
from unmelt.errors import UsageError

LARGEST = 2 << 30
"""Bytes that one file may have: over three hours of stereo at 48 kHz and 16 bits."""

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
"""Codes of formats."""

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""Suffixes of files that hold sound."""


class Waveform(NamedTuple):
    """A sound as a file holds it.

    Args:
        samples: [channels, samples], in [-1, 1] but for float files that exceed it.
        sample_rate: Samples per second.
    """

    samples: Float[Tensor, "channels samples"]
    sample_rate: int

    @property
    def mono(self) -> Float[Tensor, " samples"]:
        """The mean of the channels."""
        return self.samples.mean(0)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples.shape[1] / self.sample_rate


def read_sound(path: str | Path, inside: Path | None = None) -> Waveform:
    """Read a file of sound: WAV of 8, 16, 24 or 32 bits or of floats; what else soundfile reads, where it is installed.

    Args:
        path: The file.
        inside: The folder that a link may not leave; None for anywhere.

    Returns:
        The sound.

    Raises:
        UsageError: If the file cannot be read, is damaged, is cut off or holds no samples.
    """
    path = Path(path).expanduser()
    try:
        content = files.read(path, inside, LARGEST)
        return parse_wav(content) if content[:4] in (b"RIFF", b"RF64") else _by_soundfile(content)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read ({files.reason(error)})", "a file of sound, such as WAV of 16 bits", "speech.wav"
        ) from None


def parse_wav(content: bytes) -> Waveform:
    """Parse the content of a WAV file.

    Args:
        content: All of its bytes.

    Returns:
        The sound.

    Raises:
        ValueError: If it is damaged, cut off, of another format, or without samples; its text says which.
    """
    if len(content) < 12 or content[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    form, data, at = None, None, 12
    while at + 8 <= len(content) and data is None:
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        at += 8
        if name == b"fmt ":
            form = _format(content[at : at + size])
        elif name == b"data":
            # Writers that cannot seek back leave 0 or the largest size where they do not know it.
            size = len(content) - at if size in (0, 0xFFFFFFFF) else size
            data = content[at : at + size]
            if form is not None and len(data) < size:
                have, all_of_it = (each / (form.frame * form.sample_rate) for each in (len(data), size))
                raise ValueError(f"cut off: {have:.1f} of {all_of_it:.1f} seconds are there")
        at += size + size % 2
    if form is None or data is None:
        raise ValueError(f"a WAV file without its {'format' if form is None else 'samples'}")
    whole = len(data) // form.frame * form.frame
    if whole == 0:
        raise ValueError("no samples in it")
    found = torch.from_numpy(form.numbers(data[:whole]).reshape(-1, form.channels).T.copy())
    if not found.isfinite().all():
        raise ValueError("samples that are not finite")
    return Waveform(found, form.sample_rate)


class _Format(NamedTuple):
    """How samples are written."""

    kind: int
    channels: int
    sample_rate: int
    bits: int

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def numbers(self, data: bytes) -> np.ndarray:
        """Samples as float32."""
        if self.kind == FLOAT:
            return np.frombuffer(data, f"<f{self.bits // 8}").astype(np.float32)
        if self.bits == 8:
            return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
        if self.bits == 24:  # as the upper three bytes of 32 bits
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
        return (np.frombuffer(data, f"<i{self.bits // 8}") / 2.0 ** (self.bits - 1)).astype(np.float32)


def _format(chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise ValueError("a WAV file whose format is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    if (kind, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
        raise ValueError(f"WAV of format {kind} with {bits} bits, neither 8 to 32 bits of PCM nor floats")
    if not (1 <= channels <= 64 and 1 <= rate <= 1_000_000):
        raise ValueError(f"a WAV file of {channels} channels with {rate} samples per second")
    return _Format(kind, channels, rate, bits)


def wav_bytes(x: Float[Tensor, "channels samples"], sample_rate: int, bits: Literal[8, 16, 24, 32] = 16) -> bytes:
    """Write a sound as the content of a WAV file.

    Args:
        x: [channels, samples]; numbers beyond [-1, 1] are clamped to it, and those that are not finite become 0.
        sample_rate: Samples per second.
        bits: Bits of a sample; the waveform is multiplied by 2^(bits - 1) - 1 and rounded.

    Returns:
        All bytes of the file.
    """
    whole = wav_samples(x, bits)
    return wav_header(len(whole), len(x), sample_rate, bits) + whole


def wav_samples(x: Float[Tensor, "channels samples"], bits: Literal[8, 16, 24, 32] = 16) -> bytes:
    """The samples alone, as they follow the header.

    Args:
        x: [channels, samples], as for `wav_bytes`.
        bits: Bits of a sample.

    Returns:
        The bytes.
    """
    scaled = x.detach().cpu().double().nan_to_num(0.0).clamp(-1, 1).T.contiguous() * (2 ** (bits - 1) - 1)
    numbers = scaled.round().to(torch.int64).numpy()
    if bits == 8:
        return (numbers + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return numbers.astype("<i4")[..., None].view(np.uint8)[..., :3].tobytes()
    return numbers.astype(f"<i{bits // 8}").tobytes()


def wav_header(size: int | None, channels: int, sample_rate: int, bits: int = 16) -> bytes:
    """What stands before the samples of a WAV file.

    Args:
        size: Bytes of the samples; None where they are not known yet, as in a stream.
        channels: How many.
        sample_rate: Samples per second.
        bits: Bits of a sample.

    Returns:
        The bytes.
    """
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", PCM, channels, sample_rate, sample_rate * frame, frame, bits)
    after, data = (0xFFFFFFFF, 0xFFFFFFFF) if size is None else (36 + size, size)
    start = b"RIFF" + struct.pack("<I", after) + b"WAVEfmt " + struct.pack("<I", len(form))
    return start + form + b"data" + struct.pack("<I", data)


def _by_soundfile(content: bytes) -> Waveform:
    """Any other format, by the optional package."""
    if not content:
        raise ValueError("an empty file")
    try:
        soundfile: Any = __import__("soundfile")
    except (ImportError, OSError):  # OSError: without the library that it wraps
        raise ValueError("not a WAV file, and soundfile is not installed: pip install 'unmelt[sound]'") from None
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except RuntimeError as error:  # LibsndfileError is one
        raise ValueError(str(error)) from None
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError("samples that are not finite" if len(samples) else "no samples in it")
    return Waveform(torch.from_numpy(samples.T.copy()), int(rate))

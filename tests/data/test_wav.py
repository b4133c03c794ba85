"""Sound files: every format that WAV has, read as the numbers that were written; resampling against closed forms."""

import io
import struct
import sys
import wave

import pytest
import torch

import unmelt as um
from unmelt.data.resample import resample
from unmelt.data.wav import parse_wav, read_sound, wav_bytes, wav_header, wav_samples

TONE = torch.stack([torch.linspace(-1, 1, 400), 0.5 * torch.sin(torch.arange(400) / 7)])


def float_wav(x, kind="<f4", rate=16_000, extensible=False):
    data = x.T.contiguous().numpy().astype(kind).tobytes()
    bits = int(kind[2]) * 8
    code = 0xFFFE if extensible else 3
    form = struct.pack("<HHIIHH", code, len(x), rate, rate * len(x) * bits // 8, len(x) * bits // 8, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 3, 3) + bytes(14)
    listed = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # a chunk of odd length, and its padding
    body = (
        b"WAVE" + listed + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_numbers_are_written_and_read_to_half_a_step(bits):
    found = parse_wav(wav_bytes(TONE, 22_050, bits))
    assert found.sample_rate == 22_050
    assert found.samples.shape == (2, 400)
    step = 2.0 ** (1 - bits)  # and float32 has 24 bits; writing scales by 2^(bits - 1) - 1, reading by 2^(bits - 1)
    assert (found.samples - TONE).abs().max() <= 1.51 * step + 1e-7


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_the_standard_library_reads_the_same_bytes(bits):
    with wave.open(io.BytesIO(wav_bytes(TONE, 8000, bits)), "rb") as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, bits // 8)
        assert file.readframes(400) == wav_samples(TONE, bits)


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize("extensible", [False, True])
def test_floats_are_read_exactly(kind, extensible):
    found = parse_wav(float_wav(2 * TONE, kind, extensible=extensible))
    assert torch.equal(found.samples, 2 * TONE)


def test_a_stream_whose_size_is_unknown_is_read_to_its_end():
    found = parse_wav(wav_header(None, 1, 8000) + wav_samples(TONE[:1]))
    assert found.samples.shape == (1, 400)
    assert found.seconds == pytest.approx(0.05)


def cut(content):
    return content[:-400]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"RIFF", "not a WAV file"),
        (cut(wav_bytes(TONE, 400)), "cut off: 0.8 of 1.0 seconds"),
        (wav_bytes(TONE[:, :0], 8000), "no samples"),
        (wav_header(400, 1, 8000, 12) + bytes(400), "12 bits"),
        (float_wav(TONE / 0), "not finite"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0ab", "format is cut off"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, content, says):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(um.UsageError, match=says):
        read_sound(path)


def test_other_formats_need_a_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(um.UsageError, match=r"unmelt\[sound\]"):
        read_sound(tmp_path / "a.flac")


def test_flac_is_read_where_the_package_is_installed(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.flac", TONE.T.numpy(), 8000)
    found = read_sound(tmp_path / "a.flac")
    assert found.sample_rate == 8000
    torch.testing.assert_close(found.samples, TONE, atol=2.0**-14, rtol=0)
    (tmp_path / "b.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(um.UsageError, match=r"b\.flac cannot be read"):
        read_sound(tmp_path / "b.flac")


@pytest.mark.parametrize(("old", "new"), [(8000, 16_000), (44_100, 16_000), (96_000, 16_000), (16_000, 24_000)])
def test_a_sine_is_the_same_sine_at_another_rate(old, new):
    def sine(rate, frequency=1000.3):
        return torch.sin(2 * torch.pi * frequency * torch.arange(rate // 4, dtype=torch.float64) / rate).float()

    made, wanted = resample(sine(old), old, new), sine(new)
    assert len(made) == len(wanted)
    inner = slice(new // 40, -new // 40)
    assert (made - wanted)[inner].abs().max() < 2e-4


def test_what_the_new_rate_cannot_hold_is_removed():
    high = torch.sin(2 * torch.pi * 9000 * torch.arange(24_000, dtype=torch.float64) / 48_000).float()
    assert resample(high, 48_000, 16_000)[500:-500].abs().max() < 1e-4
    assert resample(high, 48_000, 24_000)[500:-500].abs().max() > 0.99

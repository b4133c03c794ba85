"""Sound: WAV files read back number for number, spectrograms show the frequency, scores say what is wrong."""

import math
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.errors import UsageError
from unmelt.metric import SampleSet
from unmelt.modality import Sound
from unmelt.rng import Stream

RATE = 8000
sound = Sound(RATE)


def tones(seed, rows=160, low=400.0, high=800.0, loud=0.3, channels=1):
    """Sines of random frequencies and phases, with a little noise."""
    rng = Stream(seed)
    frequency = low + (high - low) * rng.uniform((rows, channels, 1), torch.float64)
    phase = 2 * math.pi * rng.uniform((rows, channels, 1), torch.float64)
    time = torch.arange(1600, dtype=torch.float64) / RATE
    clean = loud * torch.sin(2 * math.pi * frequency * time + phase)
    return (clean + 0.02 * rng.normal(clean.shape, torch.float64)).float()


def read(path):
    with wave.open(str(path), "rb") as file:
        numbers = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return numbers.T, file.getframerate(), file.getsampwidth()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_file_reads_back_number_for_number(tmp_path, channels):
    x = tones(0, rows=1, channels=channels)
    assert sound.write(x, tmp_path / "a.wav") == [tmp_path / "a.wav"]
    numbers, rate, width = read(tmp_path / "a.wav")
    assert (rate, width) == (RATE, 2)
    assert np.array_equal(numbers, (x[0].double() * 32_767).round().short().numpy())
    assert np.abs(numbers / 32_767 - x[0].numpy()).max() <= 0.5 / 32_767 + 1e-7


def test_what_is_too_loud_or_not_a_number_is_clipped(tmp_path):
    x = torch.tensor([[[-2.0, -1.0, 0.0, 1.0, 7.0, math.inf, math.nan, 0.5]]])
    sound.write(x, tmp_path / "a.wav")
    numbers = read(tmp_path / "a.wav")[0][0].tolist()
    assert numbers == [-32767, -32767, 0, 32767, 32767, 32767, 0, 16384]


def test_several_sounds_are_numbered_files(tmp_path):
    x = tones(0, rows=11)
    paths = sound.write(x, tmp_path / "a.wav")
    assert [path.name for path in paths] == [f"a-{k:02}.wav" for k in range(11)]
    assert np.array_equal(read(paths[10])[0][0], (x[10, 0].double() * 32_767).round().short().numpy())
    sound.write(x, tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), x.numpy())
    sound.write(x, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(sound.draw(x)))


def test_real_sounds_score_as_the_floor():
    made, real, held_out = (SampleSet(tones(seed)) for seed in range(3))
    found = sound.score(made, real, held_out)
    assert found["features"] == "log_spectrum32"
    quieter = sound.score(SampleSet(0.1 * made.x), real, held_out)
    assert max(found["frechet"], found["frechet_floor"]) < 0.1 * quieter["frechet"]
    assert found["nearest_train"] == pytest.approx(found["nearest_floor"], rel=0.1)


def test_other_pitch_other_loudness_noise_and_copies_are_seen():
    real, held_out = SampleSet(tones(1)), SampleSet(tones(2))
    floor = sound.score(real, real, held_out)
    assert floor["nearest_train"] == 0
    assert floor["frechet"] == floor["frechet_floor"]
    wrongs = (tones(0, low=1200, high=1600), tones(0, loud=0.03), 0.2 * Stream(0).normal((160, 1, 1600)))
    for wrong in wrongs:
        assert sound.score(SampleSet(wrong), real, held_out)["frechet"] > 4 * floor["frechet_floor"]
    distance = sound.distance(real.x, held_out.x)
    assert distance.floor == floor["frechet_floor"]
    assert distance.measure(wrongs[0]) == sound.score(SampleSet(wrongs[0]), real, held_out)["frechet"]


def test_a_spectrogram_is_brightest_at_the_frequency_of_the_sound():
    time = torch.arange(4096) / RATE
    for frequency in (500, 1000, 3000):
        x = torch.sin(2 * math.pi * frequency * time)[None, None]
        page = np.asarray(sound.draw(x)).astype(int).sum(2)
        inside = page[12:-12, 12:-12]  # the margin is white paper
        row = inside.mean(1).argmax()
        assert 1 - (row + 0.5) / len(inside) == pytest.approx(frequency / (RATE / 2), abs=0.02)


def test_silence_is_black_and_classes_stand_beside():
    page = np.asarray(sound.draw(torch.zeros(1, 1, 2048)))
    assert page[12:-12, 12:-12].max() <= 4
    x = tones(0, rows=2)
    assert sound.draw(x, torch.tensor([0, 1]), ("low", "high")).width > sound.draw(x).width
    assert sound.strip([x] * 5, [1.0, 0.75, 0.5, 0.25, 0.0]).width > 4 * sound.draw(x).width / 2


def test_numbers_of_previews_and_scores():
    assert [sound.preview_rows(classes) for classes in (0, 3, 100)] == [2, 6, 16]
    assert sound.samples_to_score(70) == 70
    with pytest.raises(UsageError, match="sample_rate=0"):
        Sound(0)

"""Log spectra: levels in decibels of full-scale sines, and features that a gain moves by what it says."""

import math
from itertools import pairwise

import pytest
import torch

from unmelt.errors import UsageError
from unmelt.metric import LogSpectrum, decibels, frechet_distance, spectrogram
from unmelt.metric.log_spectrum import window_length
from unmelt.rng import Stream

RATE = 8000


def sine(bin_number, amplitude=1.0, samples=2048):
    time = torch.arange(samples, dtype=torch.float64)
    return amplitude * torch.sin(2 * math.pi * bin_number * time / window_length(RATE) + 0.3)


def noise(rows, seed=0, channels=2):
    return 0.1 * Stream(seed).normal((rows, channels, 2000), torch.float64)


def test_frames_last_about_32_ms():
    assert window_length(8000) == 256
    assert window_length(44_100) == 1024
    assert window_length(1) == 16


@pytest.mark.parametrize("amplitude", [1.0, 0.5, 0.01])
def test_a_sine_at_a_bin_has_the_level_of_its_amplitude(amplitude):
    power = spectrogram(sine(20, amplitude), RATE)
    level = decibels(power)
    expected = torch.full_like(level[20], 20 * math.log10(amplitude))
    torch.testing.assert_close(level[20], expected, atol=1e-6, rtol=0)
    side = power[19] / power[20]  # of a Hann window, half the amplitude in the bins beside
    torch.testing.assert_close(side, torch.full_like(side, 0.25), atol=1e-6, rtol=0)
    assert (power[25:] < 1e-8 * power[20].min()).all()


def test_the_spectrogram_is_the_discrete_fourier_transform_of_each_frame():
    x = noise(1)[0, 0, :1000]
    size = window_length(RATE)
    n = torch.arange(size, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / size)
    found = spectrogram(x, RATE)
    padded = torch.cat([x, x.new_zeros(24)])
    assert found.shape == (size // 2 + 1, 7)
    for frame in (0, 3, 6):
        part = padded[frame * size // 2 :][:size] * window
        for k in (0, 1, 77, 128):
            angle = 2 * math.pi * k * n / size
            expected = ((part * angle.cos()).sum() ** 2 + (part * angle.sin()).sum() ** 2) / (window.sum() / 2) ** 2
            assert found[k, frame].item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-15)


def test_silence_is_minus_100_decibels_and_short_sounds_are_padded():
    assert (decibels(spectrogram(torch.zeros(3, 10), RATE)) == -100).all()
    assert spectrogram(torch.zeros(3, 10), RATE).shape == (3, 129, 1)


def test_bands_cover_every_bin_above_0_hz_once():
    for rate, bands in ((8000, 32), (8000, 4), (44_100, 32), (100, 32)):
        features = LogSpectrum(rate, bands)
        edges = features.edges
        assert edges[0] == 1
        assert edges[-1] == window_length(rate) // 2 + 1
        assert edges == sorted(set(edges))
        assert len(edges) - 1 <= bands


def test_the_loudest_band_of_a_sine_is_the_one_with_its_frequency():
    features = LogSpectrum(RATE)
    edges, means = features.edges, features(sine(60)[None, None])[0, : len(features.edges) - 1]
    loudest = int(means.argmax())
    assert edges[loudest] <= 60 < edges[loudest + 1]


def test_features_are_the_mean_and_the_deviation_of_levels_over_time():
    x, features = noise(3), LogSpectrum(RATE, bands=4)
    power, edges = spectrogram(x, RATE), features.edges
    assert len(edges) == 5
    level = torch.stack([10 * power[:, :, a:b].sum(2).log10() for a, b in pairwise(edges)], 2)
    means, deviations = features(x).split(8, 1)
    torch.testing.assert_close(means, level.mean(3).flatten(1))
    torch.testing.assert_close(deviations, (level - level.mean(3, True)).square().mean(3).sqrt().flatten(1))


def test_a_gain_moves_the_distance_by_its_decibels_in_every_band_and_channel():
    x, features = noise(40), LogSpectrum(RATE, bands=4)
    gain = 0.5
    found = frechet_distance(features(gain * x), features(x))
    assert found == pytest.approx(4 * 2 * (20 * math.log10(gain)) ** 2, rel=1e-6)


def test_wrong_numbers_are_refused():
    with pytest.raises(UsageError, match="sample_rate=0"):
        LogSpectrum(0)

"""The short-time Fourier transform, mel bands and Griffin-Lim, held to closed forms."""

import json
import math
from dataclasses import replace

import pytest
import torch

import unmelt as um
from unmelt.codec import Codec, Mel
from unmelt.codec.stft import istft, stft

MEL = Mel(sample_rate=16_000, n_fft=512, hop=128, bands=40)
PLAIN = replace(MEL, mean=(0.0,), sd=(1.0,))


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sine(frequency, samples=4096, rate=16_000, amplitude=1.0):
    return amplitude * torch.sin(2 * math.pi * frequency * torch.arange(samples, dtype=torch.float64) / rate)


@pytest.mark.parametrize(("n_fft", "hop", "samples"), [(512, 128, 4000), (512, 256, 4096), (64, 20, 777)])
def test_the_inverse_transform_loses_nothing(n_fft, hop, samples):
    x = noise(2, 3, samples)
    spectrum = stft(x, n_fft, hop)
    assert spectrum.shape == (2, 3, 1 + samples // hop, n_fft // 2 + 1)
    back = istft(spectrum, n_fft, hop)
    torch.testing.assert_close(back, x[..., : samples // hop * hop], atol=1e-12, rtol=0)


def test_the_inverse_is_the_least_squares_sound_of_a_spectrum_that_is_none():
    spectrum = torch.complex(noise(9, 33), noise(9, 33, seed=1))
    x = istft(spectrum, 64, 16).requires_grad_()
    weighted = stft(x, 64, 16) - spectrum
    # Of a real signal, all bins but the first and the last stand for two frequencies.
    twice = torch.tensor([1.0] + [2.0] * 31 + [1.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weighted.abs().square() * twice).sum(), x)
    assert gradient.abs().max() < 1e-12


def test_a_sine_has_the_magnitude_of_its_amplitude_in_its_bin_alone():
    spectrum = stft(sine(50 * 16_000 / 512, amplitude=0.3), 512, 128).abs()[5]
    assert spectrum[50].item() == pytest.approx(0.3, abs=1e-9)
    assert spectrum[[49, 51]].tolist() == pytest.approx([0.15, 0.15], abs=1e-9)
    assert spectrum[[0, 20, 47, 53, 200]].max() < 1e-9


def test_a_sine_lies_in_the_bands_around_its_frequency():
    k, z = 50, PLAIN.encode(sine(50 * 16_000 / 512, amplitude=0.3).float()[None, None])[0, 5]
    wanted = 0.3 * PLAIN.filters[:, k] + 0.15 * PLAIN.filters[:, [k - 1, k + 1]].sum(1)
    torch.testing.assert_close(z, wanted.clamp_min(1e-5).log(), atol=1e-3, rtol=0)
    mel = [2595 * math.log10(1 + f / 700) for f in (50 * 16_000 / 512, 8000.0)]
    assert z.argmax().item() == round(mel[0] / mel[1] * 41) - 1


def test_filters_share_every_frequency_between_two_bands():
    total = PLAIN.filters.double().sum(0)
    inner = slice(2, 239)  # between the centres of the first band, 44 Hz, and of the last, 7.48 kHz
    torch.testing.assert_close(total[inner], torch.ones_like(total[inner]), atol=1e-6, rtol=0)
    assert (PLAIN.filters > 0).sum(0).max() == 2


def test_the_pseudo_inverse_has_the_bands_it_was_made_of():
    z = PLAIN.encode(noise(1, 1, 4000).float())
    magnitude = PLAIN.spectrum(z)
    inverse = torch.linalg.pinv(PLAIN.filters)
    torch.testing.assert_close(PLAIN.filters @ inverse, torch.eye(40), atol=1e-4, rtol=0)
    assert (magnitude >= 0).all()
    again = PLAIN.normalized(magnitude @ PLAIN.filters.T)
    assert (again - z).abs().mean() < 0.05  # of cutting negative numbers off


def test_griffin_lim_finds_a_sound_with_the_same_frames():
    x = (sine(440, 8000, amplitude=0.3) + sine(1330, 8000, amplitude=0.2) + 0.02 * noise(8000)).float()[None, None]
    z = MEL.encode(x)
    made = MEL.decode(z)
    assert made.shape == (1, 1, 8000 // 128 * 128)
    inner, heard = slice(4, -4), MEL.encode(made)
    error = (heard - z)[:, inner].abs().mean().item()
    phases_alone = (MEL.encode(replace(MEL, iterations=0).decode(z)) - z)[:, inner].abs().mean().item()
    assert error < 0.3 < 0.5 < phases_alone
    spectrum = torch.fft.rfft(made[0, 0, 1000:5000]).abs()
    assert abs(spectrum[:250].argmax().item() - 110) <= 1  # 440 Hz at 4 Hz a bin
    assert abs(250 + spectrum[250:].argmax().item() - 332) <= 15  # 1,330 Hz, to half a band


def test_momentum_converges_further():
    def error(momentum):
        codec = replace(MEL, momentum=momentum)
        return (codec.encode(codec.decode(z)) - z).abs().mean().item()

    z = MEL.encode(noise(1, 1, 8000).float())
    assert error(0.99) < 0.9 * error(0.0)


def test_rows_and_zeros_after_them_change_nothing():
    x = noise(2, 1, 3000).float()
    z = MEL.encode(x)
    torch.testing.assert_close(MEL.encode(x[1:])[0], z[1])
    padded = MEL.encode(torch.cat([x, torch.zeros(2, 1, 2000)], -1))
    torch.testing.assert_close(padded[:, : z.shape[1]], z)
    assert z.shape[1:] == MEL.latent_shape((1, 3000)) == (24, 40)


def test_measured_frames_have_unit_size_in_every_band():
    sounds = [noise(3000 + 100 * k, seed=k).float().cumsum(0) for k in range(4)]
    codec = Mel.measured(sounds, MEL)
    z = torch.cat([codec.encode(sound[None, None])[0] for sound in sounds])
    torch.testing.assert_close(z.mean(0), torch.zeros(40), atol=2e-3, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(40), atol=2e-3, rtol=0)
    torch.testing.assert_close(codec.normalized(codec.denormalized(z)), z, atol=1e-4, rtol=1e-4)
    again = um.config.build(json.loads(json.dumps(um.config.describe(codec))))
    assert again == codec
    assert isinstance(codec, Codec)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bands": 0}, "a band"),
        ({"bands": 200}, "without a frequency"),
        ({"hop": 500}, "at least two hops"),
        ({"high": 9000.0}, "half the sample rate"),
        ({"mean": (0.0, 1.0)}, "one for each band"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_settings_that_make_no_spectrogram_are_refused(settings, says):
    with pytest.raises(um.UsageError, match=says):
        replace(MEL, **settings)


def test_two_channels_are_refused():
    with pytest.raises(um.UsageError, match="one channel"):
        MEL.encode(torch.zeros(1, 2, 4000))

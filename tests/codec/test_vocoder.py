"""The vocoder: Griffin-Lim before it has learned anything, nearer to the truth after, and kept like any codec."""

import json

import pytest
import torch

import unmelt as um
from unmelt.codec import Codec, Mel, Vocoder
from unmelt.data import Excerpts, Recordings
from unmelt.model import VocoderModel
from unmelt.objective import SpectralLoss, spectral_distance
from unmelt.train import AdamW, Training

MEL = Mel(sample_rate=4000, n_fft=128, hop=32, bands=12, iterations=2)


def hum(seed, samples=2000):
    """A pitch with overtones that glides."""
    rng = torch.Generator().manual_seed(seed)
    pitch = (120 + 80 * torch.rand((), generator=rng)) * (1 + 0.3 * torch.linspace(0, 1, samples))
    phase = 2 * torch.pi * (pitch / 4000).cumsum(0)
    return sum(0.3 / k * torch.sin(k * phase) for k in (1, 2, 3, 5)).float()


def recordings(n=8):
    sounds = torch.cat([(hum(k) * 32_767).to(torch.int16) for k in range(n)])
    return Recordings(sounds, [2000] * n, [f"hum {k}" for k in range(n)], 4000)


def vocoder(**settings):
    with um.rng.seeded(0):
        return Vocoder(Mel.measured([hum(k) for k in range(8)], MEL), width=16, depth=2, start_iterations=2, **settings)


def model(steps=60):
    training = Training(steps=steps, batch=4, lr=5e-3, ema=0.9, optimizer=AdamW(betas=(0.8, 0.99)), picture_every=0)
    objective = SpectralLoss(frames=(64, 128, 256))
    kept = recordings(10)
    source, held_out = kept.only(torch.arange(8)), kept.only(torch.arange(8, 10))
    return VocoderModel(
        codec=vocoder(), objective=objective, training=training, excerpt=640, source=source, held_out=held_out
    )


def test_an_untrained_vocoder_is_griffin_lim():
    codec = vocoder()
    z = codec.encode(hum(20)[None, None])
    torch.testing.assert_close(codec.decode(z), codec.mel.decode(z), atol=1e-5, rtol=0)
    assert isinstance(codec, Codec)


def test_the_distance_of_spectra_is_zero_for_the_same_sound_and_known_for_a_louder_one():
    x = hum(0)[None]
    assert spectral_distance(x, x, (128,)).item() == 0
    twice = spectral_distance(2 * x, x, (64, 128)).item()
    # The convergence term is 1; the logarithm rises by log 2 where magnitudes are well above the floor.
    assert 1.0 < twice <= 1 + 0.6932
    loud = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0))
    assert spectral_distance(2 * loud, loud, (64, 128)).item() == pytest.approx(1.6931, abs=5e-3)


def test_training_brings_it_nearer_than_griffin_lim_on_sounds_it_has_not_heard(tmp_path):
    made = model()
    before = made.evaluate()
    assert before["spectral"] == pytest.approx(before["griffin_lim_spectral"], rel=1e-3)
    made.fit(tmp_path / "run", device="cpu", quiet=True)
    after = made.evaluate()
    assert after["spectral"] < 0.9 * after["griffin_lim_spectral"]
    again = um.load(tmp_path / "run", "cpu")
    z = again.encode(hum(9)[None, None])
    assert torch.equal(again.decode(z), made.decode(z))
    assert again.codec.mel == made.codec.mel
    assert repr(again).startswith("VocoderModel(")
    assert made.save_preview(tmp_path / "shown") == tmp_path / "shown.png"


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    whole = model(4).fit(device="cpu", quiet=True)
    model(2).fit(tmp_path, device="cpu", quiet=True)
    resumed = model(4)
    resumed.training = Training(**{**vars(whole.training), "lr_schedule": whole.training.lr_schedule})
    other = model(4)
    other.training = resumed.training
    with pytest.MonkeyPatch.context() as patch:  # the schedule of the first part was that of 2 steps
        patch.setattr(Training, "lr_at", lambda self, step: 1e-3)
        whole = model(4).fit(device="cpu", quiet=True)
        model(2).fit(tmp_path / "part", device="cpu", quiet=True)
        other.fit(tmp_path / "part", device="cpu", quiet=True)
    for one, two in zip(whole.codec.parameters(), other.codec.parameters(), strict=True):
        assert torch.equal(one, two)


def test_excerpts_do_not_depend_on_how_a_batch_is_divided():
    source = Excerpts(recordings(), 300)
    whole, _ = source.batch(1, 4)
    parts = torch.cat([source.batch(2, 2)[0], source.batch(3, 2)[0]])
    assert torch.equal(whole, parts)
    assert Excerpts(recordings(), 3000).batch(0, 1)[0][..., 2000:].abs().max() == 0


def test_it_is_described_and_built_again():
    codec = vocoder()
    again = um.config.build(json.loads(json.dumps(um.config.describe(codec))))
    again.load_state_dict(codec.state_dict())
    z = codec.encode(hum(3)[None, None])
    assert torch.equal(again.decode(z), codec.decode(z))
    with pytest.raises(um.UsageError, match="at least 1"):
        Vocoder(MEL, depth=0)
    with pytest.raises(um.UsageError, match="without recordings"):
        VocoderModel(codec=codec).fit()

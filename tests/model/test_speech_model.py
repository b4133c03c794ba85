"""The facade for speech: lengths, rows alone and together, prompts, guidance, resuming, distilling, mistakes."""

import json

import pytest
import torch

import unmelt as um
from unmelt.codec import Mel, Vocoder
from unmelt.condition import KNOWN_FRAMES
from unmelt.data.wav import wav_bytes

RATE = 4000
SETTINGS = {"n_fft": 128, "hop": 32, "bands": 16, "sample_rate": RATE, "batch": 4, "picture_every": 0, "held_out": 0.3}
SMALL = {"width": 16, "depth": 1, "heads": 2, "text_width": 8, "text_depth": 1}
WORDS = ("la", "lo", "mi", "ma la", "lo mi ma", "a la mo", "mimi lo", "lala mo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two voices that hum at the pitch of each letter."""
    top = tmp_path_factory.mktemp("recordings")
    pitches = {letter: 200 + 150 * k for k, letter in enumerate("ailmo ")}
    for voice, factor in (("high", 1.5), ("low", 1.0)):
        (top / voice).mkdir()
        for number, text in enumerate(WORDS):
            hz = torch.tensor([factor * pitches[each] for each in text]).repeat_interleave(240)
            x = 0.4 * torch.sin(2 * torch.pi * (hz / RATE).cumsum(0))
            (top / voice / f"{number}.wav").write_bytes(wav_bytes(x[None], RATE))
            (top / voice / f"{number}.txt").write_text(text, encoding="utf-8")
    return top


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMELT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recipe(folder, steps=4, **settings):
    return um.recipe.speech(folder=folder, steps=steps, **{**SETTINGS, **SMALL, **settings})


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "speech"
    model = recipe(folder).fit(out, device="cpu", quiet=True)
    for parameter in model.denoiser.parameters():  # so that every condition counts
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def test_a_text_is_as_long_as_its_letters_take(fitted):
    short, long = fitted.sample(["la", "lala mo lo mi"], voice="low")
    hop, per_letter = 32, 240 / RATE
    for x, letters in ((short, 2), (long, 13)):
        assert x.shape[0] == 1
        assert x.shape[1] % hop == 0
        assert x.shape[1] / RATE == pytest.approx(letters * per_letter, rel=0.25, abs=0.02)
    assert fitted.sample("lala mo", speed=2.0)[0].shape[1] < 0.6 * fitted.sample("lala mo")[0].shape[1]
    assert fitted.seconds_of("lala mo", "low", 2.0) == fitted.seconds_of("lala mo", "low") / 2


def test_a_row_is_the_same_alone_and_beside_longer_ones(fitted):
    texts = ["la", "lala mo lo mi", "mi"]
    together = fitted.sample(texts, voice=["low", "high", "low"], guidance=2.0, steps=3, seed=[7, 8, 9])
    for k, voice in ((0, "low"), (2, "low")):
        alone = fitted.sample(texts[k], voice=voice, guidance=2.0, steps=3, seed=[7 + k])[0]
        request = fitted.speech_request(texts[k], voice=voice, guidance=2.0, steps=3, seed=[7 + k])
        assert alone.shape == together[k].shape
        torch.testing.assert_close(alone, together[k], atol=2e-3, rtol=0)  # Griffin-Lim magnifies rounding
        assert request.lengths[0] == 1 + alone.shape[1] // 32


def test_frames_of_a_row_are_the_same_to_a_millionth(fitted):
    texts = ["la", "lala mo lo mi"]
    both = fitted.speech_request(texts, voice=["low", "high"], guidance=2.0, steps=3, seed=[7, 8])
    one = fitted.speech_request(texts[0], voice="low", guidance=2.0, steps=3, seed=[7])
    (*_, together), (*_, alone) = fitted.states(both.request), fitted.states(one.request)
    torch.testing.assert_close(together.x[0, : one.lengths[0]], alone.x[0], atol=1e-6, rtol=1e-6)
    assert together.x[0, one.lengths[0] :].abs().max() < 1e-6


def test_voice_text_guidance_and_seed_are_heard(fitted):
    def frames(**settings):
        given = {"voice": "low", "steps": 2, "seed": 1, **settings}
        text = given.pop("text", "lala mo")
        *_, last = fitted.states(fitted.speech_request(text, **given).request)
        return last.x[0, :20]

    plain = frames()
    assert torch.equal(plain, frames())
    for changed in ({"voice": "high"}, {"text": "mimi lo"}, {"guidance": 3.0}, {"seed": 2}):
        assert (frames(**changed) - plain).abs().max() > 1e-4, changed


def test_a_prompt_goes_on_and_is_not_repeated(fitted, folder):
    prompt = folder / "high" / "4.wav"
    asked = fitted.speech_request("la mi", prompt=prompt, prompt_text="lo mi ma", seed=0)
    known = fitted.mel.encode(um.data.read_sound(prompt).samples[None])[0]
    assert torch.equal(asked.known, known)
    condition = asked.request.condition
    assert not condition.x_mask[0, : len(known)].any()
    assert torch.equal(condition.extra[KNOWN_FRAMES][0, : len(known), :-1], known)
    assert condition.sequence_mask.sum() == len(" lo mi ma la mi ")
    x = fitted.sample("la mi", prompt=prompt, prompt_text="lo mi ma")[0]
    assert x.shape[1] == (asked.lengths[0] - 1 - len(known)) * 32
    as_tensor = um.data.read_sound(prompt).mono
    assert torch.equal(fitted.sample("la mi", prompt=as_tensor, prompt_text="lo mi ma")[0], x)
    slow = fitted.speech_request("la mi", prompt=as_tensor.repeat_interleave(2), prompt_text="lo mi ma")
    assert slow.lengths[0] > 1.8 * asked.lengths[0]  # a prompt that takes twice as long is gone on with as slowly


def test_it_is_saved_loaded_and_resumed(folder, tmp_path):
    with pytest.MonkeyPatch.context() as patch:  # the schedule of a run of two steps is another
        patch.setattr(um.train.Training, "lr_at", lambda self, step: 1e-3)
        whole = recipe(folder, 4).fit(tmp_path / "whole", device="cpu", quiet=True)
        recipe(folder, 2).fit(tmp_path / "parts", device="cpu", quiet=True)
        um.recipe.resumed(tmp_path / "parts", steps=4).fit(tmp_path / "parts", device="cpu", quiet=True)
    loaded = um.load(tmp_path / "parts", "cpu")
    for one, other in zip(whole.denoiser.parameters(), loaded.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (loaded.classes, loaded.encoder, loaded.codec) == (whole.classes, whole.encoder, whole.codec)
    text = loaded.sample("la mo", voice="high", seed=3)[0]
    assert torch.equal(text, whole.sample("la mo", voice="high", seed=3)[0])
    assert repr(loaded).startswith("SpeechModel(recipe speech, sound of shape")
    judged = um.recipe.with_data(tmp_path / "parts").evaluate(samples=2, steps=2)
    assert judged["seconds_error"] < 0.3
    assert json.dumps(judged)
    assert whole.save_preview(tmp_path / "shown").suffix == ".png"
    assert (tmp_path / "shown-0.wav").is_file()


def test_it_learns(folder):
    model = recipe(folder, 60, lr=1e-2, width=32)
    source = model.training_data(torch.device("cpu")).source
    x, condition = source.batch(0, 8)

    def loss():
        with torch.no_grad():
            return model.objective(model.denoiser, x, condition, um.rng.Stream(0)).mean().item()

    before = loss()
    model.fit(device="cpu", quiet=True)
    assert loss() < 0.8 * before


def test_a_student_jumps(folder, tmp_path):
    teacher = recipe(folder, 3).fit(device="cpu", quiet=True)
    student = teacher.distill(
        um.distill.Consistency(),
        steps=2,
        out=tmp_path / "fast",
        guidance_range=(1.0, 4.0),
        training_steps=2,
        quiet=True,
    )
    x = um.load(tmp_path / "fast", "cpu").sample("la mo", voice="low", guidance=2.0)[0]
    assert torch.equal(x, student.sample("la mo", voice="low", guidance=2.0)[0])


def test_a_vocoder_brings_its_frames(folder, tmp_path):
    settings = {"n_fft": 128, "hop": 32, "bands": 16, "sample_rate": RATE, "width": 8, "depth": 2, "excerpt": 512}
    vocoder = um.recipe.vocoder(folder=folder, steps=2, batch=2, picture_every=0, **settings)
    vocoder.objective = um.objective.SpectralLoss(frames=(64,))
    vocoder.fit(tmp_path / "vocoder", device="cpu", quiet=True)
    model = um.recipe.speech(folder=folder, vocoder=tmp_path / "vocoder", steps=1, batch=2, picture_every=0, **SMALL)
    assert isinstance(model.codec, Vocoder)
    assert model.mel == vocoder.codec.mel
    model.fit(tmp_path / "speech", device="cpu", quiet=True)
    loaded = um.load(tmp_path / "speech", "cpu")
    assert torch.equal(loaded.sample("la")[0], model.sample("la")[0])
    with pytest.raises(um.UsageError, match="which holds none"):
        um.recipe.speech(folder=folder, vocoder=tmp_path / "speech")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"text": ""}, "nothing is said"),
        ({"text": []}, "no text"),
        ({"text": "la zoo"}, "'z'"),
        ({"voice": "deep"}, "there is no voice 'deep'.*high, low"),
        ({"speed": 9.0}, "speed=9.0"),
        ({"prompt": torch.ones(4000)}, "a prompt without its text"),
        ({"prompt_text": "la"}, "prompt_text without a prompt"),
        ({"prompt": torch.zeros(4000), "prompt_text": "la"}, "a silent prompt"),
        ({"prompt": torch.ones(400), "prompt_text": "la"}, "a prompt of 0.1 seconds"),
        ({"prompt": torch.ones(4000), "prompt_text": "la", "voice": "low"}, "one of them"),
        ({"prompt": "missing.wav", "prompt_text": "la"}, "missing.wav cannot be read"),
    ],
)
def test_mistakes_are_one_message(fitted, settings, says):
    given = {"text": "la", **settings}
    with pytest.raises(um.UsageError, match=says):
        fitted.sample(given.pop("text"), **given)


def test_a_codec_that_makes_no_frames_is_refused(fitted):
    parts = {"denoiser": fitted.denoiser, "encoder": fitted.encoder, "grid": fitted.grid}
    with pytest.raises(um.UsageError, match="a Mel or a Vocoder"):
        um.SpeechModel(codec=um.codec.Affine(), **parts)
    assert um.SpeechModel(codec=Mel(bands=16), **parts).sample_rate == 16_000

"""The command line of speech: train a vocoder and a model, say a text, judge them; and mistakes."""

import json

import pytest
import torch
from test_cli import refused, unmelt  # noqa: F401

import unmelt as um
from unmelt.data.wav import read_sound, wav_bytes

RATE = 4000
MEL = ["--sample-rate", RATE, "--n-fft", 128, "--hop", 32, "--bands", 16]
SPEECH = ["--width", 16, "--depth", 1, "--heads", 2, "--text-width", 8, "--text-depth", 1]
SHORT = ["--steps", 2, "--batch", 2, "--picture-every", 0, "--held-out", 0.3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A vocoder and a model of two voices."""
    top = tmp_path_factory.mktemp("speech")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMELT_CACHE", str(top / "cache"))
        for number, text in enumerate(("la", "lo", "mi la", "lo mi ma", "a la", "mimi")):
            for voice in ("anna", "bert"):
                hum = 0.3 * torch.sin(torch.arange(400 * len(text)) * (0.3 if voice == "anna" else 0.2))
                (top / "recordings" / voice).mkdir(parents=True, exist_ok=True)
                (top / "recordings" / voice / f"{number}.wav").write_bytes(wav_bytes(hum[None], RATE))
                (top / "recordings" / voice / f"{number}.txt").write_text(text, encoding="utf-8")
        common = ["--folder", top / "recordings", *SHORT]
        out = ["--out", top / "vocoder", "--width", 8, "--depth", 2, "--excerpt", 2048]
        assert unmelt("train", "vocoder", *common, *out, *MEL) == 0
        assert unmelt("train", "speech", *common, "--vocoder", top / "vocoder", "--out", top / "speech", *SPEECH) == 0
        yield top


def test_a_text_is_said_sentence_by_sentence(runs, tmp_path, capsys):
    out = tmp_path / "x.wav"
    assert unmelt("say", runs / "speech", "La mi. Lo, mi ma!", "--voice", "bert", "--out", out, "--steps", 2) == 0
    both = read_sound(out)
    assert both.sample_rate == RATE
    model = um.load(runs / "speech", "cpu")
    sounds = model.sample(["La mi.", "Lo, mi ma!"], voice="bert", guidance=2.0, steps=2, seed=0)
    pause = int(0.15 * RATE)
    assert both.samples.shape[1] == sounds[0].shape[1] + pause + sounds[1].shape[1]
    assert both.samples.shape[1] / RATE > 2 * 0.1
    torch.testing.assert_close(both.samples[:, : sounds[0].shape[1]], sounds[0], atol=1e-3, rtol=0)
    assert "x.wav" in capsys.readouterr().err
    prompt = ["--prompt", runs / "recordings/anna/3.wav", "--prompt-text", "lo mi ma"]
    assert unmelt("say", runs / "speech", "la", *prompt, "--out", tmp_path / "y.png", "--steps", 2) == 0
    assert (tmp_path / "y.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("run", ["vocoder", "speech"])
def test_a_run_is_shown_and_judged(runs, run, capsys, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(runs / "cache"))
    assert unmelt("show", runs / run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["origin"]["recipe"] == run
    assert unmelt("eval", runs / run, "--samples", 2, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"vocoder": "griffin_lim_spectral", "speech": "seconds_error"}[run] in scores
    shared = runs / f"{run}-shared"
    um.load(runs / run, "cpu").save_pretrained(shared)
    card = (shared / "README.md").read_text(encoding="utf-8")
    assert {"vocoder": "A vocoder: 16 mel bands", "speech": "voice='bert'"}[run] in card


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("say {speech}", "unmelt say without TEXT"),
        ("say {speech} 2", "numbers in words"),
        ("say {speech} ...", "nothing is said"),
        ("say {speech} la --voice carl", "one of anna, bert"),
        ("say {speech} la --out x.mp3", ".wav"),
        ("say {vocoder} la", "which is no model of speech"),
        ("say {speech} la --prompt missing.wav --prompt-text la", "missing.wav cannot be read"),
        ("sample {speech}", "unmelt say"),
        ("sample {vocoder}", "a vocoder, which makes nothing from noise"),
        ("serve {vocoder}", "a vocoder"),
        ("tune {speech}", "a model of speech"),
        ("train speech --folder {speech} --out new", "run folder"),
        ("train speech --folder missing --out new", "missing"),
    ],
)
def test_mistakes_are_one_message(runs, refused, line, says):
    words = [each.format(speech=runs / "speech", vocoder=runs / "vocoder") for each in line.split()]
    assert says in refused(*words)


def test_a_run_of_speech_is_served(runs):
    from unmelt.cli.serve import _named

    assert list(_named((runs / "speech",))) == ["speech"]

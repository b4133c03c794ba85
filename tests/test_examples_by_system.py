"""One short example of each system runs at a small size, says what it measured, and writes its picture or sound."""

import os
import re
import socket

import numpy as np
import pytest
import torch
from doc_pages import ROOT, text_of
from jaxtyping import config
from PIL import Image, ImageSequence
from test_examples import EXAMPLES, example

from unmelt.data.wav import read_sound, wav_bytes


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder with a cache of its own; shapes are checked by other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    return tmp_path


def is_picture(path):
    with Image.open(path) as image:
        assert np.asarray(image.convert("RGB")).std() > 2  # not of one colour


def is_film(path, frames, fps):
    """A film that lasts as long as it should. What is learned in a step is grey, and frames that are alike are one."""
    with Image.open(path) as image:
        lasts = sum(frame.info["duration"] for frame in ImageSequence.Iterator(image))
        assert lasts == pytest.approx(1000 * frames / fps, rel=0.1)


def test_ddpm_learns_two_moons(here):
    found = example("ddpm")(training=150, steps=40, points=400, out=here / "a.png")
    untrained = example("ddpm")(training=1, steps=40, points=400, out=here / "b.png")
    assert found < 0.5 * untrained
    is_picture(here / "a.png")


def test_sdes_need_more_steps_than_the_ode(here):
    found = example("sde")(points=1000, longest=64, out=here / "a.png")
    ode, some, much = found.values()
    assert ode[0] > ode[1] > ode[3] > 1 > much[3] > much[1]  # too wide, and too narrow
    assert all(abs(each[3] - 1) < 0.15 for each in (ode, some, much))
    assert abs(much[3] - 1) > 2 * abs(ode[3] - 1)
    is_picture(here / "a.png")


def test_guidance_costs_diversity(here):
    plain, two, four, middle = example("guidance")(points=400, out=here / "a.png").values()
    assert plain == pytest.approx((2, 0.3), abs=0.05)
    assert plain[1] > two[1] > four[1]
    assert plain[0] < two[0] < four[0]
    assert plain[0] < middle[0] < four[0]  # guided in the middle alone
    is_picture(here / "a.png")


def test_a_student_of_one_call_beats_its_teacher(here):
    found = example("few_steps")(training=60, points=500, out=here / "a.png")
    twenty, one, student = found.values()
    assert twenty < student < one
    is_picture(here / "a.png")


def test_latents_are_fewer_numbers(here):
    found = example("latents")(pictures=20, training=2, width=16, batch=4, out=here)
    assert found["numbers"] == 4 * 8 * 8 < 3 * 32 * 32
    is_picture(here / "samples.png")
    is_picture(here / "codec.png")


def test_two_networks_learn_the_same(here):
    found = example("unet_and_dit")(training=2, width=8, rows=4, out=here / "a.png")
    assert set(found) == {"U-Net", "DiT"}
    assert all(np.isfinite(each) for each in found.values())
    is_picture(here / "a.png")


def test_optimal_transport_makes_one_step_go_far(here):
    found = example("flow_matching")(training=200, points=500, out=here / "a.png")
    assert found["optimal transport, 1"] < 0.5 * found["by chance, 1"]
    is_picture(here / "a.png")


def test_a_masked_model_writes_and_fills(here):
    written, filled = example("masked_text")(steps=4, out=here / "a.png")
    assert written.startswith("def ")
    assert filled.startswith("import ")
    is_picture(here / "a.png")


@pytest.mark.slow
def test_models_of_text_are_compared(here):
    found = example("compare_text")(tokens=16, rows=4, held_out=4, out=here)
    assert found.bits["code_ar"]["bits_per_byte"] > 0
    is_picture(here / "quality.png")
    is_picture(here / "speed.png")


def test_a_voice_says_a_sentence(here):
    for number, text in enumerate(("the sea was calm", "a calm sea", "the calm was the sea", "the sea", "it was calm")):
        hum = 0.3 * torch.sin((0.2 + 0.02 * number) * torch.arange(600 * len(text)))
        (here / "recordings").mkdir(exist_ok=True)
        (here / "recordings" / f"{number}.wav").write_bytes(wav_bytes(hum[None], 8000))
        (here / "recordings" / f"{number}.txt").write_text(text, encoding="utf-8")
    said = example("speech")(
        folder=here / "recordings", training=2, width=32, batch=2, sample_rate=8000, out=here / "out"
    )
    assert read_sound(said).samples.shape[-1] > 2000
    is_picture(here / "out" / "said.png")


def test_a_policy_acts(here):
    share = example("policy")(demonstrations=40, training=4, width=16, points=2, out=here / "a.png")
    assert share in (0, 0.5, 1)
    is_picture(here / "a.png")


def test_drafts_need_fewer_passes(here):
    passes = example("drafter")(tokens=16, out=here / "a.png")
    assert passes["nobody"] == 16
    assert passes["masked diffusion"] < passes["nobody"]
    is_picture(here / "a.png")


def test_a_world_dreams(here):
    is_film(example("world")(games=4, training=1, width=8, frames=4, out=here), 4, fps=15)


def test_a_film_goes_on(here):
    films = example("video")(films=8, training=1, width=8, steps=2, out=here)
    for film in films:
        is_film(film, 24, fps=15)


def test_a_server_answers(here):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    pytest.importorskip("multipart")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    is_picture(example("serving")(steps=2, port=port, out=here / "a.png"))


@pytest.mark.slow
def test_a_chapter_becomes_a_page(here, monkeypatch):
    pytest.importorskip("marimo")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    page = text_of(example("lab_page")(out=here / "a.html"))
    assert "The score" in page
    assert "\\u003Csvg" in page  # as JSON in a script


def test_every_example_is_listed_and_short():
    listed = set(re.findall(r"\[(\w+)\.py\]\(\1\.py\)", text_of(EXAMPLES / "README.md")))
    assert listed == {path.stem for path in EXAMPLES.glob("*.py")}
    tests = text_of(ROOT / "tests" / "test_examples.py") + text_of(ROOT / "tests" / "test_examples_by_system.py")
    assert all(f'example("{name}")' in tests for name in listed)

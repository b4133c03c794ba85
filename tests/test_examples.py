"""The examples run, and their claims hold."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import config
from PIL import Image

import unmelt as um

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_melting_separates_the_modes_as_the_schedule_says(tmp_path, seed):
    """The modes are 4 alpha apart, within 4 standard errors of a difference of two means."""
    points = 300
    rows = example("melting_two_modes")(points=points, seed=seed, out=tmp_path / "a.png")
    assert [row["t"] for row in rows] == [0.0, 0.25, 0.5, 1.0]
    for row in rows:
        alpha = math.exp(-3 * row["t"])
        assert row["separation_exact"] == pytest.approx(4 * alpha, rel=1e-12)
        sd = math.sqrt((0.3 * alpha) ** 2 + 1 - alpha**2)
        assert abs(row["separation"] - 4 * alpha) < 4 * sd * math.sqrt(4 / points)
        assert row["noise_exact"] == pytest.approx(math.sqrt(1 - alpha**2), abs=1e-12)
        assert abs(row["noise"] - row["noise_exact"]) <= 4 * row["noise_exact"] / math.sqrt(2 * points)
    assert Image.open(tmp_path / "a.png").size[0] > 300


def test_langevin_finds_both_modes_with_equal_shares(tmp_path, monkeypatch):
    """Means within 0.05 of -2 and 2, and half of the points in each mode: 600 points, 4 standard errors are 0.082."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # 500 small steps, of which the checks are most
    found = example("langevin_two_modes")(out=tmp_path / "a.png")
    assert found["left"] == pytest.approx(-2, abs=0.05)
    assert found["right"] == pytest.approx(2, abs=0.05)
    assert found["right_share"] == pytest.approx(0.5, abs=0.082)
    assert (tmp_path / "a.png").is_file()


def test_ring_samples_match_the_data_and_guided_ones_their_class(tmp_path):
    """Samples are as near to the data as data to data, and guided samples are at the angle of their class.

    20 steps of second order leave the radius 0.03 too large, 40 steps 0.005: a discretisation error.
    """
    found = example("ring")(points=1000, out=tmp_path / "a.png")
    assert abs(found["energy"]) < 0.01
    assert found["radius"] == pytest.approx(math.hypot(2, 0.15 / math.sqrt(2)), abs=0.05)
    assert found["guided_angle"] == pytest.approx(60, abs=1)
    assert (tmp_path / "a.png").is_file()
    assert (tmp_path / "a_back.png").is_file()


@pytest.mark.parametrize("classes", [("",), ("red", "blue")], ids=["no classes", "two classes"])
def test_own_folder_trains_on_images_with_and_without_classes(tmp_path, classes, capsys):
    for k in range(16):
        path = tmp_path / "mine" / classes[k % len(classes)] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 255, (10 + k, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    out = tmp_path / "run"
    picture = example("own_folder")(folder=tmp_path / "mine", size=4, out=out, width=4, steps=2)
    assert picture == out / "samples.png"
    for name in ("samples.png", "trajectory.png", "loss.png", "model.safetensors"):
        assert (out / name).is_file()
    assert "16 images used" in capsys.readouterr().out


def test_a_sentence_becomes_pictures_that_show_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    scene = um.scene.Scene.parse("1 red star top; 1 blue cat bottom")
    found = example("words_to_pictures")(out=tmp_path)
    assert sum(um.scene.check(scene, things)["all"] for things in found) >= 5
    other = um.scene.Scene.parse("1 blue star top; 1 red cat bottom")
    assert not any(um.scene.check(other, things)["all"] for things in found)
    for name in ("samples.png", "trajectory.png"):
        assert (tmp_path / name).is_file()
    assert "red star (" in capsys.readouterr().out


@pytest.mark.slow
def test_digits_reports_poor_scores_before_training(tmp_path, monkeypatch, capsys):
    """After two steps the scores are poor, and printed as they are."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    scores = example("digits")(out=tmp_path / "run", steps=2)
    assert scores["classifier_accuracy"] < 0.5 < scores["classifier_floor"]
    assert scores["frechet"] > 2 * scores["frechet_floor"]
    for name in ("samples.png", "trajectory.png", "loss.png", "model.safetensors"):
        assert (tmp_path / "run" / name).is_file()
    assert f"{scores['classifier_accuracy']:.3f}" in capsys.readouterr().out

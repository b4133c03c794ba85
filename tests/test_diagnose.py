"""`unmelt curve`: its figures and its pictures."""

import json

import pytest
from jaxtyping import config

import unmelt as um
from unmelt import diagnose
from unmelt.cli import main


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnose") / "ring"
    model = um.recipe.ring(modes=3, steps=200, width=32, depth=2, batch=128).fit(folder, quiet=True)
    model.tune(steps=4, rows=64, rounds=4, quiet=True)
    return folder


@pytest.fixture
def unchecked(monkeypatch):
    """As people run it: types are not checked for us."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


def test_more_evaluations_reduce_the_error_and_all_pictures_are_drawn(ring, tmp_path, capsys, unchecked):
    assert main(["curve", str(ring), "--steps", "4", "16", "--rows", "64", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("Euler", "DPM-Solver++(2M)", "default"):
        assert found["error"][name]["16"] < found["error"][name]["4"]
    assert list(found["error"]["tuned"]) == ["4"]
    assert found["error"]["tuned"]["4"] < found["error"]["default"]["4"]
    assert found["measure"] == "energy distance"
    assert found["distance"].keys() == found["error"].keys()
    assert found["floor"] is not None
    assert 0 < found["straightness"] < 10
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "curve.png",
        "quality.png",
        "straightness.png",
        "trajectory.png",
    ]


def test_images_are_drawn_as_a_strip_over_time(tmp_path, unchecked):
    found = um.diagnose.curve(um.recipe.digits(steps=1), (2,), rows=12, out=tmp_path)
    assert found.measure == "Fréchet distance"
    assert (tmp_path / "trajectory.png").exists()


def test_a_model_without_data_has_errors_but_no_distances(ring, unchecked):
    found = um.diagnose.curve(um.load(ring), (3,), rows=16)
    assert found.error["default"].keys() == {3}
    assert not found.distance
    assert found.floor is None


@pytest.mark.parametrize("given", [("--steps", "0"), ("--rows", "1"), ("--rows", "0"), ("--guidance", "nan")])
def test_invalid_arguments_are_refused(ring, tmp_path, capsys, given, unchecked):
    assert main(["curve", str(ring), "--out", str(tmp_path / "new"), *given]) == 2
    assert "unmelt: " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_samples_are_compared_with_data_in_the_scale_of_data(monkeypatch, unchecked):
    model = um.recipe.ring(modes=3, steps=2, width=8, depth=1, batch=8)
    model.codec = um.codec.Affine(shift=1000.0)
    seen = []
    monkeypatch.setattr(diagnose, "_distance", lambda model, rows: ("any", lambda x: seen.append(x) or 0.0, None))
    diagnose.curve(model, (4,), rows=16)
    assert seen
    assert all(x.min() > 800 and x.max() < 1200 for x in seen)

"""Scores are measured once for the same weights, data and settings, and anew when one of them changes."""

import json

import pytest
from test_cli import ring, unmelt  # noqa: F401

import unmelt as um
from unmelt import recorded_scores


@pytest.fixture
def calls(monkeypatch):
    """Counts evaluations."""
    made = []
    before = um.Model.evaluate
    monkeypatch.setattr(um.Model, "evaluate", lambda self, **given: made.append(given) or before(self, **given))
    return made


def test_scores_are_measured_once_and_anew_for_other_settings(ring, calls, capsys):
    few = ("--samples", 50, "--steps", 2)
    assert unmelt("eval", ring, *few, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert unmelt("eval", ring, *few, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert "as recorded in" in err
    assert len(calls) == 1
    for more in (("--again",), ("--seed", 1), ("--samples", 40), ("--guidance", 2)):
        before = len(calls)
        assert unmelt("eval", ring, *few, *more) == 0
        assert len(calls) == before + 1
        assert "as recorded" not in capsys.readouterr().err


def test_other_weights_data_or_samplers_are_another_question(tmp_path):
    model = um.recipe.ring(width=8, depth=1, steps=3, batch=8)
    model.save(tmp_path)
    data = um.data.Arrays(um.data.Ring(modes=3).sample(10, um.rng.Stream(0))[0])
    other = um.data.Arrays(um.data.Ring(modes=3).sample(10, um.rng.Stream(1))[0])
    asked = recorded_scores.question(tmp_path, data, data, seed=0)
    recorded_scores.record(tmp_path, asked, {"energy": 1.0})
    assert recorded_scores.recorded(tmp_path, asked) == {"energy": 1.0}
    assert recorded_scores.recorded(tmp_path, recorded_scores.question(tmp_path, data, other, seed=0)) is None
    assert recorded_scores.recorded(tmp_path, recorded_scores.question(tmp_path, data, data, seed=1)) is None
    um.recipe.ring(width=8, depth=1, steps=3, batch=8, seed=1).save(tmp_path)
    assert recorded_scores.recorded(tmp_path, recorded_scores.question(tmp_path, data, data, seed=0)) is None
    (tmp_path / "eval.json").write_text("{", encoding="utf-8")
    assert recorded_scores.recorded(tmp_path, asked) is None

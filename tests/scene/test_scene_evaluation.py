"""Shares of pictures that show what they were asked for: a painter has all right, one who confuses prompts has none."""

import pytest
import torch

import unmelt as um
from unmelt.data import scenes as scenes_module
from unmelt.metric import sample_set
from unmelt.rng import Stream
from unmelt.scene import (
    PROMPT_SETS,
    SEEN_COLOURS,
    SUITES,
    accuracy,
    is_held_out,
    paint,
    scene_prompts,
    wordings,
)


def painted(scenes, seed=0):
    rng = Stream(seed)
    return torch.stack([paint(scene, rng).picture for scene in scenes])


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_prompts_are_of_their_set_in_equal_shares(name):
    asked = scene_prompts(name, 20, seed=3)
    kinds = [each.kind for each in asked]
    assert len(set(map(kinds.count, kinds))) == 1
    assert set(kinds) == (set(SUITES) - {"object", "number"} if name == "held-out combinations" else set(SUITES))
    assert all(is_held_out(each.scene) == (name == "held-out combinations") for each in asked)
    words = "held_out" if name == "held-out wordings" else "seen"
    assert all(each.wording in wordings(each.scene, words) for each in asked)
    assert scene_prompts(name, 20, seed=3) == asked != scene_prompts(name, 20, seed=4)


def test_a_painter_is_right_and_one_who_confuses_prompts_is_wrong():
    asked = scene_prompts("seen", 48)
    right = accuracy(asked, painted([each.scene for each in asked]))
    assert right.parts == dict.fromkeys(("objects", "number", "colour", "place", "all"), 1.0)
    assert right.kinds == dict.fromkeys(SUITES, 1.0)
    wrong = accuracy(asked, painted([each.scene for each in asked[6:] + asked[:6]]))
    assert wrong.parts["all"] < 0.2
    one_each = [next(each for each in asked if each.kind == kind) for kind in ("object", "number", "colour")]
    one, _, coloured = (each.scene for each in one_each)
    found = accuracy(one_each, painted([one, one, coloured]))
    assert found.kinds == {"object": 1.0, "number": 0.0, "colour": 1.0}
    assert (found.parts["all"], found.parts["number"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found.parts["colour"] == pytest.approx(2 / 3)
    for pictures in (torch.zeros(47, 3, 32, 32), torch.zeros(0, 3, 32, 32)):
        with pytest.raises(um.UsageError, match=f"{len(pictures)} pictures for 48 prompts"):
            accuracy(asked, pictures)
    with pytest.raises(um.UsageError, match="'seen'"):
        scene_prompts("sen", 20)


def test_a_source_of_scenes_grades_what_is_sampled_of_its_captions(monkeypatch):
    monkeypatch.setattr(scenes_module, "PROMPTS", 12)
    names = ("seen", "held-out combinations")
    meant = {each.wording: each.scene for name in names for each in scene_prompts(name, 12)}

    def reads_words(captions):
        return painted(
            [meant[caption] for caption in captions if "|" not in caption] or [um.scene.Scene.parse("3 tree")] * 12
        )

    def reads_plans(captions):
        def shown(plan):
            scene = um.scene.Scene.parse(plan or "3 tree")
            return paint(scene, Stream(0), 32, SEEN_COLOURS).picture

        return torch.stack([shown(caption.partition(" | ")[2]) for caption in captions])

    found = um.data.Scenes().caption_accuracy(reads_words)
    assert (found["right_seen"], found["right_held_out"]) == (1.0, 1.0)
    assert max(found["right_seen_planned"], found["right_held_out_planned"]) < 0.2
    assert list(um.data.Scenes().caption_accuracy(reads_plans).values())[2:] == [1.0, 1.0]


def test_evaluation_grades_captions(monkeypatch, tmp_path):
    monkeypatch.setattr(scenes_module, "PROMPTS", 6)
    monkeypatch.setattr(sample_set, "FRESH", 20)
    small = {"size": 24, "captions": 9, "width": 8, "steps": 1, "batch": 2, "picture_every": 0}
    model = um.recipe.scenes(**small).fit(tmp_path, quiet=True)
    scores = model.evaluate(samples=20, steps=1)
    known = um.recipe.scenes(**small).held_out.caption_accuracy(
        lambda captions: model.sample(len(captions), caption=captions, steps=1, seed=0)
    )
    assert {name: scores[name] for name in known} == known
    assert len(known) == 4

"""Plans without a language model: exact for the words of training, and a message for words that it does not know."""

import pytest

import unmelt as um
from unmelt.planner import Planner, VocabularyPlanner
from unmelt.rng import Stream
from unmelt.scene import Scene, random_scene, word

PLANNER = VocabularyPlanner()


def groups(scene):
    return set(map(str, scene.groups))


def test_every_wording_of_training_is_planned_exactly():
    rng = Stream(0)
    scenes = [random_scene(rng) for _ in range(400)]
    prompts = [word(scene, rng) for scene in scenes]
    wrong = [
        (prompt, str(plan))
        for scene, prompt, plan in zip(scenes, prompts, PLANNER.plan(prompts), strict=True)
        if groups(plan) != groups(scene)
    ]
    assert wrong == []


def test_unknown_words_are_ignored_where_the_others_make_a_scene():
    assert PLANNER.plan("a fluffy red cat, photorealistic") == Scene.parse("1 red cat")
    assert isinstance(PLANNER, Planner)


def test_unknown_words_are_named_where_nothing_else_makes_a_scene():
    for prompt, said in (
        ("a crimson kitten", "unknown: 'crimson', 'kitten'"),
        ("", "the prompt ''"),
        ("the", "no scene;"),
        ("\x00 \u732b", "unknown: '\u732b'"),
    ):
        with pytest.raises(um.UsageError, match=said):
            PLANNER.plan(prompt)


def test_scenes_are_planned_after_loading(tmp_path, capsys):
    model = um.recipe.scenes(size=24, captions=9, width=8, steps=1, batch=2, picture_every=0).fit(tmp_path, quiet=True)
    loaded = um.load(tmp_path)
    made = loaded.sample(2, prompt="two red stars", plan=True, steps=1)
    assert "plan: two red stars | 2 red star" in capsys.readouterr().err
    scene = Scene.parse("2 red star")
    captions = [f"two red stars | {model.planner.lay_out(scene, seed)}" for seed in um.rng.seed_of_rows(0, 2)]
    assert (made == model.sample(2, caption=captions, steps=1)).all()


def test_characters_of_full_width_and_ligatures_are_the_plain_ones():
    assert PLANNER.plan("\uff12 red \ufb01sh") == Scene.parse("2 red fish")


def test_what_is_no_prompt_is_refused():
    for prompts in (None, 5, [None]):
        with pytest.raises(um.UsageError, match="prompts="):
            PLANNER.plan(prompts)

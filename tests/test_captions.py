"""A model trained with captions makes what a caption describes."""

import json

import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.cli import main
from unmelt.errors import UsageError

COLOURS = {"red": (150, 110, 110), "blue": (110, 110, 150)}  # near enough that noise hides which it is


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("captions")
    (root / "images").mkdir()
    lines = []
    for number in range(24):
        name = list(COLOURS)[number % 2]
        Image.new("RGB", (12, 12), COLOURS[name]).save(root / "images" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "text": f"a {name} square, number {number}"})
    (root / "images" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    settings = {"size": 8, "width": 8, "blocks": 1, "steps": 250, "batch": 24, "lr": 4e-3, "ema": 0.95}
    # By position: the two contents that there are would else be told apart, one to learn from and one held out.
    model = um.recipe.images(folder=root / "images", caption="auto", split="position", picture_every=0, **settings)
    assert "24 with captions" in model.notes
    model.fit(out=root / "run", device="cpu", quiet=True)
    return root / "run"


def redness(x):
    return (x[:, 0] - x[:, 2]).mean((1, 2))


def test_an_unseen_caption_is_followed_word_by_word(run):
    model = um.load(run)
    for name, sign in (("red", 1), ("blue", -1)):
        made = model.sample(8, caption=f"one {name} square of mine", steps=8, seed=1)
        assert (sign * redness(made) > 0.08).all(), name
    both = model.sample(2, caption=["a blue square", "a red square"], guidance=2.0, steps=8, seed=1)
    assert redness(both)[0] < -0.08 < 0.08 < redness(both)[1]


def test_rows_keep_their_captions_in_every_batch(run):
    model = um.load(run)
    captions = ["a red square", "blue, if you please, and as square as can be", "red"]
    together = model.sample(3, caption=captions, steps=4, seed=[5, 6, 7])
    for row, caption in enumerate(captions):
        alone = model.sample(1, caption=caption, steps=4, seed=[5 + row])
        torch.testing.assert_close(alone[0], together[row], atol=2e-6, rtol=1e-5)


def test_on_the_command_line(run, tmp_path):
    main(["sample", str(run), "--caption", "a red square", "--rows", "4", "--steps", "4", "--out", f"{tmp_path}/a.png"])
    red, _, blue = Image.open(tmp_path / "a.png").convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert red > blue


def test_the_wrong_number_of_captions_is_refused(run):
    model = um.load(run)
    with pytest.raises(UsageError, match="2 captions for 3 rows"):
        model.sample(3, caption=["red", "blue"])
    plain = um.recipe.two_modes(steps=1)
    with pytest.raises(UsageError, match="a model that learned no captions"):
        plain.sample(3, caption="red")

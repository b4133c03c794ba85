"""A run says so when it goes on with, or is judged by, other data than it was started with."""

import json
import shutil

import pytest
import torch
from jaxtyping import config
from PIL import Image

import unmelt as um
from unmelt import run_folder
from unmelt.cli import main
from unmelt.data.identity import differences, identity


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture
def faces(tmp_path):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for k in range(8):
            image(tmp_path / "faces" / name / f"{k}.png", 100 * number + 10 * k)
    return tmp_path / "faces"


def image(path, value):
    Image.new("RGB", (4, 4), (value, value, 0)).save(path)


def recipe(folder, **more):
    settings = {"size": 4, "width": 4, "blocks": 1, "batch": 4, "steps": 2, "picture_every": 0}
    return um.recipe.images(folder=folder, **(settings | more))


def fit(folder, out, allow_other_data=False, **more):
    return recipe(folder, **more).fit(out, device="cpu", quiet=True, allow_other_data=allow_other_data)


def renamed(folder):
    (folder / "cat").rename(folder / "zebra")


def added(folder):
    image(folder / "cat" / "new.png", 250)


def changed(folder):
    for path in folder.rglob("*.png"):
        image(path, 255)


CHANGES = [
    (renamed, "the training data have classes cat, dog there, dog, zebra here"),
    (added, "data have rows"),
    (changed, "the contents of the training data are others"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=["renamed", "added", "changed"])
def test_resuming_with_other_data_names_the_difference_or_is_asked_for(faces, tmp_path, change, said):
    out = tmp_path / "run"
    fit(faces, out)
    if change is changed:
        recipe(faces)  # the split needs different items
        for number, path in enumerate(sorted(faces.rglob("*.png"))):
            image(path, 255 - number)
    else:
        change(faces)
    before = (out / "config.json").read_bytes()
    with pytest.raises(um.UsageError, match=said) as mistake:
        fit(faces, out, steps=3)
    assert "allow_other_data=True" in str(mistake.value)
    assert (out / "config.json").read_bytes() == before
    assert fit(faces, out, True, steps=3).steps_done == 3
    assert fit(faces, out, steps=4).steps_done == 4  # they are what is recorded now


def test_another_share_or_rule_of_the_split_is_another_setting(faces, tmp_path):
    fit(faces, tmp_path / "run")
    with pytest.raises(um.UsageError, match=r"held_out is 0.1 there, 0.4 here"):
        fit(faces, tmp_path / "run", held_out=0.4)
    with pytest.raises(um.UsageError, match="split is 'content' there, 'position' here"):
        fit(faces, tmp_path / "run", split="position")


def test_data_that_moved_are_the_same_data(faces, tmp_path):
    fit(faces, tmp_path / "run")
    shutil.move(faces, tmp_path / "moved")
    assert fit(tmp_path / "moved", tmp_path / "run", steps=3).steps_done == 3


def test_labels_and_captions_belong_to_the_data():
    values = torch.arange(6.0)[:, None]
    one = um.data.Arrays(values, [0, 1, 0, 1, 0, 1])
    for other, said in (
        (um.data.Arrays(values, [0, 1, 0, 1, 1, 0]), ["the labels of the training data are others"]),
        (um.data.Arrays(values.flip(0), one.labels), ["the contents of the training data are others"]),
        (um.data.Arrays(values, one.labels), []),
    ):
        assert differences(identity(one), identity(other), "training") == said
    captioned = [um.data.Arrays(values, captions=[each, *"bcdef"]) for each in "ax"]
    assert differences(*map(identity, captioned), "held_out") == ["the captions of the held-out data are others"]
    assert differences(None, identity(one), "held_out") == ["there are held-out data here, none there"]
    toys = [identity(um.data.Ring(seed=seed)) for seed in (0, 0, 1)]
    assert toys[0] == toys[1] != toys[2]


def test_a_source_that_wraps_another_has_its_content():
    tokens = um.data.Arrays(torch.arange(40).view(4, 10))
    wrapped = um.data.FillInTheMiddle(tokens, 0.5, [1, 2, 3, 4])
    assert identity(wrapped)["contents"] == identity(tokens)["contents"]


def test_a_run_that_recorded_no_data_still_resumes(faces, tmp_path):
    out = tmp_path / "run"
    fit(faces, out)
    about = json.loads((out / "config.json").read_bytes())
    about = {name: value for name, value in about.items() if name not in ("data", "digest")}
    about["digest"] = run_folder._digest(about)
    (out / "config.json").write_text(json.dumps(about), encoding="utf-8")
    added(faces)
    assert fit(faces, out, steps=3).steps_done == 3


def test_judging_by_other_data_is_refused_by_the_commands_and_noted_in_python(faces, tmp_path, capsys):
    out = tmp_path / "run"
    fit(faces, out)
    command = ["eval", str(out), "--samples", "20", "--steps", "2", "--device", "cpu"]
    assert main(command) == 0
    added(faces)
    capsys.readouterr()
    for other in (command, ["curve", str(out), "--rows", "4", "--steps", "2", "--device", "cpu"]):
        assert main(other) == 2
        err = capsys.readouterr().err
        assert "learned from other data" in err
        assert "--allow-other-data\n" in err
    assert main([*command, "--allow-other-data"]) == 0
    model = um.load(out, device="cpu")
    fresh = recipe(faces)
    model.source, model.held_out = fresh.source, fresh.source
    capsys.readouterr()
    model.evaluate(samples=20, steps=2)
    assert "judged by other data than this run held out" in capsys.readouterr().err


# Resuming with what config.json records


def settings(out):
    return json.loads((out / "config.json").read_bytes())["origin"]["settings"]


def test_a_run_resumes_with_its_recorded_settings(faces, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "images", "--folder", faces, "--size", 4, "--width", 4, "--blocks", 1, "--batch", 4]
    more = ["--steps", 2, "--picture-every", 0, "--snapshot-every", 2, "--out", out]
    common = ["--device", "cpu", "--log-to", "none"]
    assert main([*map(str, (*command, *more, *common))]) == 0
    assert main(["train", "--resume", str(out), "--steps", "4", *common]) == 0
    assert um.load(out).steps_done == 4
    assert (settings(out)["steps"], settings(out)["width"]) == (4, 4)
    shutil.move(faces, tmp_path / "moved")
    capsys.readouterr()
    assert main(["train", f"--resume={out}", "--steps", "6", *common]) == 2
    assert "there is no " in capsys.readouterr().err
    moved = ["--folder", str(tmp_path / "moved")]
    assert main(["train", "--resume", str(out), *moved, "--steps", "6", *common]) == 0
    assert settings(out)["folder"] == str(tmp_path / "moved")
    assert main(["train", "--resume", str(out), "--lr", "0.1", *common]) == 2
    assert "there is no option --lr" in capsys.readouterr().err


def test_a_run_resumes_in_python_with_its_recorded_settings(tmp_path):
    um.recipe.ring(width=8, depth=1, modes=2, batch=4, steps=3).fit(tmp_path, device="cpu", quiet=True)
    model = um.recipe.resumed(tmp_path, steps=5)
    assert model.fit(tmp_path, device="cpu", quiet=True).steps_done == 5
    whole = um.recipe.ring(width=8, depth=1, modes=2, batch=4, steps=5)
    assert model.origin == whole.origin


@pytest.mark.parametrize("args", [["--resume"], ["--resume", "nowhere"], ["--resume", "--help"]])
def test_resuming_nothing_is_one_message(args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *args]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_split_by_position_goes_on_by_the_same_command(faces, tmp_path):
    out = tmp_path / "run"
    fit(faces, out, split="position")
    command = [
        "train",
        "images",
        "--folder",
        str(faces),
        "--size",
        "4",
        "--width",
        "4",
        "--blocks",
        "1",
        "--batch",
        "4",
    ]
    more = ["--steps", "3", "--picture-every", "0", "--device", "cpu", "--log-to", "none", "--out", str(out)]
    assert main([*command, *more]) == 0
    assert settings(out)["split"] == "position"

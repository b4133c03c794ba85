"""The command line: every mistake prints one message, exits with code 2 and leaves no files."""

import inspect
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.cli import main
from unmelt.recipe import RECIPES

TINY = ("--width", "8", "--depth", "1", "--batch", "16")


def unmelt(*args):
    """The exit code; the parser leaves by SystemExit, as a process would."""
    try:
        return main([str(arg) for arg in args])
    except SystemExit as end:
        return end.code


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "ring"
    assert unmelt("train", "ring", "--out", folder, "--steps", 30, "--modes", 3, *TINY) == 0
    return folder


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run in an empty folder: exit code 2, one message, nothing on stdout, nothing written. Returns the message."""
    monkeypatch.chdir(tmp_path)

    def check(*args):
        before = sorted(tmp_path.rglob("*"))
        code = unmelt(*args)
        out, err = capsys.readouterr()
        assert code == 2, err
        assert not out
        assert "Traceback" not in err
        assert sum(line.startswith("unmelt: ") for line in err.splitlines()) <= 1
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return check


# Names


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["trian"], "unmelt train --help"),
        (["evaluate"], "unmelt eval --help"),
        (["--verbose"], "one of recipes, train"),
        (["train", "rings", "--out", "x"], "unmelt train ring --out x"),
        (["train", "two-modes", "--out", "x"], "unmelt train two_modes"),
        (["train", "--out", "x", "ring"], "one of two_modes, ring"),
        (["train", "ring", "--out", "x", "--stepz", "3"], "--steps"),
        (["sample", "x", "--guidence", "3"], "--guidance"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(refused, args, meant):
    assert meant in refused(*args)


@pytest.mark.parametrize("args", [["train", "ring"], ["train", "images", "--out", "x"], ["sample"], ["eval"], ["show"]])
def test_a_missing_argument_is_named(refused, args):
    assert re.search("required", refused(*args), re.IGNORECASE)


@pytest.mark.parametrize(
    "args",
    [
        ["train", "ring", "--out", "x", "--steps", "abc"],
        ["train", "ring", "--out", "x", "--steps", "2.5"],
        ["train", "digits", "--out", "x", "--precision", "float64"],
        ["train", "images", "--out", "x", "--folder", "y", "--channels", "2"],
        ["sample", "x", "--rows", "many"],
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_option(refused, args):
    assert args[-2] in refused(*args)


# Values


@pytest.mark.parametrize(
    ("recipe", "setting", "value"),
    [
        *(("ring", name, value) for name in ("steps", "batch", "modes", "width", "depth") for value in (0, -5)),
        *(("ring", "lr", value) for value in ("nan", "0", "-1", "inf")),
        *(("ring", "sd", value) for value in ("nan", "0")),
        *(("digits", "ema", value) for value in ("1.5", "1", "-0.1", "nan")),
        *(("digits", "drop", value) for value in ("2", "-1", "nan")),
        *(("digits", "width", value) for value in ("3", "0", "-4")),
        ("digits", "save-every", 0),
        ("digits", "picture-every", -1),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_written(refused, recipe, setting, value):
    said = refused("train", recipe, "--out", "runs/x", f"--{setting}", value)
    assert said.startswith("unmelt: ")
    assert re.search(rf"{setting.replace('-', '_')}\D*{value}", said)
    assert "needed: " in said


def test_a_corrected_setting_is_written_as_an_option(refused):
    assert "try:    --save-every 1" in refused("train", "digits", "--out", "x", "--save-every", 0)


def test_an_unknown_logger_is_refused_before_data_are_read(refused):
    said = refused("train", "images", "--folder", "nowhere", "--out", "x", "--log-to", "tensorbord")
    assert "log_to='tensorbord'" in said
    assert "try:    --log-to 'tensorboard'" in said


def test_a_correction_by_a_part_is_written_as_an_option(refused, tmp_path):
    (tmp_path / "pets").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "pets" / "a.png")
    Image.new("RGB", (9, 9), (9, 9, 9)).save(tmp_path / "pets" / "b.png")
    start = ("train", "images", "--folder", "pets", "--out", "x", "--held-out", 0.5)
    assert "try:    --width 8" in refused(*start, "--width", 7)
    assert "try:    --held-out 0.1" in refused(*start[:-1], 1.5)
    assert "try:    --size 64" in refused(*start, "--size", 0)
    assert "try:    --label 'auto'" in refused(*start, "--label", "kind")
    assert "try:    --caption ''" in refused(*start, "--caption", "auto")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--steps", 0, "at least 1"),
        ("--steps", 10**9, "1000000000 steps"),
        ("--rows", 0, "rows=0"),
        ("--rows", -3, "rows=-3"),
        ("--rows", 10**12, "rows=1000000000000"),
        ("--guidance", "nan", "nan"),
        ("--guidance", "inf", "inf"),
        ("--label", 9, "no class 9"),
        ("--label", -1, "no class -1"),
        ("--label", "mode9", "mode 2"),
        ("--label", "²", "no class '²'"),
        ("--label", "--5", "--label"),
        ("--label", 10**30, "no class"),
        ("--device", "tpu", "one of auto, cpu"),
        ("--out", "x.jpg", ".png, .npy, .txt, .wav or .mid"),
        ("--out", "x", ".png, .npy, .txt, .wav or .mid"),
    ],
)
def test_sample_refuses_invalid_options(ring, refused, option, value, said):
    label = () if option == "--label" else ("--label", "0")
    assert said in refused("sample", ring, *label, "--out", "new/s.png", option, value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["train", "sample", "eval"])
def test_a_missing_device_is_refused(ring, refused, command):
    args = ["train", "ring", "--out", "x"] if command == "train" else [command, ring]
    assert "device 'cuda'" in refused(*args, "--device", "cuda")


# Places


@pytest.mark.parametrize("command", ["sample", "eval", "show"])
@pytest.mark.parametrize("place", ["nothing", "file", "empty"])
def test_a_folder_that_is_not_a_run_is_refused(refused, tmp_path, command, place):
    (tmp_path / "file").write_text("hello", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    said = refused(command, place)
    assert place in said
    assert "unmelt train" in said


@pytest.mark.parametrize("out", ["file", "file/below", "file/far/below", "/proc/runs/x", "/proc/self/x", "x" * 300])
def test_an_output_that_cannot_be_written_is_refused(ring, refused, tmp_path, out):
    (tmp_path / "file").write_text("hello", encoding="utf-8")
    assert "cannot be written" in refused("train", "ring", "--out", out)
    assert "cannot be written" in refused("sample", ring, "--out", f"{out}/s.png")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "hello"


def test_an_output_that_is_a_folder_is_refused(ring, refused, tmp_path):
    for name in ("s.npy", "s.png"):
        (tmp_path / name).mkdir()
        assert name in refused("sample", ring, "--out", name, "--rows", 2)


def test_training_on_images_refuses_a_folder_without_images(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, said in (("nowhere", "no folder nowhere"), ("empty", "no images in")):
        assert said.split()[-1] in refused("train", "images", "--folder", folder, "--out", "runs/x")


def test_resuming_with_other_settings_is_refused_and_leaves_the_run_unchanged(ring, refused):
    before = {file: file.read_bytes() for file in ring.iterdir() if file.is_file()}
    for setting, value in (("--lr", 0.1), ("--sd", 0.2), ("--modes", 4), ("--seed", 7), ("--steps", 20)):
        given = {"--modes": 3, "--steps": 30, setting: value}
        said = refused("train", "ring", "--out", ring, *TINY, *(part for pair in given.items() for part in pair))
        assert re.search(rf"{setting[2:]}\b.*{value}", said)
    said = refused("train", "two_modes", "--out", ring, "--steps", 30)
    assert "'ring'" in said
    assert "'two_modes'" in said
    assert before == {file: file.read_bytes() for file in ring.iterdir() if file.is_file()}


# What comes out


def test_help_lists_every_setting_with_its_default(capsys):
    for name, recipe in RECIPES.items():
        assert unmelt("train", name, "--help") == 0
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for setting in inspect.signature(recipe).parameters.values():
            after = re.split(f"--{setting.name.replace('_', '-')}[ ,]", shown, maxsplit=1)[1]
            usual = setting.default
            if usual is None:  # chosen by other settings, as its text says
                assert "Default: " in after.split(" --")[0]
                continue
            usual = " ".join(map(str, usual)) if isinstance(usual, tuple) else usual or repr(usual)
            default = "(required)" if setting.default is setting.empty else f"(default: {usual})"
            assert re.search(r"\((required|default: [^)]*)\)", after)[0] == default
            assert not re.match(r"\S+ \((required|default)", after), f"{setting.name} is not explained"


@pytest.mark.parametrize("args", [[], ["--help"], ["train"], ["train", "-h"], ["sample", "--help"], ["eval", "-h"]])
def test_help_exits_with_code_0(capsys, args):
    assert unmelt(*args) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: unmelt")
    assert not err


def test_json_prints_one_object_and_nothing_else(ring, capsys):
    for args in (["recipes"], ["show", ring], ["eval", ring, "--steps", 3]):
        assert unmelt(*args, "--json") == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert unmelt("recipes", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed) == list(RECIPES)
    assert listed["images"]["settings"]["folder"] == "required"
    assert listed["ring"]["settings"]["modes"] == inspect.signature(RECIPES["ring"]).parameters["modes"].default


def test_any_integer_is_a_valid_seed(tmp_path):
    for seed in (-1, 10**30):
        args = ("--steps", 1, "--seed", seed, *TINY)
        assert unmelt("train", "ring", "--out", tmp_path / str(seed), *args) == 0
        assert unmelt("sample", tmp_path / str(seed), "--seed", seed, "--rows", 2, "--steps", 2) == 0


def test_training_prints_nothing_to_standard_output(tmp_path, capsys):
    assert unmelt("train", "ring", "--out", tmp_path / "r", "--steps", 3, *TINY) == 0
    out, err = capsys.readouterr()
    assert not out
    assert "step 3" in err
    assert "samples.png" in err


def test_show_and_eval_print_their_tables(ring, capsys):
    assert unmelt("show", ring) == 0
    shown = capsys.readouterr().out
    for words in ("ring", "30 of 30", "mode 0, mode 1, mode 2", "model.safetensors", "MLP(", "lr      0.002"):
        assert words in shown
    assert unmelt("eval", ring, "--steps", 3) == 0
    assert "energy_floor" in capsys.readouterr().out


def test_show_plots_the_losses_of_a_run_in_progress(tmp_path, capsys):
    """Before the first save and after it; the plotted curve falls from row to row."""
    falling = [
        {"step": 25 * n, "loss": 100 * 0.9**n, "lr": 1e-3, "rows_per_second": 50.0, "seconds": 2.0 * n, "skipped": 1}
        | {"memory": 3 * 10**9}
        | ({"held_out": 2.0 - n / 100} if n % 4 == 0 else {})
        for n in range(1, 101)
    ]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in falling), encoding="utf-8")
    assert unmelt("show", folder) == 0
    shown = capsys.readouterr().out
    for words in ("nothing is saved yet", "90.0000 -> 0.0027", "1.9600 -> 1.0000", "3.00 GB", "100 steps, whose"):
        assert words in shown
    top = next(line for line in shown.splitlines() if line.startswith("    90 ") or line.strip().startswith("85."))
    bottom = next(line for line in shown.splitlines() if line.strip().startswith("0.002"))
    assert top.count("█") < 12 < 40 <= bottom.count("█")
    assert max(map(len, shown.splitlines())) <= 80
    um.recipe.ring(width=8, depth=1, steps=3, batch=8).save(folder)
    assert unmelt("show", folder) == 0
    assert "0 of 3, saved; now at 2,500" in capsys.readouterr().out
    assert unmelt("show", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"][3]["held_out"] == 1.96


def test_brackets_in_names_are_printed_unchanged(tmp_path, capsys, monkeypatch):
    """Brackets are markup to rich, and may be in the name of a folder or a file."""
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "[i]"
    for name in ("[b", "[bold]", "[red]x"):
        (images / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (9, 9), (20 * number, 0, 0)).save(images / name / f"{number}.png")
    (images / "[b" / "[q].png").write_text("no image", encoding="utf-8")
    tiny = ("--size", 4, "--width", 4, "--blocks", 1, "--steps", 1, "--batch", 2, "--precision", "float32")
    assert unmelt("train", "images", "--folder", "[i]", "--out", "[bold]", *tiny) == 0
    assert "[q].png" in capsys.readouterr().err
    assert unmelt("show", "[bold]") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("[bold]\n")
    assert "[b, [bold], [red]x" in shown


def test_samples_are_written_as_an_array_or_a_picture(ring, tmp_path):
    first, second, picture = tmp_path / "deep/a.npy", tmp_path / "b.npy", tmp_path / "c.png"
    assert unmelt("sample", ring, "--rows", 7, "--steps", 4, "--label", 1, "--guidance", 2, "--out", first) == 0
    assert unmelt("sample", ring, "--rows", 5, "--steps", 4, "--label", "mode 1", "--guidance", 2, "--out", second) == 0
    a, b = np.load(first), np.load(second)
    assert a.shape == (7, 2)
    assert a.dtype == np.float32
    np.testing.assert_allclose(a[:5], b, rtol=1e-5, atol=1e-6)
    assert unmelt("sample", ring, "--rows", 9, "--steps", 4, "--out", picture) == 0
    assert Image.open(picture).size[0] > 50
    assert unmelt("sample", ring, "--rows", 9, "--steps", 4) == 0
    assert (ring / "sample.png").is_file()
    (ring / "sample.png").unlink()


def test_without_a_label_classes_alternate(ring, tmp_path):
    assert unmelt("sample", ring, "--rows", 5, "--steps", 4, "--out", tmp_path / "a.npy") == 0
    turns = um.load(ring).sample(5, label=[0, 1, 2, 0, 1], steps=4)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), turns.numpy())

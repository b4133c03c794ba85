"""Where commands write: what is refused before work is done, and what a failure leaves."""

from pathlib import Path

import pytest
from test_cli import refused, ring, unmelt  # noqa: F401

from unmelt.cli import destination

COMMANDS = {
    "sample": ("RING", "--rows", "2", "--steps", "2", "--out", "PLACE/a.png"),
    "curve": ("RING", "--out", "PLACE/new"),
    "average": ("RING", "--ema-std", "0.1", "--out", "PLACE/new"),
    "export": ("RING", "--out", "PLACE/new"),
    "train": ("ring", "--out", "PLACE/new"),
    "compare": ("RING", "--out", "PLACE/new"),
    "infill": ("RING", "draft.txt", "--out", "PLACE/a.txt"),
}


def line(command, ring, place):
    return [command, *(part.replace("RING", str(ring)).replace("PLACE", str(place)) for part in COMMANDS[command])]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_whose_beginning_is_missing_is_refused(ring, refused, tmp_path, tmp_path_factory, command):
    (tmp_path / "draft.txt").write_text("a <gap>", encoding="utf-8")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place in (elsewhere / "no" / "such", Path(elsewhere.anchor) / "nope-unmelt"):
        assert "there is no folder" in refused(*line(command, ring, place))
        assert not place.exists()
    assert not list(elsewhere.iterdir())


def test_missing_folders_below_the_working_directory_are_made(ring, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert unmelt(*line("sample", ring, "far/below")) == 0
    assert unmelt(*line("sample", ring, tmp_path / "whole" / "path")) == 0
    assert Path("far/below/a.png").is_file()
    assert Path("whole/path/a.png").is_file()


def test_a_last_folder_is_made_anywhere_if_the_one_above_it_exists(ring, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert unmelt(*line("sample", ring, elsewhere / "one")) == 0
    assert (elsewhere / "one" / "a.png").is_file()


@pytest.mark.parametrize("command", ["curve", "average", "export", "train", "compare"])
def test_a_file_name_for_a_folder_is_refused(ring, refused, command):
    words = [word.replace("new", "new.png") for word in line(command, ring, ".")]
    assert "a folder, without a file's suffix" in refused(*words)


@pytest.mark.parametrize(("name", "content"), [("a.png", b"GIF89a"), ("a.npy", b"text"), ("a.PNG", b"\xff\xd8\xff")])
def test_a_file_of_another_kind_is_not_overwritten(ring, refused, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "which holds something other" in refused("sample", ring, "--rows", 2, "--out", name)
    assert (tmp_path / name).read_bytes() == content


def test_an_earlier_picture_and_a_suffix_in_capitals_are_written(ring, tmp_path):
    for name in ("a.png", "a.PNG", "b.NPY", "b.npy"):
        for seed in (0, 1):
            out = tmp_path / name
            assert unmelt("sample", ring, "--rows", 2, "--steps", 2, "--seed", seed, "--out", out) == 0
    assert (tmp_path / "a.PNG").read_bytes() == (tmp_path / "a.png").read_bytes()


def fail_in(place):
    with destination.made(place):
        assert place.is_dir()
        raise RuntimeError("full")


def test_folders_that_were_made_for_a_failure_are_gone(tmp_path):
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "there" / "a" / "b", tmp_path / "there"):
        with pytest.raises(RuntimeError, match="full"):
            fail_in(place)
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_infill_does_not_overwrite_the_text_with_the_gaps(refused, tmp_path):
    (tmp_path / "draft.txt").write_text("a <gap>", encoding="utf-8")
    assert "another file" in refused("infill", "run", "draft.txt", "--out", "draft.txt")

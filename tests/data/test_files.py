"""Only regular files of bounded size from inside a folder are read; everything else is named, and nothing blocks."""

import os
import socket

import pytest
from test_containers import COLOURS, png

import unmelt as um
from unmelt.data import documents, files, images

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links of Unix")


def _pets(root):
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        (root / name / "0.png").write_bytes(png(colour))
    return root


def _used_and_broken(folder, **more):
    source, report = images(folder, size=4, **more)
    assert len(source) == report.used
    return report.used, {path.as_posix(): reason for path, reason in report.broken}


@posix
def test_links_pipes_and_sockets_among_images_are_each_one_broken_file(tmp_path):
    private = tmp_path / "private.png"
    private.write_bytes(png((9, 9, 9)))
    pets = _pets(tmp_path / "pets")
    (pets / "red" / "out.png").symlink_to(private)
    (pets / "red" / "up.png").symlink_to("../../private.png")
    (pets / "red" / "nowhere.png").symlink_to("nothing.png")
    (pets / "red" / "self.png").symlink_to("self.png")
    (pets / "red" / "zero.png").symlink_to("/dev/zero")
    (pets / "red" / "good.png").symlink_to("0.png")
    os.mkfifo(pets / "red" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(pets / "red" / "s.png"))
        used, broken = _used_and_broken(pets)
    assert used == 3
    outside = "a link that leads out of the folder"
    assert broken["red/out.png"] == broken["red/up.png"] == broken["red/zero.png"] == outside
    assert broken["red/pipe.png"] == broken["red/s.png"] == "not a regular file"
    assert set(broken) == {f"red/{name}.png" for name in ("out", "up", "nowhere", "self", "zero", "pipe", "s")}


@posix
def test_links_to_folders_are_named_and_not_followed(tmp_path):
    pets = _pets(tmp_path / "pets")
    (pets / "loop").symlink_to(".")
    (pets / "red" / "deep").symlink_to("..")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "1.png").write_bytes(png((1, 1, 1)))
    (pets / "others").symlink_to(tmp_path / "others")
    used, broken = _used_and_broken(pets)
    assert used == 2
    assert set(broken) == {"loop", "red/deep", "others"}


@posix
def test_a_folder_that_is_itself_a_link_is_read(tmp_path):
    _pets(tmp_path / "pets")
    (tmp_path / "link").symlink_to("pets")
    assert _used_and_broken(tmp_path / "link") == (2, {})


@posix
def test_a_snapshot_in_the_cache_of_the_hub_may_link_to_its_blobs(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_bytes(png((1, 2, 3)))
    snapshot = tmp_path / "snapshots" / "0f"
    snapshot.mkdir(parents=True)
    (snapshot / "0.png").symlink_to("../../blobs/abc")
    (snapshot / "1.png").symlink_to("/dev/zero")
    used, broken = _used_and_broken(snapshot)
    assert used == 1
    assert set(broken) == {"1.png"}


@posix
@pytest.mark.parametrize("name", ["metadata.csv", "1.txt"])
def test_a_table_or_caption_outside_the_folder_is_not_read(tmp_path, name):
    (tmp_path / "private").write_text("file_name,caption\n0.png,secret\n", encoding="utf-8")
    (tmp_path / "f").mkdir()
    for number in range(2):
        (tmp_path / "f" / f"{number}.png").write_bytes(png((number, 0, 0)))
    (tmp_path / "f" / "0.txt").write_text("a caption", encoding="utf-8")
    for make in (lambda path: path.symlink_to(tmp_path / "private"), os.mkfifo):
        make(tmp_path / "f" / name)
        if name == "1.txt":
            used, broken = _used_and_broken(tmp_path / "f", caption="auto")
            assert used == 1
            assert set(broken) == {"1.png"}
        else:
            with pytest.raises(um.UsageError, match=r"metadata.csv cannot be read"):
                images(tmp_path / "f", size=4)
        (tmp_path / "f" / name).unlink()


def test_files_that_vanish_after_they_were_listed_are_broken_files(tmp_path, monkeypatch):
    pets, walk = _pets(tmp_path / "pets"), files.walk

    def vanishing(top):
        found = walk(top)
        found.files[0].unlink()
        return found

    monkeypatch.setattr(files, "walk", vanishing)
    assert _used_and_broken(pets)[0] == 1
    for name in "ab":
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / f"{name}.txt").write_text(name, encoding="utf-8")
    found, report = documents(tmp_path / "t")
    assert [each.text for each in found] == ["b"]
    assert report.refused == ("a.txt cannot be read (No such file or directory)",)


def test_a_file_larger_than_allowed_is_not_read(tmp_path):
    with open(tmp_path / "0.png", "wb") as file:
        file.truncate(1 << 42)  # sparse: four terabytes that take no room
    (tmp_path / "1.png").write_bytes(png((1, 2, 3)))
    used, broken = _used_and_broken(tmp_path)
    assert used == 1
    assert broken["0.png"].startswith("4,398,046,511,104 bytes, more than")
    os.rename(tmp_path / "0.png", tmp_path / "0.txt")
    with pytest.raises(um.UsageError, match="4,398,046,511,104 bytes"):
        documents(tmp_path / "0.txt")
    assert files.read(tmp_path / "1.png", most=1000) == (tmp_path / "1.png").read_bytes()
    with pytest.raises(ValueError, match="more than the 10 that are read"):
        files.read(tmp_path / "1.png", most=10)


@posix
def test_text_outside_the_folder_is_left_out_and_named(tmp_path):
    (tmp_path / "private").write_text("a secret", encoding="utf-8")
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("a book", encoding="utf-8")
    (tmp_path / "books" / "b.txt").symlink_to(tmp_path / "private")
    (tmp_path / "books" / "c.jsonl").symlink_to("/dev/zero")
    (tmp_path / "books" / "d").symlink_to("..")
    os.mkfifo(tmp_path / "books" / "e.txt")
    found, report = documents(tmp_path / "books")
    assert [each.text for each in found] == ["a book"]
    assert len(report.refused) == 4
    assert all(
        any(each.startswith(f"{name} ") for each in report.refused) for name in ("b.txt", "c.jsonl", "d", "e.txt")
    )
    with pytest.raises(um.UsageError, match="neither a file nor a folder"):
        documents(tmp_path / "books" / "e.txt")
    for name in ("e.tar", "e.npy", "e.parquet"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(um.UsageError, match="no regular file"):
            images(tmp_path / name, size=4)

"""The cache of decoded images: it claims no room that there is not, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import unmelt as um
from unmelt.data import images, pixel_cache
from unmelt.data.image_item import Item


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixel_cache, "IN_MEMORY", 0)
    return tmp_path / "cache"


def _items(count=3, read=lambda: np.zeros((4, 4, 3), np.uint8)):
    return [Item(f"{k}.png", read) for k in range(count)]


def test_pixels_that_the_disk_has_no_room_for_are_refused_before_anything_is_made(cache, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10_000, 0, 10_000))
    with pytest.raises(um.UsageError, match="size=64") as refused:
        pixel_cache.pack(_items(), "", [(64, 64)], 3)
    assert refused.value.instead == "size=32"
    assert not cache.exists()
    assert pixel_cache.pack(_items(), "", [(32, 32)], 3).images().shape == (3, 3, 32, 32)


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_size_out_of_range_is_refused(tmp_path, size):
    with pytest.raises(um.UsageError, match="1 to 8,192 pixels"):
        images(tmp_path, size)


@pytest.mark.parametrize("length", [0, 10**7])
def test_a_length_out_of_range_is_refused_before_text_is_read(tmp_path, length):
    with pytest.raises(um.UsageError, match="1 to 131,072 tokens"):
        um.recipe.text(folder=tmp_path / "none", length=length)


def test_an_interrupt_leaves_nothing_in_the_cache(cache):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pixel_cache.pack(_items(read=stop), "", [(8, 8)], 3)
    assert list(cache.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot be asked for a process")
def test_incomplete_pixels_of_killed_processes_are_removed_and_those_of_others_stay(cache):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    cache.mkdir()
    host = pixel_cache.HOST
    dead, alive, elsewhere, complete = (
        cache / name
        for name in (f".a.pixels.{host}.{ended.pid}", f".a.pixels.{host}.{os.getppid()}", ".a.pixels.x.1", "b.pixels")
    )
    for path in (dead, alive, elsewhere, complete):
        path.touch()
    pixel_cache.pack(_items(), "", [(8, 8)], 3)
    assert [path.exists() for path in (dead, alive, elsewhere, complete)] == [False, True, True, True]

"""Freed memory goes back to the system, where the C library can hand it back."""

from pathlib import Path

import pytest
import torch

from unmelt.train import free_memory
from unmelt.train.free_memory import FreeMemory


def resident():
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])


@pytest.mark.skipif(free_memory._malloc_trim() is None or not Path("/proc/self/statm").exists(), reason="needs glibc")
def test_what_lies_between_tensors_that_stay_is_handed_back(monkeypatch):
    blocks = [torch.ones(8_000) for _ in range(4_000)]  # 128 MB in pieces below the size that is mapped apart
    kept = blocks[::40]
    full = resident()
    del blocks
    freed = FreeMemory()
    freed.release()  # it is not due
    between = resident()
    monkeypatch.setattr(free_memory, "EVERY", 0.0)
    freed.release()
    assert len(kept) == 100
    assert resident() < full - 0.6 * 128e6 / 4096
    assert resident() < between


def test_other_c_libraries_are_left_alone(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(free_memory, "EVERY", 0.0)
    monkeypatch.setattr(free_memory.ctypes, "CDLL", missing)
    free_memory._malloc_trim.cache_clear()
    FreeMemory().release()
    free_memory._malloc_trim.cache_clear()

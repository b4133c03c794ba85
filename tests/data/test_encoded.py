"""Encoded sources: the batches of the plain source, encoded once; a file is whole, or not there."""

import pytest
import torch

from unmelt.data import Arrays, encoded
from unmelt.errors import UsageError
from unmelt.rng import Stream


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(rows=150):
    return Arrays(Stream(0).uniform((rows, 3, 4, 4)), labels=torch.arange(rows) % 3, seed=5)


class Halver:
    """Averages, times a weight; counts its rows."""

    def __init__(self, weight=2.0, dtype=torch.float32):
        self.weights, self.rows, self.dtype = {"weight": torch.tensor([weight])}, 0, dtype

    def __call__(self, x):
        self.rows += len(x)
        return (self.weights["weight"] * torch.nn.functional.avg_pool2d(x, 2) * 100).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_batches_are_those_of_the_plain_source_encoded(dtype):
    plain, halver = source(), Halver(dtype=dtype)
    found = encoded(plain, halver, halver.weights, (3, 2, 2))
    assert found.shape == (3, 2, 2)
    assert found.classes == plain.classes
    for step in (0, 2, 7):
        x, condition = plain.batch(step, 40)
        z, known = found.batch(step, 40)
        assert torch.equal(z, halver(x))
        assert z.dtype == dtype
        assert torch.equal(known.label, condition.label)


def test_items_are_encoded_once_for_each_codec_and_each_part_of_the_data(cache):
    plain, first = source(), Halver()
    for _ in range(3):
        encoded(plain, first, first.weights, (3, 2, 2))
    assert first.rows == 150 + 3  # one row tells what kind of numbers come out
    other = Halver(3.0)
    assert torch.equal(encoded(plain, other, other.weights, (3, 2, 2)).batch(0, 5)[0], other(plain.batch(0, 5)[0]))
    part = plain.only(torch.arange(10, 30))
    assert torch.equal(encoded(part, first, first.weights, (3, 2, 2)).batch(0, 5)[0], first(part.batch(0, 5)[0]))
    assert len(list(cache.glob("*.latents"))) == 3


def test_an_interrupted_or_damaged_file_is_written_anew(cache):
    plain, halver = source(), Halver()

    def stops(x):
        if halver.rows > 60:
            raise KeyboardInterrupt
        return halver(x)

    with pytest.raises(KeyboardInterrupt):
        encoded(plain, stops, halver.weights, (3, 2, 2))
    assert not list(cache.iterdir())
    whole = encoded(plain, halver, halver.weights, (3, 2, 2)).latents.clone()
    (path,) = cache.glob("*.latents")
    path.write_bytes(path.read_bytes()[:-8])
    assert torch.equal(encoded(plain, halver, halver.weights, (3, 2, 2)).latents, whole)


def test_a_cache_that_cannot_be_written_to_is_said(monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", "/proc/nowhere")
    halver = Halver()
    with pytest.raises(UsageError, match="the cache of latents /proc/nowhere cannot be written"):
        encoded(source(), halver, halver.weights, (3, 2, 2))

"""Batches are a pure function of (seed, step), and every item comes once an epoch."""

import numpy as np
import pytest
import torch

from unmelt.condition import Condition
from unmelt.data import Arrays, Checkerboard, Moons, Ring, Source, Spirals, TwoModes
from unmelt.errors import UsageError


def _numbered(count: int, seed: int = 0) -> Arrays:
    """Items equal to their own index, labelled by its last digit."""
    numbers = torch.arange(count)
    return Arrays(numbers[:, None].float(), numbers % 10, seed=seed)


@pytest.mark.parametrize(("count", "rows"), [(10, 3), (10, 10), (7, 5), (5, 12), (1, 4), (100, 7)])
def test_every_item_comes_exactly_once_an_epoch(count, rows):
    source = _numbered(count)
    stream = torch.cat([source.batch(step, rows)[0] for step in range(count * 3)]).flatten().long()
    epochs = stream[: len(stream) // count * count].view(-1, count)
    assert (epochs.sort(1).values == torch.arange(count)).all()


def test_epochs_and_seeds_come_in_different_orders():
    orders = [tuple(_numbered(50, seed).batch(step, 50)[0].flatten().tolist()) for seed in (0, 1) for step in range(3)]
    assert len(set(orders)) == 6


def test_a_resumed_run_sees_the_same_batches():
    through = _numbered(23)
    for step in range(40):
        seen = through.batch(step, 7)[0]
        assert torch.equal(seen, _numbered(23).batch(step, 7)[0])
    assert torch.equal(through.batch(2, 7)[0], _numbered(23).batch(2, 7)[0])


def test_batches_of_any_size_cut_one_endless_sequence():
    source = _numbered(11)
    whole = source.batch(0, 60)[0]
    assert torch.equal(whole, torch.cat([source.batch(step, 5)[0] for step in range(12)]))


def test_labels_belong_to_their_items():
    x, condition = _numbered(40).batch(3, 17)
    assert torch.equal(condition.label, x.flatten().long() % 10)


def test_bytes_become_floats_in_0_1_and_tokens_stay_integers():
    x, condition = Arrays(np.array([[0], [51], [255]], dtype=np.uint8)).batch(0, 3)
    assert condition is None
    assert x.dtype == torch.float32
    assert torch.equal(x.flatten().sort().values, torch.tensor([0.0, 0.2, 1.0]))
    tokens = torch.randint(0, 256, (4, 9))
    assert torch.equal(Arrays(tokens).all()[0], tokens)
    assert Arrays(np.zeros((2, 3))).all()[0].dtype == torch.float32


def test_split_by_position_is_stratified_disjoint_and_fixed():
    rest, out = _numbered(200).split(held_out=0.2, by="position")
    items = torch.cat([rest.values, out.values]).flatten().long()
    assert torch.equal(items.sort().values, torch.arange(200))
    assert torch.equal(out.labels.bincount(), torch.full((10,), 4))
    assert out.classes == rest.classes == tuple("0123456789")
    # These very items, for ever: scores measured on another split cannot be compared.
    assert Arrays(torch.arange(20.0)).split(0.25, by="position")[1].values.tolist() == [6, 12, 13, 15, 19]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Arrays(torch.zeros(0, 2)),
        lambda: Arrays(np.array(1.0)),
        lambda: Arrays(torch.tensor([[float("nan")]])),
        lambda: Arrays(torch.zeros(3, 2, dtype=torch.bool)),
        lambda: Arrays(torch.zeros(3, 2), labels=[0, 1]),
        lambda: Arrays(torch.zeros(3, 2), labels=[]),
        lambda: Arrays(torch.zeros(3, 2), labels=[0, 1, 2], classes=["a", "b"]),
        lambda: Arrays(torch.zeros(3, 2), labels=[0, -1, 0]),
        lambda: Arrays(torch.zeros(3, 2), classes=["a"]),
        lambda: Arrays(torch.zeros(3, 2), labels=torch.tensor([0.2, 1.7, 1.0])),
        lambda: Arrays(torch.zeros(3, 2), labels=[0.0, float("nan"), 1.0]),
        lambda: Arrays(torch.zeros(3, 2), labels=np.array([0, 1, float("inf")])),
        lambda: Arrays(torch.zeros(3, 2), labels=np.array(["a", "b", "a"])),
        lambda: Arrays(torch.zeros(3, 2), labels=np.array([0, None, 1], dtype=object)),
        lambda: Arrays(torch.zeros(3, 2), labels=np.array([0, 1, 2**63], dtype=np.uint64)),
        lambda: Arrays(torch.zeros(3, 2), labels=torch.zeros(3, 1)),
        lambda: Arrays(torch.zeros(3, 2), labels=[0, 1, 1], classes=["a", "a"]),
        lambda: Arrays(np.array(["a", "b"])),
        lambda: _numbered(10).batch(0, 0),
        lambda: _numbered(10).batch(-1, 4),
        lambda: _numbered(10).split(1.0),
        lambda: Arrays(torch.zeros(3, 2)).split(0.01),
    ],
)
def test_mistakes_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        wrong()


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 1],
        [0.0, 2.0, 1.0],
        np.array([0, 2, 1], np.uint8),
        np.array([0, 2, 1], np.uint64),
        np.array([0, 2, 1], np.float16),
        torch.tensor([0, 2, 1], dtype=torch.bfloat16),
    ],
)
def test_labels_that_are_whole_numbers_may_have_any_type(labels):
    source = Arrays(torch.zeros(3, 2), labels)
    assert source.labels.dtype == torch.int64
    assert source.labels.tolist() == [0, 2, 1]
    assert Arrays(torch.zeros(2, 2), torch.tensor([True, False])).labels.tolist() == [1, 0]


@pytest.mark.parametrize("make", [_numbered.__get__(30), TwoModes, Ring, Checkerboard, Spirals, Moons])
def test_every_source_is_a_pure_function_of_seed_and_step(make):
    source, again = make(seed=3), make(seed=3)
    assert isinstance(source, Source)
    x, condition = source.batch(5, 64)
    same, _ = again.batch(5, 64)
    assert x.shape == (64, *source.shape)
    assert torch.equal(x, same)
    assert not torch.equal(x, source.batch(6, 64)[0])
    assert not torch.equal(x, make(seed=4).batch(5, 64)[0])
    if source.classes:
        assert isinstance(condition, Condition)
        assert 0 <= condition.label.min() <= condition.label.max() < len(source.classes)
    else:
        assert condition is None

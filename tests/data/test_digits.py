"""The digits and their fixed split."""

import sys

import pytest
import torch

from unmelt.data import digits
from unmelt.errors import UsageError


def test_the_split_is_disjoint_stratified_and_complete():
    sklearn = pytest.importorskip("sklearn.datasets")
    (train, train_labels), (test, test_labels) = digits().all(), digits(held_out=True).all()
    assert (len(train), len(test)) == (1438, 359)
    everything = torch.from_numpy(sklearn.load_digits().data).float() / 16
    both = torch.cat([train, test]).flatten(1)
    order = lambda x: x[torch.tensor(sorted(range(len(x)), key=lambda row: x[row].tolist()))]  # noqa: E731
    assert torch.equal(order(both), order(everything))
    share = test_labels.bincount() / (test_labels.bincount() + train_labels.bincount())
    assert (share - 0.2).abs().max() < 0.003


def test_digits_are_pixels_in_0_1():
    source = digits()
    x, condition = source.batch(0, 500)
    assert (x.min(), x.max()) == (0, 1)
    assert source.shape == (1, 8, 8)
    assert source.classes == tuple("0123456789")
    assert condition.label.unique().tolist() == list(range(10))


def test_the_seed_changes_the_order_and_not_the_split():
    assert torch.equal(digits(seed=0).all()[0], digits(seed=1).all()[0])
    assert not torch.equal(digits(seed=0).batch(0, 9)[0], digits(seed=1).batch(0, 9)[0])


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r"unmelt\[digits\]"):
        digits()

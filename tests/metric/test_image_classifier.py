"""A judge that can be believed: nearly right on real images it has never seen, and not fooled by its own training."""

import pytest
import torch

from unmelt.data import digits
from unmelt.errors import UsageError
from unmelt.metric import Classifier


def test_held_out_digits(judge):
    assert judge.accuracy(*digits(held_out=True).all()) == pytest.approx(356 / 359)


def test_wrong_labels_are_wrong(judge):
    x, labels = digits(held_out=True).all()
    assert judge.accuracy(x, (labels + 1) % 10) < 0.01
    assert torch.equal(judge.labels(x) == labels, judge.labels(x.double()) == labels)


def test_every_image_alike_is_right_once_in_ten(judge):
    x, labels = digits(held_out=True).all()
    assert judge.accuracy(x[:1].expand_as(x), labels) == pytest.approx(0.1, abs=0.01)


def test_the_same_data_make_the_same_judge():
    x, labels = digits().all()
    a, b = (Classifier.fit(x[:300], labels[:300]) for _ in range(2))
    assert torch.equal(a.margins(x[300:]), b.margins(x[300:]))


def test_one_class_is_nothing_to_judge():
    with pytest.raises(UsageError):
        Classifier.fit(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))

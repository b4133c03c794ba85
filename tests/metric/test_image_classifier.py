"""The classifier is nearly always right on real images that it has not seen, and its accuracy is that of the labels."""

import pytest
import torch

from unmelt.data import digits
from unmelt.errors import UsageError
from unmelt.metric import Classifier, most_judged
from unmelt.rng import Stream


def test_accuracy_on_held_out_digits(classifier):
    assert classifier.accuracy(*digits(held_out=True).all()) == pytest.approx(356 / 359)


def test_wrong_labels_have_no_accuracy(classifier):
    x, labels = digits(held_out=True).all()
    assert classifier.accuracy(x, (labels + 1) % 10) < 0.01
    assert torch.equal(classifier.labels(x) == labels, classifier.labels(x.double()) == labels)


def test_one_image_for_all_labels_has_an_accuracy_of_one_in_ten(classifier):
    x, labels = digits(held_out=True).all()
    assert classifier.accuracy(x[:1].expand_as(x), labels) == pytest.approx(0.1, abs=0.01)


def test_the_same_data_give_the_same_classifier():
    x, labels = digits().all()
    a, b = (Classifier.fit(x[:300], labels[:300]) for _ in range(2))
    assert torch.equal(a.margins(x[300:]), b.margins(x[300:]))


def test_images_of_one_class_are_refused():
    with pytest.raises(UsageError):
        Classifier.fit(torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))


def test_large_images_are_seen_as_averages_and_fewer_are_learned_from():
    x, labels = Stream(0).uniform((60, 1, 32, 32)), torch.arange(60) % 2
    x[labels == 1, :, :16] += 0.2
    small = torch.nn.functional.avg_pool2d(x, 2)
    large, same = Classifier.fit(x[:40], labels[:40]), Classifier.fit(small[:40], labels[:40])
    assert torch.allclose(large.margins(x[40:]), same.margins(small[40:]), atol=1e-6)
    assert large.accuracy(x[40:], labels[40:]) > 0.9
    assert most_judged((1, 8, 8)) == 4000
    assert most_judged((3, 16, 16)) == most_judged((3, 512, 512)) == 1443

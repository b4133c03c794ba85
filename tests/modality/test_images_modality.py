"""Images: real ones score as the floor, each way of being wrong shows in its own figure, files hold what was drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt import data, picture
from unmelt.metric import Pixels, SampleSet, collect_samples, frechet_distance
from unmelt.modality import Images
from unmelt.rng import Stream

images = Images()
score = images.score


@pytest.fixture(scope="module")
def digits():
    real = data.digits()
    half = torch.arange(len(real)) % 2 == 0
    x, labels = real.all()
    return (
        SampleSet(x[half], labels[half]),
        SampleSet(x[~half], labels[~half]),
        collect_samples(data.digits(held_out=True)),
    )


def test_real_images_score_as_the_floor(digits):
    made, real, held_out = digits
    found = score(made, real, held_out)
    assert found["features"] == "pixels8"
    assert found["frechet"] == pytest.approx(found["frechet_floor"], rel=0.25)
    assert found["nearest_train"] == pytest.approx(found["nearest_floor"], rel=0.1)
    assert found["classifier_accuracy"] == pytest.approx(found["classifier_floor"], abs=0.02)
    assert found["classifier_floor"] > 0.97


def test_noise_copies_and_wrong_labels_score_worse_than_the_floor(digits):
    made, real, held_out = digits
    floor = score(made, real, held_out)
    noise = SampleSet(torch.from_numpy(Stream(0).uniform(made.x.shape).numpy()), made.labels)
    assert score(noise, real, held_out)["frechet"] > 20 * floor["frechet"]
    copies = score(real, real, held_out)
    assert copies["nearest_train"] == 0
    assert copies["frechet"] == copies["frechet_floor"]
    wrong = score(SampleSet(made.x, (made.labels + 1) % 10), real, held_out)
    assert wrong["classifier_accuracy"] < 0.05
    assert wrong["frechet"] == floor["frechet"]


def test_without_labels_no_classifier_is_reported(digits):
    made, real, held_out = digits
    found = score(SampleSet(made.x[:50]), real, held_out)
    assert "classifier_accuracy" not in found
    assert all(f"{name.split('_')[0]}_floor" in found for name in ("frechet", "nearest_train"))


def test_the_distance_is_the_frechet_distance_over_pixels(digits):
    made, real, held_out = digits
    found, features = images.distance(real.x, held_out.x), Pixels()
    assert found.name == "Fréchet distance"
    assert found.measure(made.x) == frechet_distance(features(made.x), features(held_out.x))
    assert found.floor == frechet_distance(features(real.x), features(held_out.x))


def test_twenty_thousand_images_are_scored_in_whole_copies_of_the_classes():
    assert images.samples_to_score(30_000) == 30_000
    assert images.samples_to_score(1438) == 14 * 1438 >= 20_000 > 13 * 1438
    assert [images.preview_rows(classes) for classes in (0, 3, 10, 1000)] == [8, 24, 80, 128]


def test_a_preview_is_ordered_by_class_with_its_names_beside():
    x = torch.rand(16, 1, 8, 8)
    labels = torch.tensor([0, 1] * 8)
    drawn = images.draw(x, labels, ("a", "b"))
    expected = picture.tiles(torch.cat([x[::2], x[1::2]]), 8, ("a", "b"))
    assert np.array_equal(np.asarray(drawn), np.asarray(expected))
    assert np.array_equal(np.asarray(images.draw(x)), np.asarray(picture.tiles(x)))


def test_a_strip_shows_one_image_of_each_class():
    frames = [torch.rand(20, 1, 8, 8) for _ in range(3)]
    times = (1.0, 0.5, 0.0)
    labels = torch.tensor([2] * 6 + [0] * 7 + [1] * 7)
    expected = picture.strip([frame[[6, 13, 0]] for frame in frames], times, 9)
    assert np.array_equal(np.asarray(images.strip(frames, times, labels, "abc")), np.asarray(expected))
    expected = picture.strip([frame[:8] for frame in frames], times, 9)
    assert np.array_equal(np.asarray(images.strip(frames, times)), np.asarray(expected))


def test_files_hold_the_numbers_or_the_picture(tmp_path):
    x = torch.rand(5, 3, 8, 8)
    assert images.write(x, tmp_path / "a.npy") == [tmp_path / "a.npy"]
    assert np.array_equal(np.load(tmp_path / "a.npy"), x.numpy())
    assert images.write(x, tmp_path / "a.png") == [tmp_path / "a.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(images.draw(x)))

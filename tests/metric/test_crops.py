"""Crops: each is a part of an image, every place is seen equally often, and blurring shows where averages hide it."""

import pytest
import torch
import torch.nn.functional as F

from unmelt.errors import UsageError
from unmelt.metric import Pixels, SampleSet, frechet_distance, image_crops
from unmelt.modality import Images
from unmelt.rng import Stream


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("each", [1, 4, 6])
@pytest.mark.parametrize(("count", "height", "width"), [(1, 1, 1), (9, 8, 8), (7, 9, 4), (20, 6, 12)])
def test_every_crop_is_a_box_of_an_image_and_places_are_seen_equally(count, height, width, size, each):
    images = torch.arange(count * 2.0 * height * width).view(count, 2, height, width)
    crops = image_crops(images, size, each)
    box = min(size, height), min(size, width)
    places = (height // box[0]) * (width // box[1])
    assert crops.shape == (count * min(each, places), 2, *box)
    corners = crops[:, 0, 0, 0].long()
    assert len(corners.unique()) == len(corners)
    image, place = corners // (2 * height * width), corners % (height * width)
    for crop, i, at in zip(crops, image, place, strict=True):
        top, left = at // width, at % width
        assert top % box[0] == left % box[1] == 0
        assert (crop == images[i, :, top : top + box[0], left : left + box[1]]).all()
    assert image.bincount(minlength=count).unique().tolist() == [min(each, places)]
    seen = place.unique(return_counts=True)[1]
    assert len(seen) == min(places, len(corners))
    assert seen.max() - seen.min() <= 1


def test_blurring_is_seen_in_crops_and_not_in_averages():
    sharp, other, held_out = (Stream(seed).uniform((300, 3, 32, 32)) for seed in range(3))
    blurred = F.avg_pool2d(sharp, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert frechet_distance(Pixels()(blurred), Pixels()(sharp)) < 1e-9
    found = Images().score(SampleSet(blurred), SampleSet(other), SampleSet(held_out))
    assert found["frechet_detail"] > 5 * found["frechet_detail_floor"]
    same = Images().score(SampleSet(sharp), SampleSet(other), SampleSet(held_out))
    assert same["frechet_detail"] == pytest.approx(same["frechet_detail_floor"], rel=0.05)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"each": 0}])
def test_no_pixels_or_no_crops_are_refused(wrong):
    with pytest.raises(UsageError, match="at least one pixel and one crop"):
        image_crops(torch.zeros(2, 1, 8, 8), **wrong)

"""Aspect ratio buckets: little is cropped, every picture comes equally often, and parts of a batch have its shape."""

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.data import Arrays, AspectRatioBuckets, bucket_sizes, for_batches_of, image_buckets, pixel_cache
from unmelt.rng import Stream

SDXL = (
    "512x2048 512x1984 512x1920 512x1856 576x1792 576x1728 576x1664 640x1600 640x1536 704x1472 704x1408 704x1344 "
    "768x1344 768x1280 832x1216 832x1152 896x1152 896x1088 960x1088 960x1024 1024x1024"
)
"""Podell et al., 2024, appendix I; each also turned."""


def source(*counts, seed=3, classes=2):
    """Buckets of pictures whose every pixel is the number of the picture."""
    made, first = [], 0
    for k, count in enumerate(counts):
        values = torch.arange(first, first + count).float()[:, None, None, None].expand(-1, 1, 2 + k, 4)
        made.append(Arrays(values.clone(), torch.arange(count) % classes, [str(k) for k in range(classes)], seed))
        first += count
    return AspectRatioBuckets(made, seed)


def test_shapes_are_those_of_sdxl_and_of_nearly_one_area():
    table = {tuple(map(int, pair.split("x"))) for pair in SDXL.split()}
    sizes = bucket_sizes(1024, 64)
    assert sizes[0] == (1024, 1024)
    assert set(sizes) <= table | {(wide, high) for high, wide in table}
    assert {(high, wide) for wide, high in sizes} == set(sizes)
    assert len(sizes) == len(set(sizes)) == 33
    for size, multiple in ((64, 4), (64, 8), (512, 64), (30, 4), (32, 1)):
        for high, wide in bucket_sizes(size, multiple)[1:]:
            assert high % multiple == wide % multiple == 0
            assert 0.7 * size**2 <= high * wide <= size**2
            assert max(high / wide, wide / high) <= 4


@pytest.mark.parametrize(("size", "multiple", "least"), [(64, 4, 0.92), (64, 8, 0.86), (1024, 64, 0.92)])
def test_little_of_a_picture_of_any_ratio_to_4_is_cropped(size, multiple, least):
    sizes = bucket_sizes(size, multiple)
    for ratio in np.exp(np.linspace(-np.log(4), np.log(4), 999)):
        high, wide = sizes[um.data.crop.nearest_size(round(10_000 * ratio), 10_000, sizes)]
        kept = min(ratio / (wide / high), (wide / high) / ratio)
        assert kept == pytest.approx(max(min(ratio * h / w, w / h / ratio) for h, w in sizes), abs=1e-3)
        assert kept >= least


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_a_picture_is_cropped_to_the_nearest_shape_in_the_middle(tmp_path, monkeypatch, in_memory):
    """Red is how far right a pixel is and green how far down, so that what is left of a picture is what it shows."""
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixel_cache, "IN_MEMORY", in_memory)
    (tmp_path / "pictures").mkdir()
    shapes = [(300, 300), (300, 200), (210, 300), (600, 100), (90, 500), (300, 201)]
    for number, (wide, high) in enumerate(shapes):
        across, down = np.meshgrid((np.arange(wide) + 0.5) / wide, (np.arange(high) + 0.5) / high)
        pixels = np.stack([across, down, np.full_like(across, number / 10)], -1)
        image = Image.fromarray((255 * pixels).round().astype(np.uint8))
        how = {}
        if number == 5:  # lies on its side, and says so
            image, how["exif"] = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
            how["exif"][0x0112] = 6
        image.save(tmp_path / "pictures" / f"{number}.png", **how)
    (tmp_path / "pictures" / "x.png").write_bytes(b"nothing")
    for _ in range(2):  # read, and read from the cache
        found, report = image_buckets(tmp_path / "pictures", 64, multiple=8)
        assert (report.used, len(report.broken), sum(report.buckets.values())) == (6, 1, 6)
        seen = {}
        for bucket in found.buckets:
            high, wide = bucket.shape[1:]
            assert report.buckets[f"{wide} x {high}"] == len(bucket)
            for x in bucket.all()[0]:
                seen[round(10 * x[2].mean().item())] = high, wide
                own_wide, own_high = shapes[round(10 * x[2].mean().item())]
                share = (own_wide / own_high) / (wide / high)
                for channel, axis, kept in ((x[0], 1, min(1, 1 / share)), (x[1], 0, min(1, share))):
                    line = channel.mean(1 - axis)
                    centres = 0.5 + kept * ((torch.arange(len(line)) + 0.5) / len(line) - 0.5)
                    assert (line - centres)[1:-1].abs().max() < 0.01
        assert seen == {0: (64, 64), 1: (48, 80), 2: (72, 56), 3: (32, 128), 4: (128, 32), 5: (48, 80)}
    assert found.identity() == image_buckets(tmp_path / "pictures", 64, multiple=8)[0].identity()


def test_squares_alone_are_what_they_are_without_buckets(tmp_path):
    for number, pixels in enumerate((255 * Stream(0).uniform((20, 12, 12, 3))).byte().numpy()):
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    plain, found = um.data.images(tmp_path, 8, seed=5)[0], image_buckets(tmp_path, 8, seed=5)[0]
    assert found.identity() == plain.identity()
    for one, other in zip((plain, *plain.split(0.3)), (found, *found.split(0.3)), strict=True):
        for step in (0, 1, 17):
            assert torch.equal(one.batch(step, 6)[0], other.batch(step, 6)[0])
            assert torch.equal(one.batch(2 * step, 3)[0], other.with_batch(6).batch(2 * step, 3)[0])


@pytest.mark.parametrize(("counts", "rows"), [((40, 13, 7), 8), ((3, 2), 5), ((100, 1, 1), 10), ((5, 5, 5, 5), 4)])
def test_every_picture_comes_equally_often(counts, rows):
    data, size = source(*counts), sum(counts)
    epochs = 24
    steps = epochs * size // rows
    times, taken = torch.zeros(size), [0] * len(counts)
    for step in range(steps):
        x = data.batch(step, rows)[0]
        bucket = x.shape[2] - 2
        assert torch.equal(x, data.buckets[bucket].batch(taken[bucket], rows)[0])  # none is left out, none comes twice
        taken[bucket] += 1
        times += torch.bincount(x[:, 0, 0, 0].long(), minlength=size)
        done = (step + 1) * rows / size
        for count, batches in zip(counts, taken, strict=True):  # at no time is a bucket far ahead, or behind
            assert abs(batches * rows - done * count) < count + 2 * rows * len(counts)
    for count, batches in zip(counts, taken, strict=True):
        assert abs(batches * rows - epochs * count) <= rows * (len(counts) + 1)
    for of_bucket, count in zip(times.split(counts), counts, strict=True):
        assert of_bucket.max() - of_bucket.min() <= 1
        assert abs(of_bucket.mean() - epochs) <= rows * (len(counts) + 1) / count


def test_order_is_a_pure_function_of_seed_and_step():
    shapes = [source(40, 30, 20).batch(step, 4)[0].shape[2] for step in range(60)]
    again = source(40, 30, 20)
    assert [again.batch(step, 4)[0].shape[2] for step in reversed(range(60))] == shapes[::-1]
    assert [source(40, 30, 20, seed=4).batch(step, 4)[0].shape[2] for step in range(60)] != shapes
    assert len(set(shapes[:12])) == 3


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_parts_of_a_batch_are_its_rows_in_turn(parts):
    whole = source(40, 13, 7)
    data = for_batches_of(whole, 12)
    for step in range(30):
        x, condition = whole.batch(step, 12)
        of_parts = [data.batch(step * parts + part, 12 // parts) for part in range(parts)]
        assert torch.equal(torch.cat([each[0] for each in of_parts]), x)
        assert torch.equal(torch.cat([each[1].label for each in of_parts]), condition.label)
    with pytest.raises(um.UsageError, match="whole batches of 12 rows"):
        data.batch(0, 5)


def test_a_split_is_that_of_all_pictures_together():
    data = source(30, 20, 1)
    everything = Arrays(
        torch.cat([bucket.values.flatten(1)[:, :1] for bucket in data.buckets]),
        torch.cat([bucket.labels for bucket in data.buckets]),
    )
    for by in ("content", "position"):
        rest, out = data.split(0.3, by=by)
        assert len(rest) + len(out) == 51
        numbers = [sorted(n for b in side.buckets for n in b.values[:, 0, 0, 0].tolist()) for side in (rest, out)]
        assert sorted(numbers[0] + numbers[1]) == list(range(51))
        if by == "position":
            assert numbers[1] == sorted(everything.split(0.3, by=by)[1].values[:, 0].tolist())
    assert data.split(0.3, by="content")[1].classes == ("0", "1")


def test_parts_keep_the_main_bucket_of_the_whole():
    data = source(21, 20)
    for seed in range(8):
        rest, out = data.split(0.5, seed)
        assert rest.shape == out.shape == data.shape == (1, 2, 4)
    assert any(data.split(0.5, seed)[1].buckets[0].values.shape[0] < 9 for seed in range(8))  # not always the largest
    with pytest.raises(um.UsageError, match="main=2 of 2 buckets"):
        AspectRatioBuckets(data.buckets, main=2)


def test_buckets_that_do_not_fit_are_refused():
    one, other = source(3).buckets[0], source(3, classes=3).buckets[0]
    wide = Arrays(torch.zeros(2, 1, 2, 8), [0, 1], ["a", "b"])
    for buckets, word in (([], "no buckets"), ([one, other], "one shape"), ([one, wide], "different classes")):
        with pytest.raises(um.UsageError, match=word):
            AspectRatioBuckets(buckets)

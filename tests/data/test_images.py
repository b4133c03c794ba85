"""Images of every colour mode decode to their colour; broken files are reported and do not end a run."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.data import images as folder
from unmelt.errors import UsageError

ORANGE = (200, 100, 50)


def _one(path, **more):
    """The only image of a folder as [channels, size, size] floats from 0 to 255."""
    images, report = folder(path, **more)
    assert report.used == 1
    return images.values[0].float()


def _save(path, image, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


def _plain(mode="RGB", size=(20, 20)):
    return Image.new("RGB", size, ORANGE).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.png", mode) for mode in ("RGB", "P", "RGBA")),
        *(("a.jpg", mode) for mode in ("RGB", "CMYK")),
        *(("a.tif", mode) for mode in ("CMYK", "YCbCr")),
        *(("a.gif", "P"), ("a.webp", "RGB"), ("A.BMP", "RGB")),
    ],
)
def test_every_colour_mode_decodes_to_its_colour(tmp_path, name, mode):
    image = _plain().quantize(4) if mode == "P" else _plain(mode)
    _save(tmp_path / name, image)
    pixels = _one(tmp_path, size=8)
    assert pixels.shape == (3, 8, 8)
    assert (pixels - torch.tensor(ORANGE)[:, None, None]).abs().max() <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "1", "F"])
def test_greyscale_modes_decode_to_their_grey(tmp_path, mode):
    if mode == "I;16":
        _save(tmp_path / "a.png", Image.fromarray(np.full((9, 9), 100 * 257, dtype=np.uint16)))
    elif mode == "1":
        _save(tmp_path / "a.png", Image.new("1", (9, 9), 1))
    elif mode == "F":
        _save(tmp_path / "a.tif", Image.new("F", (9, 9), 0.5))
        with pytest.raises(UsageError, match="floating-point"):
            folder(tmp_path, size=4)
        return
    else:
        _save(tmp_path / "a.png", Image.new("L", (9, 9), 100).convert(mode))
    expected = 255 if mode == "1" else 100
    for channels in (1, 3):
        pixels = _one(tmp_path, size=4, channels=channels)
        assert pixels.shape == (channels, 4, 4)
        assert (pixels == expected).all()


def test_transparent_pixels_are_composited_on_white(tmp_path):
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (4, 0, 8, 4))
    _save(tmp_path / "a.png", image.crop((2, 0, 6, 4)))
    pixels = _one(tmp_path, size=4)
    assert (pixels[:, :, 0] > 250).all()
    assert (pixels[:, :, -1] - 127).abs().max() <= 4


def test_a_transparent_palette_colour_is_white(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, *ORANGE])
    _save(tmp_path / "a.gif", image, transparency=1)
    assert (_one(tmp_path, size=4) == 255).all()


def test_the_first_frame_of_an_animation_is_used(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (ORANGE, (0, 0, 255), (0, 255, 0))]
    _save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (_one(tmp_path, size=4) - torch.tensor(ORANGE)[:, None, None]).abs().max() <= 4


def test_images_are_cropped_to_the_central_square(tmp_path):
    for name, turn in (("wide", False), ("tall", True)):
        stripes = np.zeros((40, 120, 3), dtype=np.uint8)
        stripes[:, :40, 0] = stripes[:, 40:80, 1] = stripes[:, 80:, 2] = 255
        _save(tmp_path / name / "a.png", Image.fromarray(stripes.transpose(1, 0, 2) if turn else stripes))
        assert _one(tmp_path / name, size=10).mean((1, 2)).tolist() == [0, 255, 0]


def test_exif_orientation_is_applied(tmp_path):
    seen = np.zeros((64, 64, 3), dtype=np.uint8)
    seen[:32, :, 0] = 255  # red above, as people see it
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file is to be rotated clockwise for showing
    _save(tmp_path / "a.jpg", Image.fromarray(np.rot90(seen)), exif=exif, quality=95)
    pixels = _one(tmp_path, size=8)
    assert pixels[0, :3].min() > 240
    assert pixels[0, 5:].max() < 15


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_downscaling_averages_pixels(tmp_path, name):
    board = np.indices((3000, 2400)).sum(0) % 2 * 255  # black and white by turns: any picking of pixels shows
    _save(tmp_path / name, Image.fromarray(board.astype(np.uint8)))
    assert (_one(tmp_path, size=16, channels=1) - 127.5).abs().max() < 3


def _bomb() -> bytes:
    """A PNG of a few bytes whose header states 40000 x 40000 pixels."""
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)

    def block(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"")) + block(b"IEND", b"")


def test_broken_files_are_reported_and_left_out(tmp_path):
    for number in range(3):
        _save(tmp_path / f"good{number}.png", Image.new("L", (8, 8), 10 + number))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg"):
        _save(tmp_path / name, Image.fromarray(noise))
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1500])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("this is no image", encoding="utf-8")
    (tmp_path / "bomb.png").write_bytes(_bomb())
    (tmp_path / "notes.txt").write_text("not looked at", encoding="utf-8")

    images, report = folder(tmp_path, size=8, channels=1)
    assert images.values[:, 0, 0, 0].tolist() == [10, 11, 12]
    assert images.labels is None
    reasons = {path.name: reason for path, reason in report.broken}
    assert set(reasons) == {"cut.png", "cut.jpg", "empty.png", "text.jpg", "bomb.png"}
    assert reasons["empty.png"] == "empty file"
    assert "bomb" in reasons["bomb.png"]
    assert str(report).startswith("3 images used. 5 files could not be read: ")
    assert all(name in str(report) for name in reasons)


def test_subfolders_are_classes(tmp_path):
    def grey(path, value):
        _save(tmp_path / path, Image.new("L", (4, 4), value))

    grey("dog/1.png", 20)
    grey("dog/deep/deeper/2.png", 21)
    grey("cat/1.png", 10)
    grey("unclassified.png", 99)
    grey(".hidden/1.png", 99)
    grey("cat/.hidden.png", 99)
    grey("cat/.thumbnails/1.png", 99)
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "broken.png").touch()
    (tmp_path / "empty").mkdir()

    images, report = folder(tmp_path, size=4, channels=1)
    assert images.classes == ("cat", "dog")
    assert images.values[:, 0, 0, 0].tolist() == [10, 20, 21]
    assert images.labels.tolist() == [0, 1, 1]
    assert report.classes == {"cat": 1, "dog": 2}
    assert report.unclassified == 1
    text = str(report)
    assert "2 classes: cat 1, dog 2" in text
    assert "1 image left out" in text
    assert "broken.png (empty file)" in text


def test_a_long_report_stays_short(tmp_path):
    _save(tmp_path / "good.png", _plain())
    for number in range(200):
        (tmp_path / f"bad{number:03}.png").touch()
    _, report = folder(tmp_path, size=4)
    assert len(report.broken) == 200
    assert "195 more" in str(report)
    assert len(str(report)) < 300


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda root: root / "nowhere", "there is no .*nowhere"),
        (lambda root: (root / "file.png").touch() or root / "file.png", "is a file"),
        (lambda root: root, "no images"),
        (lambda root: (root / "notes.txt").touch() or root, "no images"),
        (lambda root: (root / "a.png").touch() or root, "empty file"),
    ],
)
def test_unusable_folders_are_usage_errors(tmp_path, prepare, words):
    with pytest.raises(UsageError, match=words):
        folder(prepare(tmp_path), size=8)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 8, "channels": 4}])
def test_unusable_arguments_are_usage_errors(tmp_path, wrong):
    with pytest.raises(UsageError):
        folder(tmp_path, **wrong)

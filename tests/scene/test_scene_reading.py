"""What is read in a picture is what was painted; what shows nothing is read as nothing."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import config
from scenes import some_scenes

from unmelt.errors import UsageError
from unmelt.rng import Stream
from unmelt.scene import COLOURS, OBJECTS, Group, Scene, check, paint, read
from unmelt.scene.sprites import RGB

SCENES = some_scenes(120)


def painted(size, scenes=SCENES, seed=0):
    rng = Stream(seed)
    return [paint(scene, rng, size) for scene in scenes]


def blurred(pictures, sd):
    """Pictures after a Gaussian of this standard deviation, in parts of 32."""
    sd = sd * pictures.shape[-1] / 32
    reach = int(3 * sd + 1)
    line = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / 2 / sd**2)
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(pictures, (reach,) * 4, mode="replicate"), kernel, groups=3)


def share_right(scenes, pictures):
    return sum(check(scene, things)["all"] for scene, things in zip(scenes, read(pictures), strict=True)) / len(scenes)


@pytest.mark.parametrize("size", [32, 64])
def test_true_pictures_are_read(size):
    made = painted(size)
    pictures = torch.stack([each.picture for each in made])
    assert share_right(SCENES, pictures) >= 0.99
    exact = 0
    for (_, things), found in zip(made, read(pictures), strict=True):
        names = sorted(thing[:2] for thing in things) == sorted(thing[:2] for thing in found)
        near = all(min(abs(a.x - b.x) + abs(a.y - b.y) for b in things) <= 2 / 32 for a in found)
        exact += names and near
    assert exact / len(made) >= 0.99


@pytest.mark.parametrize("size", [32, 64])
def test_blurred_and_noisy_pictures_are_read(size):
    pictures = blurred(torch.stack([each.picture for each in painted(size)]), 0.7)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    assert share_right(SCENES, pictures + 0.1 * noise) >= 0.95


def test_every_object_in_every_colour_is_told_from_all_others():
    scenes = [Scene((Group(thing, colour),)) for thing in OBJECTS for colour in COLOURS]
    pictures = torch.stack([each.picture for each in painted(32, scenes)])
    for scene, (only,) in zip(scenes, read(pictures), strict=True):
        assert only[:2] == (scene.groups[0].object, scene.groups[0].colour)


def test_pictures_of_another_scene_are_wrong():
    scenes = [Scene.parse(text) for text in ("1 red cat", "2 red cat", "1 blue cat", "1 red cup", "1 red cat; 1 cup")]
    found = read(torch.stack([each.picture for each in painted(32, scenes)]))
    for one, scene in enumerate(scenes):
        for other, things in enumerate(found):
            assert check(scene, things)["all"] == (one == other)
    assert not check(
        Scene.parse("1 cat left; 1 cup right"),
        read(painted(32, [Scene.parse("1 cat right; 1 cup left")])[0].picture[None])[0],
    )["all"]


@pytest.mark.parametrize("size", [32, 64])
def test_nothing_is_read_where_nothing_is_shown(size):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(30, 3, size, size, generator=generator)
    pictures = torch.stack([each.picture for each in painted(size, SCENES[:60])])
    empty = [
        torch.linspace(0, 1, 6)[:, None, None, None].expand(-1, 3, size, size),
        torch.rand(30, 3, 1, 1, generator=generator).expand(-1, -1, size, size),
        torch.tensor(list(RGB.values()))[:, :, None, None].expand(-1, -1, size, size),
        noise,
        1 - 0.2 * noise,
        blurred(noise, 3) * 1.5 - 0.3,
        torch.full((1, 3, size, size), torch.nan),
    ]
    assert not any(map(any, map(read, empty)))
    smeared = read(blurred(pictures, 3))
    assert sum(map(bool, smeared)) <= 0.05 * len(smeared)


def test_half_a_thing_is_not_that_thing():
    for thing in OBJECTS:
        whole, (only,) = paint(Scene((Group(thing, "red"),)), Stream(0))
        half = whole.clone()
        half[:, :, int(32 * only.x) :] = 1
        assert (thing, "red") not in [each[:2] for each in read(half[None])[0]]


def test_what_is_no_batch_of_pictures_is_refused(monkeypatch):
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match=r"\[3, 32, 32\]"):
        read(torch.ones(3, 32, 32))


def test_bytes_are_read_as_the_pictures_that_they_are():
    pictures = torch.stack([each.picture for each in painted(32, SCENES[:8])])
    found = read((255 * pictures).round().byte())
    assert list(map(set, found)) == list(map(set, read(pictures)))
    assert read(pictures[:0]) == []

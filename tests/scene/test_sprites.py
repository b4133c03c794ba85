import torch

from unmelt.scene import COLOURS, OBJECTS
from unmelt.scene.sprites import RGB, sprites


def test_the_commonest_colour_of_a_sprite_is_its_own():
    found = sprites(32)
    inside = found.alpha > 0.9
    for number, name in enumerate(COLOURS):
        for thing in range(len(OBJECTS)):
            pixels = found.rgb[thing, number][:, inside[thing]]
            near = (pixels - torch.tensor(RGB[name])[:, None]).abs().amax(0) < 0.15
            others = [
                ((pixels - torch.tensor(RGB[other])[:, None]).abs().amax(0) < 0.15).sum()
                for other in COLOURS
                if other != name
            ]
            assert near.sum() > max(others), (OBJECTS[thing], name)


def test_sprites_differ_in_shape_and_colour_at_ten_pixels():
    """Something else, moved by up to a pixel, leaves at least 8% of a sprite's ink unexplained."""
    found = sprites(10)
    ink = (found.alpha[:, None, None] * (1 - found.rgb)).flatten(0, 1)
    size = ink.square().sum((1, 2, 3))
    for rows, columns in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = ink.roll((rows, columns), (2, 3))
        left = (ink[:, None] - moved).square().sum((2, 3, 4)) / size[:, None]
        left.fill_diagonal_(1.0)
        assert left.min() > 0.08, divmod(int(left.argmin()), len(left))


def test_eyes_stay_dark_and_highlights_light():
    cat = OBJECTS.index("cat")
    found = sprites(32)
    inside = found.alpha[cat] > 0.9
    for colour in range(len(COLOURS)):
        assert found.rgb[cat, colour].amax(0)[inside].min() < 0.25  # eyes, in every colour
    assert 0 <= found.rgb.min() <= found.rgb.max() <= 1

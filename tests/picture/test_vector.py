"""Vector pictures put things where they are, and say what they show."""

import re

import numpy as np
import pytest
import torch

from unmelt.errors import UsageError
from unmelt.picture import inline, tiles, writing
from unmelt.picture.vector import Arrows, Axes, Dots, Histogram, Line, Paths, Ring, VerticalLine, draw, row

PLAIN = Axes(x=(-2, 2), y=(0, 10), width=202, height=102, axes=False)
"""A border of 1 around 200 x 100 units."""


def numbers(text):
    return [float(each) for each in re.findall(r"-?\d+\.?\d*", text)]


def test_points_are_drawn_at_their_coordinates():
    x = torch.tensor([[-2.0, 0], [0, 5], [2, 10], [2.5, 5], [float("nan"), 1], [float("inf"), 1]])
    assert re.search(r'd="(.*?)"', Dots(x).svg(PLAIN))[1] == "M0.0 100.0h0M100.0 50.0h0M200.0 0.0h0"


def test_lines_are_interrupted_at_numbers_that_are_not_finite():
    d = re.search(r'd="(.*?)"', Line([-2, -1, 0, 1, 2], [0, 5, float("nan"), 5, 10]).svg(PLAIN))[1]
    assert d == "M0.0 100.0L50.0 50.0M150.0 50.0L200.0 0.0"
    both = Paths(torch.tensor([[[-2.0, 0], [2, 0]], [[-2, 10], [2, 10]]])).svg(PLAIN)
    assert 'd="M0.0 100.0L200.0 100.0M0.0 0.0L200.0 0.0"' in both


def test_logarithmic_axes_have_equal_ratios_at_equal_lengths():
    axes = Axes(x=(1, 100), y=(1e-4, 1), x_log=True, y_log=True, width=202, height=202, axes=False)
    assert numbers(re.search(r'd="(.*?)"', Line([1, 10, 100], [1, 1e-2, 1e-4]).svg(axes))[1]) == [
        0,
        0,
        100,
        100,
        200,
        200,
    ]
    with pytest.raises(UsageError, match="above 0 on a logarithmic axis"):
        Axes(y=(0, 1), y_log=True)
    with pytest.raises(UsageError, match="the lowest and the highest"):
        Axes(x=(1, 1))


def test_an_arrow_points_from_its_point_along_its_vector():
    start = torch.tensor([[0.0, 5.0], [1.0, 1.0]])
    d = re.search(r'd="(.*?)"', Arrows(start, torch.tensor([[1.0, 0], [0, 0]]), unit=0.5).svg(PLAIN))[1]
    first = numbers(d)[:4]
    assert first == [100, 50, 125, 50]
    assert "nan" not in d


def test_histograms_enclose_their_heights():
    edges, heights = np.array([-2.0, 0, 2]), np.array([5.0, 10])
    x, y = np.array(numbers(re.search(r'd="(.*?)"', Histogram(edges, heights).svg(PLAIN))[1])).reshape(-1, 2).T
    shoelace = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert shoelace == pytest.approx(100 * 50 + 100 * 100)


def test_a_picture_has_a_description_and_a_legend():
    found = draw(
        Axes(title="a & b", x_name="time", y_name="size"),
        [Line([0, 1], [0, 1], dashed=True, name="<first>"), Ring(0, 0, name="here"), VerticalLine(1)],
        alt='two "things"',
    )
    assert 'role="img" aria-label="two &quot;things&quot;"' in found
    assert found.count("&lt;first&gt;") == 2  # on the line and in the legend
    assert "a &amp; b" in found
    assert "\u22124" in found  # a real minus sign on the axis
    assert found.count("<svg") == 2 + 2  # the picture, its area, two legend keys
    with pytest.raises(UsageError, match="without words"):
        draw(PLAIN, [], alt=" ")
    assert row(found, found).count("<figure") == 2


def test_labels_of_the_y_axis_have_room():
    axes = Axes(y=(-0.5, 1.5), y_words=("one", "the other & longer"))
    left, top, _, height = axes.area
    assert left > 6 * len("the other & longer")
    found = draw(axes, [Line([0, 1], [0, 1])], alt="two lines")
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="end">(.*?)</text>', found)
    assert [word for _, _, word in places] == ["one", "the other &amp; longer"]
    assert [float(y) - 4 for _, y, _ in places] == pytest.approx([top + 0.75 * height, top + 0.25 * height], abs=0.1)
    assert all(float(x) < left for x, _, _ in places)


def test_an_inline_image_is_the_png_itself():
    image = tiles(torch.rand(4, 1, 8, 8))
    assert inline(image, "noise").startswith('<img alt="noise"')
    assert 'src="data:image/png;base64,iVBOR' in inline(image, "noise")
    with pytest.raises(UsageError, match="without words"):
        inline(image, "")


def test_writing_shows_tokens_and_hides_masked_ones():
    found = writing(["de", "f", " <", "x"], [False, True, False, False], new=[False] * 3 + [True], alt="code")
    assert re.findall(r'data-kind="(\w+)".*?>(.*?)</span>', found) == [
        ("stands", "de"),
        ("masked", "\u2591"),
        ("stands", " &lt;"),
        ("new", "x"),
    ]
    assert 'aria-label="code: de_ &lt;x"' in found
    with pytest.raises(UsageError, match="2 pieces"):
        writing(["a", "b"], [True])

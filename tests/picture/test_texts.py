"""Texts as pictures: every line is there, labels stand to the left, and nothing is cut."""

import numpy as np
import pytest

from unmelt.errors import UsageError
from unmelt.picture import texts


def ink(picture):
    """Rows and columns that have something on them."""
    page = np.asarray(picture.convert("L")) < 200
    return page.any(1), page.any(0)


def runs(flags):
    return int(np.diff(np.concatenate([[0], flags.astype(int)])).clip(0).sum())


def test_every_line_is_drawn_and_none_is_cut():
    for count in (1, 3, 7):
        rows, columns = ink(texts(["\n".join(["xxx"] * count)]))
        assert runs(rows) == count
        assert not rows[[0, -1]].any()
        assert not columns[[0, -1]].any()


def test_long_lines_are_wrapped():
    rows, columns = ink(texts(["xxx " * 10], columns=20))
    assert runs(rows) == 2
    assert len(columns) < len(ink(texts(["xxx " * 10]))[1])


def test_texts_are_separated_and_labels_make_room_on_the_left():
    plain, labelled = texts(["xx", "xx"]), texts(["xx", "xx"], labels=["t = 0.50", "t = 0.00"])
    assert runs(ink(plain)[0]) == 3  # two texts and the line between them
    assert labelled.width > plain.width
    assert labelled.height == plain.height


def test_the_file_is_the_picture(tmp_path):
    drawn = texts(["a\tb", ""], path=tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
    assert drawn.mode == "RGB"


def test_no_texts_or_too_few_labels_are_refused():
    for wrong in (lambda: texts([]), lambda: texts(["a", "b"], labels=["a"]), lambda: texts(["a"], columns=0)):
        with pytest.raises(UsageError, match="texts was given"):
            wrong()

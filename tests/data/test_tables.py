"""Metadata tables: what does not fit is refused with the line that is wrong, and never loses a caption in silence."""

import json

import pytest
from test_containers import as_folder, png

from unmelt.data import images
from unmelt.data.labels_and_captions import caption_text
from unmelt.errors import UsageError

PICTURES = {f"{number}.png": png((number, 0, 0)) for number in range(2)}


def _read(root, name, content, **more):
    return images(as_folder(root, PICTURES | {name: content}), size=4, **more)[0]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metadata.csv", b"name,caption\na,b,c,d\n", "line 2 has 4 values for 2 columns"),
        ("metadata.csv", b"file_name,caption\n0.png,a red, big cat\n", "line 2 has 3 values for 2 columns"),
        ("metadata.csv", b'file_name,caption\n0.png,"never closed\n1.png,b\n', "unexpected end"),
        ("metadata.csv", b"file_name,caption,caption\n0.png,a,b\n", "two columns called 'caption'"),
        ("metadata.csv", b"file_name,caption\n,a\n", "row 1: no file_name"),
        ("metadata.csv", b"name,caption\n", "no column 'file_name'"),
        ("metadata.csv", b"", "no column 'file_name'"),
        ("metadata.jsonl", b"[" * 100_000, "line 1: nested too deeply"),
        ("metadata.jsonl", b'{"file_name": "0.png"}\n3\n', "line 2: not an object"),
        ("metadata.jsonl", b'{"file_name": "0.png", "label": "x"}\n{"label": "y"}\n', "row 2: no file_name"),
        ("metadata.jsonl", b'{"file_name": "0.png", "caption": ["a", "b"]}\n', "row 1: a caption that is not a text"),
        ("metadata.jsonl", b'{"file_name": "0.png", "label": 0.5}\n', r"row 1: the label 0\.5"),
        ("metadata.jsonl", b'{"file_name": "\xff"}\n', "line 1: 'utf-8'"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_the_line(tmp_path, name, content, reason):
    with pytest.raises(UsageError, match=reason):
        _read(tmp_path, name, content, caption="auto")


def test_a_column_that_a_ragged_table_does_not_have_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no column 'kind'.*file_name, caption"):
        _read(tmp_path, "metadata.csv", b"file_name,caption\n0.png\n", label="kind")


def test_short_and_empty_rows_of_a_table_have_no_caption(tmp_path):
    source = _read(tmp_path, "metadata.csv", b'file_name,caption\n\n0.png\n,\n1.png,"a, b"\n', caption="auto")
    assert source.captions == [None, "a, b"]


def test_numbers_that_pandas_writes_beside_missing_ones_are_classes(tmp_path):
    rows = [{"file_name": "0.png", "label": 2.0}, {"file_name": "1.png", "label": float("nan")}]
    content = "\n".join(map(json.dumps, rows)).encode()
    with pytest.raises(UsageError, match=r"1 of 2 images in .* have no class"):
        _read(tmp_path, "metadata.jsonl", content)
    rows[1]["label"] = 10
    assert _read(tmp_path, "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode()).classes == ("2", "10")


def test_captions_of_every_type_are_text():
    assert [caption_text(each) for each in (" a ", b"\xc3\xa9\xff", 3, "", " ", None, float("nan"))] == [
        "a",
        "é\ufffd",
        "3",
        *[None] * 4,
    ]
    with pytest.raises(ValueError, match="more than"):
        caption_text("a" * 2_000_000)

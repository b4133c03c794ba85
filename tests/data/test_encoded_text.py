"""UTF-8 with or without a byte-order mark, JSON lines that end with a line feed alone, names that are one line."""

import json
import tarfile

import pytest
from test_containers import as_folder, as_tar, png

from unmelt.data import documents, images
from unmelt.data.encoded_text import decoded, encodable, json_lines, parsed, printable

BOM = b"\xef\xbb\xbf"
SEPARATED = ["one\u2028two", "a\u2029b", "c\u0085d", "e\x0bf\x0cg\x1ch", "plain"]


def _jsonl(rows, end="\n"):
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_end_with_a_line_feed_alone(tmp_path, end):
    (tmp_path / "a.jsonl").write_bytes(_jsonl([{"text": text} for text in SEPARATED], end))
    found, report = documents(tmp_path / "a.jsonl")
    assert [each.text for each in found] == SEPARATED
    assert [each.name for each in found] == [f"a.jsonl:{number}" for number in range(1, 6)]
    assert not report.refused


@pytest.mark.parametrize("kind", [as_folder, as_tar])
def test_metadata_lines_end_with_a_line_feed_alone(tmp_path, kind):
    rows = [{"file_name": f"{number}.png", "caption": text} for number, text in enumerate(SEPARATED)]
    files = {f"{number}.png": png((number, 0, 0)) for number in range(len(rows))} | {"metadata.jsonl": _jsonl(rows)}
    assert images(kind(tmp_path, files), size=4, caption="auto")[0].captions == SEPARATED


@pytest.mark.parametrize("kind", [as_folder, as_tar])
def test_a_byte_order_mark_is_no_part_of_a_caption_class_or_column(tmp_path, kind):
    pictures = {f"{number}.png": png((number, 0, 0)) for number in range(2)}
    beside = {"0.txt": BOM + b"a cat", "1.txt": b"a dog"}
    assert images(kind(tmp_path, pictures | beside), size=4, caption="auto")[0].captions == ["a cat", "a dog"]
    for name, table in {
        "metadata.csv": BOM + b"file_name,label\n0.png,x\n1.png,y\n",
        "metadata.jsonl": BOM + _jsonl([{"file_name": "0.png", "label": "x"}, {"file_name": "1.png", "label": "y"}]),
    }.items():
        (tmp_path / name).mkdir()
        assert images(kind(tmp_path / name, pictures | {name: table}), size=4)[0].classes == ("x", "y")


def test_a_byte_order_mark_is_no_part_of_a_shard_s_label(tmp_path):
    files = {"0.png": png((0, 0, 0)), "0.cls": BOM + b"3", "1.png": png((1, 0, 0)), "1.json": BOM + b'{"label": 3}'}
    assert images(as_tar(tmp_path, files), size=4)[0].classes == ("3",)


def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path):
    (tmp_path / "a.txt").write_bytes(BOM + b"hello")
    (tmp_path / "b.jsonl").write_bytes(BOM + b'{"text": "first"}\n{"text": "second"}\n')
    assert [each.text for each in documents(tmp_path)[0]] == ["hello", "first", "second"]


def test_lines_of_json_that_hold_no_text_are_left_out_and_named(tmp_path):
    lines = [b'{"text": "good"}', b"[" * 100_000, b'{"text": "bad \\ud800 half"}', b'{"text": "\xff"}', b'{"text": 1}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*lines, b'{"text": "\\ud83d\\ude00"}']))
    found, report = documents(tmp_path / "a.jsonl")
    assert [each.text for each in found] == ["good", "\U0001f600"]
    assert [each.partition(" ")[0] for each in report.refused] == [f"a.jsonl:{number}" for number in (2, 3, 4, 5)]
    assert "surrogate" in report.refused[1]


def test_half_a_surrogate_pair_in_a_caption_is_replaced(tmp_path):
    files = {"0.png": png((0, 0, 0)), "0.json": b'{"caption": "a \\ud800 cat", "label": "\\udfff"}'}
    source, _ = images(as_tar(tmp_path, files), size=4, caption="auto")
    assert source.captions == ["a \ufffd cat"]
    assert source.classes == (r"\udfff",)
    json.dumps([source.classes, source.captions], ensure_ascii=False).encode()


def test_a_broken_description_beside_an_image_is_a_broken_file(tmp_path):
    files = {f"{n}.png": png((n, 0, 0)) for n in range(3)} | {"0.json": b'{"label": "a"}', "1.json": b"[" * 100_000}
    with pytest.raises(ValueError, match="no class"):
        images(as_tar(tmp_path, files), size=4)
    source, report = images(as_tar(tmp_path, files | {"2.json": b'{"label": "b"}'}), size=4)
    assert source.classes == ("a", "b")
    assert [path.name for path, _ in report.broken] == ["1.png"]


def test_text_is_decoded_parsed_and_made_printable():
    assert decoded(BOM + "é".encode()) == "é"
    assert [value for _, value in json_lines(BOM + b'1\n\n \n"a"\r\n[2]')] == [1, "a", [2]]
    assert [number for number, _ in json_lines(b"1\n\n2")] == [1, 3]
    with pytest.raises(ValueError, match="nested too deeply"):
        parsed('{"a":' * 100_000)
    assert encodable("a\ud800b\udc00\U0001f600\ufeff") == "a\ufffdb\ufffd\U0001f600\ufeff"
    assert (
        printable("a\nb\x1b[31m\u2028\u202e\udce9 é 猫\u3000犬") == r"a\nb\x1b[31m\u2028\u202e\udce9 é 猫" + "\u3000犬"
    )


def test_names_in_reports_are_one_printable_line(tmp_path):
    (tmp_path / "good.png").write_bytes(png((1, 2, 3)))
    (tmp_path / "evil\x1b[2J\nname.png").write_bytes(b"")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a\nb\udce9.txt").write_bytes(b"")
    (tmp_path / "t" / "c.txt").write_bytes(b"text")
    for report in (images(tmp_path, size=4, label="")[1], documents(tmp_path / "t")[1]):
        assert str(report).isprintable()
        str(report).encode()


def test_tars_made_of_the_current_folder_are_read_like_others(tmp_path):
    files = {"1.png": png((0, 0, 0)), "1.cls": b"cat", "1.txt": b"a cat", "2.png": png((1, 0, 0)), "2.cls": b"dog"}
    source, _ = images(as_tar(tmp_path, {f"./{name}": content for name, content in files.items()}), 4, caption="auto")
    assert source.classes == ("cat", "dog")
    assert source.captions == ["a cat", None]
    with tarfile.open(tmp_path / "a.tar") as file:
        assert file.getnames()[0] == "./1.png"

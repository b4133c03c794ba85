"""Class k is the class that the data call k, in every container; what is no class is never made one."""

import io
import json
import unicodedata

import numpy as np
import pytest
import torch
from test_containers import _library, as_folder, as_tar, as_zip, png

from unmelt.class_labels import labels_of
from unmelt.data import images
from unmelt.data.class_names import class_name, ordered
from unmelt.errors import UsageError

NUMBERS = list(range(12))
PICTURES = {f"{n:02}.png": png((n, 0, 0)) for n in NUMBERS}


def class_folders(root):
    return as_folder(root, {f"{n}/a.png": png((n, 0, 0)) for n in NUMBERS})


def zipped_class_folders(root):
    return as_zip(root, {f"{n}/a.png": png((n, 0, 0)) for n in NUMBERS})


def csv_column(root):
    table = "file_name,label\n" + "".join(f"{n:02}.png,{n}\n" for n in NUMBERS)
    return as_folder(root, PICTURES | {"metadata.csv": table.encode()})


def json_column(root):
    table = "".join(json.dumps({"file_name": f"{n:02}.png", "label": n}) + "\n" for n in NUMBERS)
    return as_zip(root, PICTURES | {"metadata.jsonl": table.encode()})


def cls_files(root):
    return as_tar(root, PICTURES | {f"{n:02}.cls": str(n).encode() for n in NUMBERS})


def json_files(root):
    return as_tar(root, PICTURES | {f"{n:02}.json": json.dumps({"label": n}).encode() for n in NUMBERS})


def _array(root, labels):
    pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
    pixels[..., 0] = np.arange(len(labels))[:, None, None]
    np.savez(root / "a.npz", images=pixels, labels=labels)
    return root / "a.npz"


def array(root):
    return _array(root, np.array(NUMBERS))


def parquet_column(root):
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    rows = [{"image": {"bytes": png((n, 0, 0))}, "label": n} for n in NUMBERS]
    parquet.write_table(arrow.Table.from_pylist(rows), root / "t.parquet")
    return root / "t.parquet"


KINDS = [class_folders, zipped_class_folders, csv_column, json_column, cls_files, json_files, array, parquet_column]


@pytest.mark.parametrize("kind", KINDS)
def test_class_k_is_the_class_that_the_data_call_k(tmp_path, kind):
    source, report = images(kind(tmp_path), size=4)
    assert source.classes == tuple(map(str, NUMBERS))
    assert list(report.classes) == list(source.classes)
    for number in NUMBERS:
        (item,) = (source.labels == labels_of(1, number, source.classes)).nonzero()[:, 0].tolist()
        assert int(source.values[item][0, 0, 0]) == number


def test_a_number_is_the_class_that_is_called_so_and_a_tensor_holds_positions():
    classes = ("1", "2", "5")
    assert labels_of(2, 5, classes).tolist() == [2, 2]
    assert labels_of(2, [1, 2], classes).tolist() == [0, 1]
    assert labels_of(2, ["1", "2"], classes).tolist() == [0, 1]
    assert labels_of(2, torch.tensor([1, 2]), classes).tolist() == [1, 2]
    for absent in (0, 3, -1):
        with pytest.raises(UsageError, match=rf"there is no class '{absent}'; one of 1, 2, 5"):
            labels_of(1, absent, classes)
    assert labels_of(1, 1, ("cat", "dog")).tolist() == [1]
    with pytest.raises(UsageError, match="a class from 0 to 1"):
        labels_of(1, 2, ("cat", "dog"))


def test_numbers_are_ordered_by_value_and_names_as_text():
    assert ordered({"10", "9", "-1", "2"}) == ["-1", "2", "9", "10"]
    assert ordered({"10", "9", "cat"}) == ["10", "9", "cat"]
    assert ordered({"01", "1", "2.5"}) == ["01", "1", "2.5"]
    assert ordered({"b", "a", "z", "c"}, ["z", "b", "unused"]) == ["z", "b", "a", "c"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (3, "3"),
        (np.uint8(3), "3"),
        (2.0, "2"),
        (True, "True"),
        (b"cat", "cat"),
        (b"\xe9", r"\xe9"),
        (" cat \n", "cat"),
        ("a\nb\x1b", r"a\nb\x1b"),
        (unicodedata.normalize("NFD", "été"), "été"),
        ("", None),
        ("  ", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_labels_of_every_type_have_a_name(value, name):
    assert class_name(value) == name


@pytest.mark.parametrize("value", [0.5, float("inf"), ["cat"], {"a": 1}])
def test_what_is_no_single_name_or_number_is_no_class(value):
    with pytest.raises(ValueError, match=r"label"):
        class_name(value)


def test_labels_that_have_names_are_called_by_them():
    assert [class_name(k, ["cat", ""]) for k in (0, 1, -1, None)] == ["cat", "1", None, None]
    for k in (2, -2):
        with pytest.raises(ValueError, match="of 2 classes"):
            class_name(k, ["cat", "dog"])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([[3], [1], [3]]), ("1", "3")),
        (np.array([b"cat", b"dog", b"cat"]), ("cat", "dog")),
        (np.array(["cat", "été", "cat"]), ("cat", "été")),
        (np.array([True, False, True]), ("False", "True")),
        (np.array([2, 10, 2], np.uint64), ("2", "10")),
        (np.array([2.0, 10.0, 2.0], np.float16), ("2", "10")),
        (np.array([2.0, 10.0, 2.0], np.longdouble), ("2", "10")),
        (np.array([-1, 1, -1]), ("-1", "1")),
    ],
)
def test_labels_of_an_array_may_have_any_type(tmp_path, labels, classes):
    source, _ = images(_array(tmp_path, labels), size=4)
    assert source.classes == classes
    assert [source.classes[k] for k in source.labels] == [class_name(each) for each in labels.reshape(-1).tolist()]


def test_labels_of_an_array_that_are_no_classes_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"the label 0\.2 is no class"):
        images(_array(tmp_path, np.array([0.2, 1.7])), size=4)
    path = _array(tmp_path, np.array(["a", None], dtype=object))
    with pytest.raises(UsageError, match=r"labels\.astype\(str\)"):
        images(path, size=4)
    assert images(path, size=4, label="")[0].classes == ()


def _classified(root, numbers, names=("zebra", "ant", "emu")):
    """A parquet file and a data set with a ClassLabel."""
    datasets = _library("datasets")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(names)))
    rows = [{"image": {"bytes": png((n, 0, 0)), "path": None}, "label": k} for n, k in enumerate(numbers)]
    made = datasets.Dataset.from_list(rows, features=features)
    made.to_parquet(root / "t.parquet")
    made.save_to_disk(root / "d")
    return root / "t.parquet", root / "d"


def test_numbers_of_a_data_set_with_named_classes_keep_their_names_and_order(tmp_path):
    for path in _classified(tmp_path, [0, 2, 1, 0]):
        source, report = images(path, size=4)
        assert source.classes == ("zebra", "ant", "emu")
        assert source.labels.tolist() == [0, 2, 1, 0]
        assert report.classes == {"zebra": 2, "ant": 1, "emu": 1}


def test_minus_one_is_no_class_where_classes_have_names(tmp_path):
    for path in _classified(tmp_path, [0, -1, 1, -1]):
        with pytest.raises(UsageError, match=r"2 of 4 images in .* have no class"):
            images(path, size=4)
        assert len(images(path, size=4, label="")[0]) == 4


def test_a_metadata_table_with_named_classes_has_their_names(tmp_path):
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = arrow.table({"file_name": ["0.png", "1.png"], "label": [1, 0]})
    out = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), out)
    files = {f"{n}.png": png((n, 0, 0)) for n in range(2)} | {"metadata.parquet": out.getvalue()}
    source, _ = images(as_folder(tmp_path, files), size=4)
    assert [source.classes[k] for k in source.labels] == ["dog", "cat"]


def test_names_that_differ_in_case_are_two_classes_and_two_captions(tmp_path):
    files = {"Cat/a.png": png((1, 0, 0)), "cat/a.png": png((2, 0, 0)), "Cat/a.txt": b"big", "cat/a.txt": b"small"}
    for kind in (as_folder, as_zip, as_tar):
        source, _ = images(kind(tmp_path, files), size=4, caption="auto")
        assert source.classes == ("Cat", "cat")
        assert source.captions == ["big", "small"]


@pytest.mark.parametrize("table", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", [as_folder, as_zip, as_tar])
def test_accents_may_be_composed_in_the_table_and_not_in_the_file_names(tmp_path, kind, table):
    other = {"NFC": "NFD", "NFD": "NFC"}[table]
    rows = "file_name,caption,label\n./été/1.png,summer,a\nété\\2.png,late summer,b\n"
    files = {f"été/{n}.png": png((n, 0, 0)) for n in (1, 2)}
    files = {unicodedata.normalize(other, name): content for name, content in files.items()} | {
        "hiver.png": png((3, 0, 0)),
        "metadata.csv": unicodedata.normalize(table, rows + "hiver.png,winter,a\n").encode(),
    }
    source, _ = images(kind(tmp_path, files), size=4, caption="auto", label="label")
    assert dict(zip(source.values[:, 0, 0, 0].tolist(), source.captions, strict=True)) == {
        1: "summer",
        2: "late summer",
        3: "winter",
    }
    assert source.classes == ("a", "b")

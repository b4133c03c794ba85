"""The same images in every container give the same source; damaged images are reported, damaged containers refused."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from unmelt.data import images
from unmelt.errors import UsageError

COLOURS = {"red": (250, 0, 0), "blue": (0, 0, 250)}
COUNT = 3


def _library(name):
    """The module; the test is skipped where it is not installed or cannot be imported."""
    return pytest.importorskip(name, exc_type=ImportError)


def png(colour, size=(6, 6)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "png")
    return out.getvalue()


def tree(captions=False):
    """Files of a folder with two classes of plain colours: names and contents."""
    files = {}
    for name, colour in COLOURS.items():
        for number in range(COUNT):
            files[f"{name}/{number}.png"] = png(colour)
            if captions:
                files[f"{name}/{number}.txt"] = f"a {name} square".encode()
    return files


def as_folder(root, files):
    for name, content in files.items():
        (root / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "f" / name).write_bytes(content)
    return root / "f"


def as_zip(root, files, name="a.zip"):
    with zipfile.ZipFile(root / name, "w") as out:
        for inside, content in files.items():
            out.writestr(inside, content)
    return root / name


def as_tar(root, files, name="a.tar", mode="w"):
    with tarfile.open(root / name, mode) as out:
        for inside, content in files.items():
            info = tarfile.TarInfo(inside)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return root / name


def as_tar_gz(root, files):
    return as_tar(root, files, "a.tar.gz", "w:gz")


def as_zip_of_a_folder(root, files):
    return as_zip(root, {f"pets/{name}": content for name, content in files.items()} | {"__MACOSX/pets/._0.png": b"x"})


def as_shards(root, files):
    """WebDataset shards: one example for each key, its class in .cls."""
    for shard in range(2):
        part = {}
        for number, (name, content) in enumerate(files.items()):
            if name.endswith(".png") and number % 2 == shard:
                part |= {f"{number:04}.png": content, f"{number:04}.cls": name.partition("/")[0].encode()}
                if name.replace("png", "txt") in files:
                    part[f"{number:04}.txt"] = files[name.replace("png", "txt")]
        as_tar(root, part, f"s-{shard:03}.tar")
    return root / "s-{000..001}.tar"


def rows(files):
    for name, content in files.items():
        if name.endswith(".png"):
            caption = files.get(name.replace("png", "txt"))
            yield {
                "image": {"bytes": content, "path": None},
                "label": name.partition("/")[0],
                "text": None if caption is None else caption.decode(),
            }


def as_parquet(root, files):
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(list(rows(files))), root / "t.parquet", row_group_size=2)
    return root / "t.parquet"


def as_dataset(root, files):
    datasets = _library("datasets")
    columns = list(rows(files))
    names = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=sorted(COLOURS)), text=datasets.Value("string")
    )
    numbered = [row | {"label": sorted(COLOURS).index(row["label"])} for row in columns]
    datasets.Dataset.from_list(numbered, features=names).save_to_disk(root / "d")
    return root / "d"


KINDS = [as_folder, as_zip, as_zip_of_a_folder, as_tar, as_tar_gz, as_shards, as_parquet, as_dataset]


def by_class(source):
    x, labels = source.all()
    return {name: x[labels == k] for k, name in enumerate(source.classes)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_holds_the_same_images(tmp_path, kind):
    source, report = images(kind(tmp_path, tree()), size=4)
    assert source.classes == ("blue", "red")
    assert report.used == len(source) == 2 * COUNT
    assert report.classes == {"blue": COUNT, "red": COUNT}
    for name, found in by_class(source).items():
        assert torch.equal(found, (torch.tensor(COLOURS[name]) / 255)[:, None, None].expand(COUNT, 3, 4, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_captions_belong_to_their_images_in_every_container(tmp_path, kind):
    source, report = images(kind(tmp_path, tree(captions=True)), size=4, caption="auto", label="auto")
    assert report.captioned == 2 * COUNT
    for item, caption in enumerate(source.captions):
        colour = next(name for name in COLOURS if name in caption)
        assert torch.equal(source.values[item][:, 0, 0], torch.tensor(COLOURS[colour]).byte())
    _, condition = source.batch(0, 5)
    assert condition.sequence.shape[:2] == condition.sequence_mask.shape
    assert condition.sequence_mask.sum(1).tolist() == [3] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_image_is_reported_and_the_others_are_used(tmp_path, kind):
    whole = png((1, 2, 3), (40, 40))
    source, report = images(kind(tmp_path, tree() | {"red/bad.png": whole[: len(whole) // 2]}), size=4)
    assert len(source) == 2 * COUNT
    assert len(report.broken) == 1
    assert "1 file could not be read" in str(report)
    assert by_class(source)["red"].shape[0] == COUNT


@pytest.mark.parametrize("kind", [as_folder, as_zip, as_tar])
def test_images_without_a_caption_are_counted(tmp_path, kind):
    files = {name: content for name, content in tree(captions=True).items() if not name.endswith("0.txt")}
    source, report = images(kind(tmp_path, files), size=4, caption="auto")
    assert report.captioned == 2 * (COUNT - 1)
    assert f"{2 * (COUNT - 1)} with captions, 2 without" in str(report)
    assert [caption is None for caption in source.captions].count(True) == 2


@pytest.mark.parametrize("table", ["csv", "jsonl", "parquet"])
def test_metadata_tables_give_classes_and_captions(tmp_path, table):
    table_rows = [{"file_name": f"{n}.png", "kind": c, "says": f"all {c}"} for n, c in enumerate(COLOURS)]
    if table == "csv":
        text = "file_name,kind,says\n" + "".join(",".join(row.values()) + "\n" for row in table_rows)
        content = b"\xef\xbb\xbf" + text.encode()
    elif table == "jsonl":
        content = "\n".join(map(json.dumps, table_rows)).encode()
    else:
        arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(table_rows), out := io.BytesIO())
        content = out.getvalue()
    files = {f"{n}.png": png(colour) for n, colour in enumerate(COLOURS.values())} | {f"metadata.{table}": content}
    for kind in (as_folder, as_zip):
        source, report = images(kind(tmp_path, files), size=4, label="kind", caption="says")
        assert source.classes == ("blue", "red")
        assert report.captioned == 2
        assert source.captions[source.labels.tolist().index(1)] == "all red"
        with pytest.raises(UsageError, match=r"no column 'kinds'.*file_name, kind, says"):
            images(kind(tmp_path, files), size=4, label="kinds")


def test_a_metadata_table_without_file_names_is_refused(tmp_path):
    files = {"0.png": png((0, 0, 0)), "metadata.csv": b"image,caption\n0.png,night\n"}
    with pytest.raises(UsageError, match=r"metadata.csv has no column 'file_name'"):
        images(as_folder(tmp_path, files), size=4, caption="auto")
    (tmp_path / "f" / "metadata.csv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(UsageError, match=r"metadata.csv cannot be read"):
        images(tmp_path / "f", size=4)


@pytest.mark.parametrize("kind", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize("column", ["label", "caption"])
def test_a_named_column_without_a_table_is_refused(tmp_path, kind, column):
    with pytest.raises(UsageError, match=rf"{column}='kind', but nothing in .* has columns.*Try: {column}='auto'"):
        images(kind(tmp_path, tree(captions=True)), size=4, **{column: "kind"})


@pytest.mark.parametrize("kind", [as_folder, as_zip, as_tar])
def test_a_named_column_overrides_class_folders(tmp_path, kind):
    names = [name for name in tree() if name.endswith(".png")]
    table = "file_name,kind\n" + "".join(f"{name},{number % 3}\n" for number, name in enumerate(names))
    source, _ = images(kind(tmp_path, tree() | {"metadata.csv": table.encode()}), size=4, label="kind")
    assert source.classes == ("0", "1", "2")
    assert source.labels.bincount().tolist() == [2, 2, 2]


def test_an_empty_label_means_no_classes(tmp_path):
    for kind in (as_folder, as_zip, as_parquet):
        source, _ = images(kind(tmp_path, tree() | {"loose.png": png((0, 0, 0))}), size=4, label="")
        assert source.classes == ()
        assert len(source) == 2 * COUNT + 1


def test_captions_asked_for_where_there_are_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no captions in"):
        images(as_folder(tmp_path, tree()), size=4, caption="auto")


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.full((3, 8, 8), 100, np.uint8), 3),
        (np.full((3, 8, 8, 1), 100, np.uint8), 3),
        (np.full((3, 8, 8, 3), 100, np.uint8), 3),
        (np.full((3, 3, 8, 8), 100, np.uint8), 3),
        (np.full((3, 8, 8), 100 / 255, np.float32), 3),
    ],
)
def test_arrays_of_every_layout_are_read(tmp_path, array, count):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", images=array, labels=np.arange(count) % 2)
    for name in ("a.npy", "a.npz"):
        source, _ = images(tmp_path / name, size=4)
        assert (source.values == 100).all()
        assert source.values.shape == (count, 3, 4, 4)
    assert source.classes == ("0", "1")


def test_a_named_vector_of_an_npz_is_the_classes(tmp_path):
    path, pixels = tmp_path / "a.npz", np.full((4, 8, 8), 100, np.uint8)
    np.savez(path, images=pixels, weight=np.arange(4), kind=np.array(["a", "b", "a", "b"]))
    assert images(path, size=4, label="kind")[0].classes == ("a", "b")
    with pytest.raises(UsageError, match=r"no column 'kinds'.*Try: label='kind'"):
        images(path, size=4, label="kinds")
    np.savez(path, images=pixels)
    with pytest.raises(UsageError, match=r"label='kind', but nothing in .* has columns"):
        images(path, size=4, label="kind")
    assert images(path, size=4)[0].classes == ()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 8), np.uint8), "three or four dimensions"),
        (np.zeros((3, 8, 8), np.int32), "int32"),
        (np.full((2, 8, 8), 7.0), "floats outside 0 to 1"),
        (np.zeros((2, 8, 8, 7), np.uint8), "1, 3 or 4 channels"),
        (np.array([{"a": 1}], dtype=object), "cannot be read"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UsageError, match=reason):
        images(tmp_path / "a.npy", size=4)


@pytest.mark.parametrize("kind", [as_zip, as_tar, as_tar_gz, as_parquet])
def test_damaged_containers_are_usage_errors(tmp_path, kind):
    path = kind(tmp_path, tree())
    content = path.read_bytes()
    for damage in (content[: len(content) // 3], b"", b"not at all" * 30):
        path.write_bytes(damage)
        with pytest.raises(UsageError):
            images(path, size=4)


def test_missing_shards_are_named(tmp_path):
    as_shards(tmp_path, tree())
    with pytest.raises(UsageError, match=r"s-002\.tar"):
        images(tmp_path / "s-{000..002}.tar", size=4)


def test_parquet_files_without_an_image_column_are_refused(tmp_path):
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    parquet.write_table(arrow.table({"words": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="no column of images"):
        images(tmp_path / "t.parquet", size=4)
    parquet.write_table(arrow.table({"image": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="not the bytes of an image"):
        images(tmp_path / "t.parquet", size=4)
    with pytest.raises(UsageError, match="no column 'wrong'"):
        images(as_parquet(tmp_path, tree()), size=4, caption="wrong")


def test_a_large_data_set_is_memory_mapped_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    folder = as_folder(tmp_path, tree() | {"red/bad.png": b""})
    in_memory, _ = images(folder, size=4)
    monkeypatch.setattr("unmelt.data.pixel_cache.IN_MEMORY", 0)
    mapped, report = images(folder, size=4)
    (cached,) = (tmp_path / "cache").glob("*.pixels")
    made = cached.stat().st_mtime_ns
    again, _ = images(folder, size=4)
    assert cached.stat().st_mtime_ns == made  # read, not made anew
    assert report.broken[0][1] == "empty file"
    for source in (mapped, again):
        for here, there in zip(source.split(0.3, by="position"), in_memory.split(0.3, by="position"), strict=True):
            assert torch.equal(here.batch(0, 5)[0], there.batch(0, 5)[0])
    (folder / "red" / "bad.png").write_bytes(png(COLOURS["red"]))
    assert len(images(folder, size=4)[0]) == 2 * COUNT + 1  # the folder changed, and with it the cache
    monkeypatch.setenv("UNMELT_CACHE", "/proc/nowhere")
    with pytest.raises(UsageError, match="cache of decoded images"):
        images(folder, size=4)


def test_a_row_group_of_parquet_is_read_once_for_all_of_its_images(tmp_path, monkeypatch):
    reader = _library("pyarrow.parquet")
    path = as_parquet(tmp_path, tree())
    read, read_row_group = [], reader.ParquetFile.read_row_group

    def spy(self, group, *args, **options):
        read.append(group)
        return read_row_group(self, group, *args, **options)

    monkeypatch.setattr(reader.ParquetFile, "read_row_group", spy)
    images(path, 4)
    assert sorted(read) == [0, 1, 2]

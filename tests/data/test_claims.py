"""Sizes that headers claim are compared with what there is; small files that unpack to gigabytes are not unpacked."""

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from test_containers import _library, as_folder, as_tar, as_zip, png

from unmelt.data import files, images
from unmelt.errors import UsageError

GOOD = {"good.png": png((1, 2, 3))}


@pytest.fixture(autouse=True)
def little_memory():
    """Python's and numpy's memory in a test stays far below what the files claim."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


def _zeros(path, name, size, before=b""):
    """A zip with one good image and a member of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("good.png", GOOD["good.png"])
        with out.open(name, "w", force_zip64=True) as file:
            file.write(before)
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return path


def _header(shape, dtype):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue()


@pytest.mark.parametrize("megabytes", [100, 300])
def test_bombs_in_a_zip_are_broken_files(tmp_path, megabytes):
    source, report = images(_zeros(tmp_path / "a.zip", "bomb.png", megabytes << 20), size=4)
    assert len(source) == 1
    assert [path.name for path, _ in report.broken] == ["bomb.png"]
    with pytest.raises(UsageError, match=r"metadata\.csv cannot be read"):
        images(_zeros(tmp_path / "b.zip", "metadata.csv", megabytes << 20), size=4)


def test_an_npz_that_unpacks_to_far_more_than_it_has_is_refused(tmp_path):
    path = _zeros(tmp_path / "a.npz", "images.npy", 300 << 20, _header((300 << 14, 8, 8), "|u1"))
    with pytest.raises(UsageError, match="decompression bomb"):
        images(path, size=4)


@pytest.mark.parametrize(
    "shape", [(2**50, 8, 8), (2**62, 2**62, 2**62), (2**60, 0, 8), (5, 0, 8), (0, 8, 8), (5, 8, 8)]
)
@pytest.mark.parametrize("dtype", ["|u1", "<f4", "<U0"])
def test_arrays_that_claim_more_than_they_have_are_refused(tmp_path, shape, dtype):
    (tmp_path / "a.npy").write_bytes(_header(shape, dtype))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out:
        out.writestr("images.npy", _header(shape, dtype))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UsageError, match=r"claimed of|no pixel|at least one|holds"):
            images(tmp_path / name, size=4)


def test_an_npz_reads_nothing_but_images_and_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=[0, 1, 1], notes=np.array({}, object))
    assert images(tmp_path / "a.npz", size=4)[0].labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_a_tar_that_claims_more_than_it_has_is_refused(tmp_path, kind):
    about = tarfile.TarInfo("big.png")
    about.size, about.type = 1 << 50, kind
    content = about.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    for name, damaged in (("a.tar", content), ("a.tar.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UsageError, match="cannot be read"):
            images(tmp_path / name, size=4)


def test_a_compressed_tar_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path):
    about = tarfile.TarInfo("big.png")
    about.size = 300 << 20
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as out:
        out.write(about.tobuf())
        for _ in range(301):
            out.write(bytes(1 << 20))
    with pytest.raises(UsageError, match="decompression bomb"):
        images(tmp_path / "a.tar.gz", size=4)


def test_links_and_devices_in_a_tar_are_broken_files_and_hard_links_are_files(tmp_path):
    path = as_tar(tmp_path, {"./good.png": GOOD["good.png"]})
    kinds = {"soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "away": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE}
    with tarfile.open(path, "a") as out:
        for name, kind in kinds.items():
            about = tarfile.TarInfo(f"{name}.png")
            about.type, about.linkname = kind, "/etc/hostname" if name == "away" else "good.png"
            out.addfile(about)
        about = tarfile.TarInfo("../out.png")
        about.size = len(GOOD["good.png"])
        out.addfile(about, io.BytesIO(GOOD["good.png"]))
    source, report = images(path, size=4)
    assert len(source) == 2
    assert {path.name for path, _ in report.broken} == {"soft.png", "away.png", "pipe.png", "out.png"}


def test_a_range_of_shards_ends_at_the_first_that_is_missing(tmp_path):
    as_tar(tmp_path, GOOD, "s-0.tar")
    with pytest.raises(UsageError, match=r"there is no .*s-1\.tar"):
        images(tmp_path / "s-{0..99999999999}.tar", size=4)


def test_one_damaged_shard_is_a_broken_file_and_all_of_them_an_error(tmp_path):
    for number in range(2):
        as_tar(tmp_path, {"0.png": png((number, 0, 0))}, f"s-{number}.tar")
    (tmp_path / "s-0.tar").write_bytes(b"not at all" * 300)
    source, report = images(tmp_path / "s-{0..1}.tar", size=4)
    assert len(source) == 1
    assert [path.name for path, _ in report.broken] == ["s-0.tar"]
    (tmp_path / "s-1.tar").write_bytes(b"")
    with pytest.raises(UsageError, match=r"s-0\.tar cannot be read"):
        images(tmp_path / "s-{0..1}.tar", size=4)


def _png(width, height, colour_type, depth, pixels, transparent=None):
    def block(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    clear = b"" if transparent is None else block(b"tRNS", transparent)
    head = block(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + clear + block(b"IDAT", zlib.compress(pixels)) + block(b"IEND", b"")


@pytest.mark.parametrize(
    ("colour_type", "depth", "row", "transparent"),
    [
        (0, 1, b"\x40", b"\0\1"),
        (0, 2, b"\x20", b"\0\2"),
        (0, 4, b"\x0a", b"\0\x0a"),
        (0, 8, b"\0\x64", b"\0\x64"),
        (0, 16, b"\0\0\x64\x07", b"\x64\x07"),
        (2, 8, b"\0\0\0\1\2\3", b"\0\1\0\2\0\3"),
        (2, 16, b"\0\0\0\0\0\0\x10\x01\x20\x02\x30\x03", b"\x10\x01\x20\x02\x30\x03"),
    ],
)
def test_the_transparent_colour_of_a_png_of_any_depth_is_white(tmp_path, colour_type, depth, row, transparent):
    """Two pixels side by side, two high: the left ones black, the right ones of the transparent colour."""
    picture = _png(2, 2, colour_type, depth, (b"\0" + row) * 2, transparent)
    source, _ = images(as_folder(tmp_path, {"0.png": picture}), size=2)
    assert (source.values[0, :, :, 1] == 255).all()
    assert (source.values[0, :, :, 0] == 0).all()


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    values = np.array([0, 128, 129, 385, 386, 65406, 65407, 65535, 257 * 100], np.uint16)
    for number, value in enumerate(values):
        row = b"\0" + int(value).to_bytes(2, "big")
        (tmp_path / f"{number}.png").write_bytes(_png(1, 1, 0, 16, row))
    found = images(tmp_path, size=1, channels=1)[0].values.flatten().tolist()
    assert found == [round(int(value) / 257) for value in values]


def test_images_without_pixels_and_programs_are_broken_files(tmp_path):
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    wrong = {"0.png": program, "1.png": _png(4, 0, 0, 8, b""), "2.bmp": b"BM" + bytes(60)}
    source, report = images(as_zip(tmp_path, GOOD | wrong), size=4)
    assert len(source) == 1
    assert {path.name for path, _ in report.broken} == set(wrong)
    assert "PostScript" in {path.name: reason for path, reason in report.broken}["0.png"]


def _paths(root, paths):
    arrow, parquet = _library("pyarrow"), _library("pyarrow.parquet")
    rows = [{"image": {"bytes": None, "path": path}} for path in paths]
    rows.append({"image": {"bytes": GOOD["good.png"], "path": "anything"}})
    root.mkdir(exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), root / "t.parquet")
    return root / "t.parquet"


def test_a_table_names_files_beside_it_and_no_others(tmp_path):
    (tmp_path / "private.png").write_bytes(png((9, 9, 9)))
    inside = tmp_path / "d"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "0.png").write_bytes(png((4, 4, 4)))
    (inside / "link.png").symlink_to(tmp_path / "private.png")
    private = str(tmp_path / "private.png")
    wrong = [
        "../private.png",
        private,
        "link.png",
        "/dev/zero",
        "C:\\x.png",
        "\\\\host\\x.png",
        "deep/../../private.png",
    ]
    wrong += ["https://example.com/x.png", f"file://{private}", "", "deep", "missing.png"]
    source, report = images(_paths(inside, [*wrong, "deep/0.png"]), size=4)
    assert source.values[:, 0, 0, 0].tolist() == [4, 1]
    assert len(report.broken) == len(wrong)


def test_a_data_set_names_files_in_its_folder_and_no_others(tmp_path):
    datasets = _library("datasets")
    (tmp_path / "private.png").write_bytes(png((9, 9, 9)))
    rows = [
        {"image": {"bytes": None, "path": str(tmp_path / "private.png")}},
        {"image": {"bytes": None, "path": "0.png"}},
    ]
    plain = datasets.Features(image={"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    datasets.Dataset.from_list(rows, features=plain).save_to_disk(tmp_path / "d")
    (tmp_path / "d" / "0.png").write_bytes(png((5, 5, 5)))
    source, report = images(tmp_path / "d", size=4)
    assert source.values[:, 0, 0, 0].tolist() == [5]
    assert len(report.broken) == 1


def test_more_rows_than_bits_are_refused(tmp_path):
    parquet = _library("unmelt.data.parquet")

    class Claims:
        class metadata:  # noqa: N801
            num_rows = 1 << 40

    with pytest.raises(ValueError, match="rows claimed"):
        parquet._checked(Claims, 1000)


def test_what_unpacks_to_little_may_grow_as_it_likes():
    files.check_expansion(16 << 20, 1)
    files.check_expansion(1 << 40, 1 << 33)
    with pytest.raises(ValueError, match="bomb"):
        files.check_expansion(17 << 20, 1000)

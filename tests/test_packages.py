"""Packages: built twice they are the same bytes, and the wheel alone samples and says what is missing."""

import importlib.util
import subprocess
import sys
import tarfile
import zipfile

import pytest
from doc_pages import ROOT

pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def packing():
    spec = importlib.util.spec_from_file_location("try_packages", ROOT / "tools" / "try_packages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_builds_are_the_same_bytes_and_hold_what_they_must(packing, tmp_path):
    dates = {"a": packing.EPOCH, "b": packing.EPOCH + 86_400}
    made = [
        packing.built(packing.copied(tmp_path / each, date), tmp_path / f"dist-{each}") for each, date in dates.items()
    ]
    assert made[0] == made[1]
    wheel, sdist = (next((tmp_path / "dist-a").glob(each)) for each in ("*.whl", "*.tar.gz"))
    inside = zipfile.ZipFile(wheel).namelist()
    for name in ("py.typed", "shipped/emoji/model.safetensors", "scene/sprites.png", "serve/page/index.html"):
        assert f"unmelt/{name}" in inside
    assert not [name for name in inside if not name.startswith(("unmelt/", "unmelt-"))]
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/doc_pages.py"} <= names
    (tmp_path / "b" / "README.md").write_text("other", encoding="utf-8")
    assert packing.built(tmp_path / "b", tmp_path / "dist-c") != made[0]


@pytest.mark.slow
def test_the_wheel_alone_samples_shows_help_and_says_what_to_install():
    done = subprocess.run([sys.executable, ROOT / "tools" / "try_packages.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a picture in" in done.stdout

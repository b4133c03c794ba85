"""The pages of the site: their Python runs as written, and every public name has a place in the reference."""

import importlib.util
import subprocess
import sys

import pytest
from doc_pages import DOCS, ROOT, run_page, text_of
from PIL import Image

import unmelt as um

PAGES = sorted([DOCS / "index.md", *(DOCS / "start").glob("*.md"), *(DOCS / "theory").glob("*.md")])


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "site" / "reference" / "unmelt.process.html").read_text(encoding="utf-8")
    assert "unmelt.process.gaussian.Gaussian.corrupt" in page


def site():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "tools" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    for number in range(24):
        Image.new("RGB", (20, 18), (10 * number, 90, 200 - 8 * number)).save(tmp_path / "faces" / f"{number}.png")
    address = "http://127.0.0.1:8000"
    if address not in text_of(page):
        run_page(page)
        return
    for package in ("openai", "uvicorn", "multipart"):
        pytest.importorskip(package)
    from serve.running import served

    with served({"emoji": um.load("emoji", "cpu")}, um.serve.ServerSettings()) as where:
        run_page(page, changes={address: where})


def test_every_public_name_is_in_the_reference():
    pages = site().reference_pages()
    missing = []
    for module in ["unmelt", *site().public_modules()]:
        for name, place in site().public_names(module).items():
            described = [page for page, text in pages.items() if f"::: {place}" in text.splitlines()]
            page = f"reference/{module}.md"
            if len(described) != 1 or (page not in described and f"[`{name}`][{place}]" not in pages[page]):
                missing.append(f"{module}.{name}")
    assert not missing
    assert "reference/unmelt.sampler.tokens.md" in pages
    assert "::: unmelt.process.gaussian.Gaussian" in pages["reference/unmelt.process.md"]
    assert set(um.__all__) >= {name.split(".")[1] for name in site().public_modules() if name.count(".") == 1}


def test_links_to_tables_lead_to_pages_of_the_site():
    class Page:
        class file:  # noqa: N801
            src_uri = "start/a.md"

    given = "[a](../../bench/results/solvers.md), [b](../../src/unmelt/rng.py), [c](../data.md)"
    assert site().on_page_markdown(given, Page) == "[a](../measured/solvers.md), b, [c](../data.md)"
    assert "measured/solvers.md" in site().measured_pages()

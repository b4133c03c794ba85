"""Every chapter as a file: well formed, listed, and right when it is run as a script."""

import itertools
import subprocess
import sys

import pytest

from unmelt.errors import UsageError
from unmelt.lab import contents, opening

CHAPTERS = contents.chapters()


def test_marimo_finds_nothing_to_say():
    paths = [str(chapter.path) for chapter in CHAPTERS]
    found = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", *paths], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_contents_are_the_folder(tmp_path):
    assert [each.number for each in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))
    for number, name in ((2, "two_things"), (10, "later"), (1, "first")):
        (tmp_path / f"ch{number}_{name}.py").write_text(f'"""Title {number}.\n\nA <story>\nof {number}.\n\nMore."""\n')
    (tmp_path / "notes.py").write_text("")
    found = contents.chapters(tmp_path)
    assert [(each.number, each.name, each.title, each.story) for each in found] == [
        (1, "first", "Title 1", "A <story> of 1."),
        (2, "two-things", "Title 2", "A <story> of 2."),
        (10, "later", "Title 10", "A <story> of 10."),
    ]
    page = contents.page(tmp_path)
    assert "A &lt;story&gt; of 10." in page
    assert page.index("Title 2") < page.index("Title 10")


def test_a_chapter_knows_its_neighbours():
    for before, after in itertools.pairwise(CHAPTERS):
        assert f'href="../{after.name}/" rel="next"' in opening(before.name)
        assert f'href="../{before.name}/" rel="prev"' in opening(after.name)
    with pytest.raises(UsageError, match="one of melting"):
        opening("freezing")

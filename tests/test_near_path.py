"""A path that does not exist, or holds something else, is answered with what there is near it."""

import pytest

import unmelt as um
from unmelt.errors import UsageError
from unmelt.near_path import near


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/faces", "data/pets/cat", "books"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "runs/faces" / name).write_text("{}", encoding="utf-8")
    (tmp_path / "data/pets/cat/a.png").write_bytes(b"")
    (tmp_path / "books/a.txt").write_text("a", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("runs/fases", "runs/faces"),
        ("run/faces", "runs/faces"),
        ("faces", "runs/faces"),
        ("Books", "books"),
        ("data/data/pets", "data/pets"),
        ("nothing-like-it", None),
    ],
)
def test_a_path_of_a_similar_name_is_found(tree, path, found):
    from pathlib import Path

    assert near(Path(path)) == (None if found is None else Path(found))


@pytest.mark.parametrize(
    ("folder", "instead"),
    [
        ("runs/fases", "um.load('runs/faces')"),
        ("runs", "um.load('runs/faces')"),
        ("data/pets", "um.recipe.images(folder='data/pets').fit()"),
        ("books", "um.recipe.text(folder='books').fit()"),
        ("nope", "um.recipe.digits().fit(out='runs/digits')"),
    ],
)
def test_what_is_no_run_is_answered_with_a_run_or_what_it_is(tree, folder, instead):
    with pytest.raises(UsageError) as caught:
        um.load(folder)
    assert caught.value.instead == instead


def test_a_folder_inside_a_run_is_answered_with_the_run(tree):
    (tree / "runs/faces/samples").mkdir()
    with pytest.raises(UsageError, match="is inside a run") as caught:
        um.load("runs/faces/samples")
    assert caught.value.instead == f"um.load({str(tree / 'runs/faces')!r})"


def test_data_are_found_near_and_a_run_is_no_data(tree):
    with pytest.raises(UsageError) as caught:
        um.data.images("data/pats", 8)
    assert caught.value.instead == "folder='data/pets'"
    with pytest.raises(UsageError) as caught:
        um.data.documents("boks")
    assert caught.value.instead == "folder='books'"
    for read in (lambda path: um.data.images(path, 8), um.data.documents):
        with pytest.raises(UsageError, match="is a run folder") as caught:
            read("runs/faces")
        assert caught.value.instead == "um.load('runs/faces').sample(16)"

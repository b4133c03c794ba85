"""Text for models that start from a language model."""

import pytest


@pytest.fixture
def books(tmp_path):
    (tmp_path / "books").mkdir()
    for k in range(6):
        (tmp_path / "books" / f"{k}.txt").write_text(f"the sea was calm {k}, and the wind fell. " * 4, encoding="utf-8")
    return tmp_path / "books"

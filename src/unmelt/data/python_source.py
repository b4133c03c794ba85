"""The source code of Python's standard library: a real corpus that every Python installation has.

Tests are left out, and so are generated files: code pages and the help system's copy of the manual.
"""

import sysconfig
from pathlib import Path

from unmelt.data.text import Document, documents

TESTS = ("test", "tests", "idle_test", "site-packages")
GENERATED = ("encodings", "pydoc_data")


def python_source() -> list[Document]:
    """One document for each module of the standard library, named by its path and sorted by it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if set(parts[:-1]) & {*TESTS, *GENERATED} or path.name.startswith("test_") or not path.stat().st_size:
            continue
        try:
            found.append(Document("/".join(parts), documents(path)[0][0].text))
        except ValueError:  # not UTF-8: a test of encodings, or damage
            continue
    return found

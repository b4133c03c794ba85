"""One lab and one browser for all tests of a process; where there is no browser, the summary says so loudly."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import chromium


def pytest_terminal_summary(terminalreporter):
    if chromium.MISSING:
        terminalreporter.write_sep("!", chromium.MISSING, red=True, bold=True)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    # What chapters train goes where the environment says, or else is trained anew.
    cache = os.environ.get("UNMELT_CACHE") or str(tmp_path_factory.mktemp("cache"))
    with chromium.served(UNMELT_CACHE=cache) as (_, address):
        yield address


@pytest.fixture(scope="session")
def browser():
    if chromium.MISSING:
        pytest.skip(chromium.MISSING)
    with chromium.browser() as opened:
        yield opened


@pytest.fixture
def visitor(browser, lab):
    with chromium.visit(browser, lab) as visit:
        yield visit

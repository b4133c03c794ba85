"""One lab for all tests of a process."""

import os

import pytest
from lab import chromium


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    # What chapters train goes where the environment says, or else is trained anew.
    cache = os.environ.get("UNMELT_CACHE") or str(tmp_path_factory.mktemp("cache"))
    with chromium.served(UNMELT_CACHE=cache) as (_, address):
        yield address


@pytest.fixture
def visitor(browser, lab):
    with chromium.visit(browser, lab) as visit:
        yield visit

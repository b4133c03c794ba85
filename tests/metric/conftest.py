import pytest

from unmelt.data import digits
from unmelt.metric import Judge


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Fitted once to the training digits: it takes seconds."""
    return Judge.fit(*digits().all())

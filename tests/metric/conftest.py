import pytest

from unmelt.data import digits
from unmelt.metric import Classifier


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """Fitted once to the training digits, which takes seconds."""
    return Classifier.fit(*digits().all())

import pytest

from unmelt.data import digits
from unmelt.metric import Classifier


@pytest.fixture(scope="session")
def judge() -> Classifier:
    """GaussianMixtureDenoiser once to the training digits: it takes seconds."""
    return Classifier.fit(*digits().all())

"""What is particular to the MLP."""

import pytest
import torch
from networks import NETWORKS, awake

from unmelt.backbone import MLP
from unmelt.errors import UsageError


def test_far_from_the_data_it_is_a_straight_line():
    """The blocks see x normalised, so that what they add stays bounded."""
    network = awake(NETWORKS["mlp"]()).double()
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    near, far, farther = (network(s * x, torch.zeros(1, dtype=torch.float64)) for s in (1e6, 2e6, 3e6))
    torch.testing.assert_close(farther - far, far - near, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("arguments", "instead"), [({"width": 0}, "width=1"), ({"shape": ()}, "dimensions=1")])
def test_bad_arguments_come_with_a_correction(arguments, instead):
    with pytest.raises(UsageError, match=f"Try: .*{instead}"):
        MLP(**{"shape": (2,)} | arguments)

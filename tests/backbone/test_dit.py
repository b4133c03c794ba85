"""What is particular to the transformer."""

import pytest
import torch
from networks import awake

from unmelt.backbone import DiT
from unmelt.backbone.embed import position_embedding
from unmelt.errors import UsageError
from unmelt.rng import seeded


def test_one_number_is_a_patch_for_every_dimension():
    assert DiT(channels=1, size=(4, 6), patch=2, width=16).patch == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        ({"patch": 3}, r"patch=\(1, 3\)"),
        ({"patch": (2, 2, 2)}, r"patch=\(2, 2\)"),
        ({"patch": 0}, r"patch=1"),
        ({"heads": 5}, r"heads=4"),
        ({"depth": 0}, r"depth=1"),
        ({"mlp_ratio": 0.0}, r"mlp_ratio=4.0"),
    ],
)
def test_bad_arguments_come_with_a_correction(arguments, instead):
    with pytest.raises(UsageError, match=f"Try: .*{instead}"):
        DiT(**{"channels": 1, "size": (4, 6), "width": 16} | arguments)


def test_on_its_own_grid_a_network_of_any_size_is_the_one_of_one_size():
    with seeded(0):
        fixed = awake(DiT(channels=1, size=(4, 6), width=16, depth=1, heads=2))
    free = DiT(channels=1, size=(4, 6), any_size=True, width=16, depth=1, heads=2).eval()
    free.load_state_dict(fixed.state_dict())
    x, level = torch.randn(2, 1, 4, 6), torch.zeros(2)
    assert torch.equal(free(x, level), fixed(x, level))
    assert free(torch.randn(2, 1, 2, 8), level).shape == (2, 1, 2, 8)
    assert not fixed.takes_any_size
    assert free.takes_any_size
    with pytest.raises(UsageError, match="this DiT was made for"):
        fixed(torch.randn(2, 1, 2, 8), level)
    with pytest.raises(UsageError, match="multiples of"):
        free(torch.randn(2, 1, 3, 8), level)


def test_places_of_another_grid_lie_between_those_of_its_own():
    """Each of twice as many places lies a quarter beside one. One alone lies in the middle of all."""
    own = position_embedding((3,), 8)
    torch.testing.assert_close(position_embedding((3,), 8, (3,)), own)
    finer, places = position_embedding((6,), 8, (3,)), torch.tensor([-0.25, 0.25, 0.75, 1.25, 1.75, 2.25])
    frequency = 10_000.0 ** (-torch.arange(4) / 4)
    torch.testing.assert_close(finer[:, :4], (places[:, None] * frequency).sin())
    torch.testing.assert_close(position_embedding((1,), 8, (3,))[0], own[1])

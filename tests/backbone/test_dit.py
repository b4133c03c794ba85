"""What is particular to the transformer."""

import pytest

from unmelt.backbone import DiT
from unmelt.errors import UsageError


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

"""What an annotation allows, and what becomes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.arguments.values import MISMATCH, converted, needed, shown
from unmelt.sampler import DDIM, Sampler


@pytest.mark.parametrize(
    ("hint", "value", "result"),
    [
        (int, 3, 3),
        (int, np.int64(3), 3),
        (int, torch.tensor(3), 3),
        (int, np.array(3), 3),
        (int, True, MISMATCH),
        (int, np.bool_(True), MISMATCH),
        (int, 3.0, MISMATCH),
        (int, "3", MISMATCH),
        (int, None, MISMATCH),
        (float, 3, 3),
        (float, np.float32(0.5), 0.5),
        (float, torch.tensor(0.5), 0.5),
        (float, True, MISMATCH),
        (float, "0.5", MISMATCH),
        (bool, True, True),
        (bool, np.bool_(False), False),
        (bool, 1, MISMATCH),
        (str, "a", "a"),
        (str, Path("a"), MISMATCH),
        (str | Path, Path("a"), Path("a")),
        (str | Path, 3, MISMATCH),
        (int | None, None, None),
        (int | None, np.int32(2), 2),
        (int | Sequence[int], np.array([1, 2]), [1, 2]),
        (int | Sequence[int], torch.tensor([1, 2]), [1, 2]),
        (int | Sequence[int], (np.int64(1), 2), [1, 2]),
        (int | Sequence[int], [1, 2.5], MISMATCH),
        (int | Sequence[int], "12", MISMATCH),
        (Sequence[str], ["a"], ["a"]),
        (Sequence[str], "a", MISMATCH),
        (tuple[float, float], (0, 1), (0, 1)),
        (tuple[float, float], [0.1, np.float64(0.5)], (0.1, 0.5)),
        (tuple[float, float], (0, 1, 2), MISMATCH),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (Literal["a", "b"], "a", "a"),
        (Literal["a", "b"], "c", MISMATCH),
        (Literal[1, 3], True, MISMATCH),
        (torch.dtype, torch.float32, torch.float32),
        (torch.dtype, "float32", MISMATCH),
        (Sampler, DDIM(), DDIM()),
        (Sampler, DDIM, MISMATCH),
        (Sampler, "ddim", MISMATCH),
        (Sampler | None, None, None),
        (Float[Tensor, "n"], [1.0], MISMATCH),
        (Callable[[int], int], "anything", "anything"),
        (Any, "anything", "anything"),
    ],
)
def test_a_value_is_taken_as_its_annotation_says(hint, value, result):
    found = converted(hint, value)
    assert found is result if result is MISMATCH or result is None else found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("hint", "value", "fits"),
    [
        (Float[Tensor, "n"], torch.zeros(2), True),
        (Float[Tensor, "n"], torch.zeros(2, dtype=torch.float64), True),
        (Float[Tensor, "n"], torch.zeros(2, dtype=torch.uint8), False),
        (Bool[Tensor, "n"], torch.zeros(2), False),
        (Int64[Tensor, "n"], torch.zeros(2, dtype=torch.int64), True),
        (Tensor, torch.zeros(2), True),
        (Tensor, "x", False),
    ],
)
def test_tensors_are_of_the_number_type_that_the_annotation_names(hint, value, fits):
    assert (converted(hint, value) is value) == fits
    assert (converted(hint, value) is MISMATCH) != fits


def test_an_array_of_numpy_becomes_a_tensor():
    found = converted(Float[Tensor, "n"], np.array([1.0, 2.0]))
    assert torch.equal(found, torch.tensor([1.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (int | None, "a whole number"),
        (str | Path, "a path"),
        (Literal["a", "b"], "'a' or 'b'"),
        (int | Sequence[int] | None, "a whole number or a list of whole numbers"),
        (Sampler | None, "a Sampler object"),
        (tuple[float, float], "(number, number)"),
        (Float[Tensor, "n"], "a tensor of floats"),
    ],
)
def test_what_is_needed_is_said_in_words(hint, said):
    assert needed(hint) == said


def test_values_are_shown_short():
    assert shown("a") == "'a'"
    assert shown(DDIM) == "DDIM (the class, not an object of it)"
    assert shown(torch.zeros(2, 3)) == "a tensor of float32 and shape (2, 3)"
    assert shown(list(range(1000))) == "<list>"

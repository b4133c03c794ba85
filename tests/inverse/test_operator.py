"""Operators are linear, their adjoints are adjoints, and each measures what it says."""

import pytest
import torch
from conformance.subjects import F64

from unmelt.errors import UsageError
from unmelt.inverse import Blur, Downsample, Inpainting, Masking, Matrix

HALF = torch.arange(24).view(1, 4, 6) % 3 > 0
CASES = {
    "mask": (Inpainting(HALF), (1, 4, 6)),
    "mask in place": (Masking(HALF), (1, 4, 6)),
    "blocks of a line": (Downsample(3), (2, 12)),
    "blocks": (Downsample(2), (3, 4, 6)),
    "blocks of a volume": (Downsample(2), (1, 4, 2, 6)),
    "blurred line": (Blur.gaussian(0.8, dims=1), (2, 9)),
    "blurred image": (Blur.gaussian(1.3), (2, 7, 8)),
    "blurred volume": (Blur.gaussian(0.5, dims=3), (1, 5, 4, 6)),
    "lopsided kernel": (Blur(torch.rand(3, 5, dtype=F64)), (1, 6, 6)),
    "matrix": (Matrix(torch.randn(3, 8, dtype=F64)), (2, 4)),
}


@pytest.mark.parametrize("case", CASES)
def test_forward_and_adjoint_satisfy_the_inner_product_identity(case):
    """<A x, y> = <x, A' y>, with gradients off as well."""
    operator, shape = CASES[case]
    x = torch.randn(5, *shape, dtype=F64)
    measured = operator.forward(x)
    y = torch.randn_like(measured)
    with torch.no_grad():
        back = operator.adjoint(y, shape)
    assert back.shape == x.shape
    one, other = (measured * y).flatten(1).sum(1), (x * back).flatten(1).sum(1)
    assert (one - other).abs().max() < 1e-12
    assert not back.requires_grad


@pytest.mark.parametrize("case", CASES)
def test_forward_is_linear_and_keeps_the_precision(case):
    operator, shape = CASES[case]
    a, b = torch.randn(2, 3, *shape, dtype=F64)
    torch.testing.assert_close(operator.forward(2 * a - b), 2 * operator.forward(a) - operator.forward(b))
    assert operator.forward(a.float()).dtype == torch.float32


def test_operators_measure_means_selections_and_convolutions():
    x = torch.arange(16, dtype=F64).view(1, 1, 4, 4)
    assert Downsample(2).forward(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert Inpainting(x[0] > 12).forward(x).tolist() == [[13.0, 14.0, 15.0]]
    shifted = Blur(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=F64)).forward(x)
    assert torch.equal(shifted[..., :3], x[..., 1:])
    assert torch.equal(shifted[..., 3], x[..., 3])
    flat = Blur.gaussian(2.0).forward(torch.full((1, 1, 5, 5), 7.0, dtype=F64))
    torch.testing.assert_close(flat, torch.full_like(flat, 7.0))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Inpainting(torch.ones(3)), "booleans"),
        (lambda: Inpainting(torch.zeros(3, dtype=torch.bool)), "at least one"),
        (lambda: Inpainting(HALF).forward(torch.zeros(2, 4, 6)), "mask of shape"),
        (lambda: Masking(HALF).forward(torch.zeros(2, 4, 6)), "mask of shape"),
        (lambda: Downsample(0), "at least 1"),
        (lambda: Downsample(3).forward(torch.zeros(1, 1, 8, 8)), "divides"),
        (lambda: Downsample(2).forward(torch.zeros(3, 4)), "space"),
        (lambda: Blur(torch.ones(2, 3)), "odd"),
        (lambda: Blur.gaussian(float("nan")), "positive"),
        (lambda: Blur.gaussian(1.0).forward(torch.zeros(1, 1, 8)), "dims=1"),
        (lambda: Matrix(torch.ones(2, 3)).forward(torch.zeros(1, 4)), "column"),
    ],
)
def test_invalid_operators_and_shapes_are_refused(make, word):
    with pytest.raises(UsageError, match=word):
        make()


def test_a_matrix_has_two_dimensions():
    with pytest.raises(UsageError, match=r"matrix of shape \[8\]"):
        Matrix(torch.ones(8))

"""Numbers of time, shaped to multiply data.

Times are [rows, *axes]: one number a row, or finer, one for each frame of a row. The axes of the times are the leading
axes of x, so that x is [rows, *axes, *rest], and a function of t multiplies x once it has ones for the rest.
"""

import torch
from jaxtyping import Num, Shaped
from torch import Tensor


def expand(values: Num[Tensor, "rows *axes"], dtype: torch.dtype, ndim: int) -> Tensor:
    """Shape numbers of time to multiply a tensor of `ndim` dimensions.

    Args:
        values: [rows, *axes], the numbers.
        dtype: Precision of the tensor to multiply.
        ndim: Number of dimensions of the tensor to multiply, rows included.

    Returns:
        [rows, *axes, 1, ..., 1], of `ndim` dimensions.
    """
    return values.to(dtype).view(*values.shape, *(1,) * (ndim - values.ndim))


def expand_like(values: Num[Tensor, "rows *axes"], x: Shaped[Tensor, "rows *shape"], trailing: int = 0) -> Tensor:
    """Shape numbers of time to multiply x.

    Args:
        values: [rows, *axes], the numbers.
        x: [rows, *axes, *rest], what they multiply.
        trailing: Dimensions that the product has after those of x (1 for a vocabulary after tokens).

    Returns:
        [rows, *axes, 1, ..., 1], in the precision of x if x is floating point, else in that of the numbers.
    """
    return expand(values, x.dtype if x.is_floating_point() else values.dtype, x.ndim + trailing)

"""Linear measurement operators: y = A x0 + noise.

An operator defines A. Its adjoint A', with <A x, y> = <x, A' y>, follows by automatic differentiation (the derivative
of a linear map is the map itself), so the two cannot disagree.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError


class Operator(ABC):
    """A linear map from data to measurements; rows are independent."""

    @abstractmethod
    def forward(self, x0: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *measured"]:
        """Measure: A x0.

        Args:
            x0: [rows, *shape], data.

        Returns:
            [rows, *measured], in the precision of x0.
        """

    @final
    def adjoint(self, y: Float[Tensor, "rows *measured"], shape: Sequence[int]) -> Float[Tensor, "rows *shape"]:
        """Apply the adjoint: A' y.

        Args:
            y: [rows, *measured], measurements.
            shape: The shape of one row of data.

        Returns:
            [rows, *shape], in the precision of y.
        """
        vector_jacobian = torch.func.vjp(self.forward, y.new_zeros(len(y), *shape))[1]
        return vector_jacobian(y)[0]


@final
@checked_init("um.inverse.Inpainting")
@dataclass(frozen=True, eq=False)
class Inpainting(Operator):
    """Measures the known numbers of each row, in order: [rows, number of known ones].

    Args:
        known: [*shape] of one row, True at the numbers that are measured.

    Raises:
        UsageError: If `known` is not boolean, or nowhere True.
    """

    known: Shaped[Tensor, "*shape"]

    def __post_init__(self) -> None:
        check_known(self.known)

    def forward(self, x0: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows measured"]:
        if x0.shape[1:] != self.known.shape:
            raise UsageError(
                f"a mask of shape {list(self.known.shape)} for rows of shape {list(x0.shape[1:])}",
                "a mask for one row, of its shape",
                f"Inpainting(known.expand({list(x0.shape[1:])}))",
            )
        return x0.flatten(1)[:, self.known.flatten().to(x0.device)]


@final
@checked_init("um.inverse.Masking")
@dataclass(frozen=True, eq=False)
class Masking(Operator):
    """Measures the known numbers in their places, and 0 in all others: [rows, *shape]. Each row may have its own mask.

    Args:
        known: [*shape] for all rows, or [rows, *shape]: True at the numbers that are measured.

    Raises:
        UsageError: If `known` is not boolean, or nowhere True.
    """

    known: Shaped[Tensor, "*shape"]

    def __post_init__(self) -> None:
        check_known(self.known)

    def forward(self, x0: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        if self.known.shape not in (x0.shape, x0.shape[1:]):
            raise UsageError(
                f"a mask of shape {list(self.known.shape)} for rows of shape {list(x0.shape[1:])}",
                "a mask of the shape of a row, or one for each row",
                f"Masking(known.expand({list(x0.shape[1:])}))",
            )
        return x0 * self.known.to(x0)


def check_known(known: Tensor) -> None:
    """Refuse a mask that is not boolean or marks nothing.

    Args:
        known: The mask.

    Raises:
        UsageError: If it is not boolean, or nowhere True.
    """
    if known.dtype != torch.bool or not known.any():
        raise UsageError(
            f"a mask of {known.dtype} with {int(known.count_nonzero())} entries that are not 0",
            "booleans, True where the data are known, and at least one of them True",
            "known = torch.ones(1, 8, 8, dtype=torch.bool)",
        )


@final
@checked_init("um.inverse.Downsample")
@dataclass(frozen=True, eq=False)
class Downsample(Operator):
    """Averages blocks of pixels: [rows, channels, *(space / factor)].

    Args:
        factor: Pixels of a block in each direction, at least 1.

    Raises:
        UsageError: If the factor is not a whole number of at least 1.
    """

    factor: int

    def __post_init__(self) -> None:
        if isinstance(self.factor, bool) or not isinstance(self.factor, int) or self.factor < 1:
            raise UsageError(f"Downsample({self.factor!r})", "a whole number of pixels, at least 1", "Downsample(2)")

    def forward(self, x0: Float[Tensor, "rows channels *space"]) -> Float[Tensor, "rows channels *less"]:
        space = _space(x0)
        if any(size % self.factor for size in space):
            raise UsageError(
                f"Downsample({self.factor}) of space {space}", "sizes that the factor divides", "Downsample(2)"
            )
        blocks = x0.reshape(*x0.shape[:2], *(part for size in space for part in (size // self.factor, self.factor)))
        return blocks.mean(tuple(range(3, 3 + 2 * len(space), 2)))


@final
@checked_init("um.inverse.Blur")
@dataclass(frozen=True, eq=False)
class Blur(Operator):
    """Convolves every channel with one kernel. The size stays the same; border pixels are repeated beyond the edge.

    Args:
        kernel: [*width], the kernel: one to three dimensions of odd size.

    Raises:
        UsageError: If a size is even or there are more than three dimensions.
    """

    kernel: Float[Tensor, "*width"]

    def __post_init__(self) -> None:
        sizes = list(self.kernel.shape)
        if not 1 <= len(sizes) <= 3 or any(size % 2 == 0 for size in sizes):
            raise UsageError(
                f"a kernel of shape {sizes}", "one to three dimensions of odd size", "Blur.gaussian(sd=1.5, dims=2)"
            )

    @classmethod
    def gaussian(cls, sd: float, dims: int = 2) -> "Blur":
        """A blur with a Gaussian kernel that sums to 1, cut off at 3 standard deviations.

        Args:
            sd: The standard deviation in pixels.
            dims: Dimensions of space, from 1 to 3.

        Returns:
            The operator.

        Raises:
            UsageError: If `sd` is not a positive number.
        """
        if not (math.isfinite(sd) and sd > 0):
            raise UsageError(f"a blur of sd={sd}", "a positive number of pixels", "Blur.gaussian(sd=1.5)")
        reach = math.ceil(3 * sd)
        one = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sd) ** 2)
        kernel = torch.ones((), dtype=torch.float64)
        for _ in range(dims):
            kernel = kernel[..., None] * one / one.sum()
        return cls(kernel)

    def forward(self, x0: Float[Tensor, "rows channels *space"]) -> Float[Tensor, "rows channels *space"]:
        space, sizes = _space(x0), self.kernel.shape
        if len(space) != len(sizes):
            raise UsageError(
                f"a kernel of {len(sizes)} dimensions for space {space}",
                "as many dimensions as space has",
                f"Blur.gaussian(sd=1.5, dims={len(space)})",
            )
        padding = [size // 2 for size in reversed(sizes) for _ in range(2)]
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(space) - 1]
        padded = F.pad(x0.reshape(-1, 1, *space), padding, mode="replicate")
        return convolve(padded, self.kernel.to(x0)[None, None]).view_as(x0)


def _space(x0: Tensor) -> list[int]:
    """The spatial sizes of rows [channels, *space]."""
    if not 3 <= x0.ndim <= 5:
        raise UsageError(
            f"rows of shape {list(x0.shape[1:])}", "[channels, *space] with one to three dimensions of space", "Matrix"
        )
    return list(x0.shape[2:])


@final
@checked_init("um.inverse.Matrix")
@dataclass(frozen=True, eq=False)
class Matrix(Operator):
    """Any linear map, as a matrix that multiplies the flattened row.

    Args:
        matrix: [measured, dim], A.

    Raises:
        UsageError: If it does not have two dimensions.
    """

    matrix: Float[Tensor, "measured dim"]

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2:
            raise UsageError(
                f"a matrix of shape {list(self.matrix.shape)}", "[measured, dim]", "Matrix(torch.randn(3, 64))"
            )

    def forward(self, x0: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows measured"]:
        flat = x0.flatten(1)
        if flat.shape[1] != self.matrix.shape[1]:
            raise UsageError(
                f"a matrix of shape {list(self.matrix.shape)} for rows of {flat.shape[1]} numbers",
                "a column for each number",
                f"Matrix(torch.randn(3, {flat.shape[1]}))",
            )
        return flat @ self.matrix.T.to(x0)

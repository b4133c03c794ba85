"""Every item encoded once by a codec with weights, into a file: an autoencoder need not run in every training step.

The file lies in the cache, under a digest of the weights and of the items. It is
mapped into memory and read where a batch touches it.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from unmelt.cache_folder import cache_folder
from unmelt.condition import Condition
from unmelt.data.pixel_cache import temporary
from unmelt.data.source import Arrays
from unmelt.errors import UsageError

ROWS = 64
"""Items that are encoded at a time."""


@final
class Encoded:
    """A source whose items are encoded: batch number `step` holds the items that it holds in the plain source.

    Args:
        source: The plain source.
        latents: [n, *latent_shape], the encoded items.
    """

    def __init__(self, source: Arrays, latents: Shaped[Tensor, "n *shape"]) -> None:
        self.source, self.latents = source, latents

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one encoded row."""
        return tuple(self.latents.shape[1:])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the plain source."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, step: int, rows: int) -> tuple[Shaped[Tensor, "rows *shape"], Condition | None]:
        """Batch number `step`.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            Encoded rows [rows, *shape], and what is known of them.
        """
        items = self.source.items(step, rows)
        return self.latents.index_select(0, items), self.source.condition(items)


def encoded(
    source: Arrays, encode: Callable[[Tensor], Tensor], weights: Mapping[str, Tensor], shape: tuple[int, ...]
) -> Encoded:
    """Encode all items of a source, or map the file in which they are encoded already.

    Args:
        source: The source.
        encode: [rows, *shape of the source] -> [rows, *shape], numbers or tokens.
        weights: Everything that `encode` depends on.
        shape: Shape of an encoded row.

    Returns:
        The encoded source.

    Raises:
        UsageError: If the cache cannot be written to.
    """
    folder = cache_folder()
    path, count = folder / f"{_digest(source, weights)}.latents", len(source) * math.prod(shape)
    dtype = encode(source.rows_of(torch.arange(1))).dtype
    if not path.exists() or path.stat().st_size != count * dtype.itemsize:
        try:
            _write(path, source, encode, (len(source), *shape), dtype)
        except OSError as error:
            raise UsageError(
                f"the cache of latents {folder} cannot be written ({error.strerror})",
                f"room for {count * dtype.itemsize / 1e9:.1f} GB there",
                "UNMELT_CACHE=another/folder unmelt ...",
            ) from None
    return Encoded(source, torch.from_file(str(path), shared=False, size=count, dtype=dtype).view(-1, *shape))


def _digest(source: Arrays, weights: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(source.keys().numpy().tobytes())
    for name, value in sorted(weights.items()):
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:32]


def _write(
    path: Path, source: Arrays, encode: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    incomplete = temporary(path)
    kind = {torch.float32: np.float32, torch.int64: np.int64}[dtype]
    try:
        latents = np.memmap(incomplete, kind, "w+", shape=shape)
        for items in torch.arange(shape[0]).split(ROWS):
            latents[items.numpy()] = encode(source.rows_of(items)).cpu().numpy()
        latents.flush()
        del latents  # Windows replaces no file that is mapped into memory
        os.replace(incomplete, path)
    finally:
        incomplete.unlink(missing_ok=True)

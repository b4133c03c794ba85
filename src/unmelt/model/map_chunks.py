"""Map a function over chunks of rows, divided among processes; every process gets all results.

Chunks do not depend on the number of processes, and go to them in turn, so that results are the same bit for bit.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from unmelt.train import distributed


def map_chunks(
    rows: int, most: int, make: Callable[[slice], Tensor], what: str = "sampling", independent: bool = True
) -> Tensor:
    """Compute rows in chunks. Every process must call, and gets the same result.

    Args:
        rows: Number of rows, at least 1.
        most: Rows of a chunk.
        make: From a slice of the rows to a tensor [rows of the slice, ...] on the CPU.
        what: What is being done, for the progress bar.
        independent: Whether processes may compute different chunks. Where weights are sharded, every process computes
            all of them.

    Returns:
        [rows, ...], the results in order.
    """
    count = distributed.world_size() if independent else 1
    chunks = [slice(first, min(first + most, rows)) for first in range(0, rows, most)]
    mine = chunks[distributed.rank() % count :: count]
    made = [make(chunk) for chunk in _tracked(mine, what)]
    return torch.cat(made) if count == 1 else distributed.all_gather(made, [x.stop - x.start for x in chunks])


def _tracked(chunks: list[slice], what: str) -> Iterable[slice]:
    """The chunks, with a progress bar where there are several and somebody can see it."""
    if len(chunks) == 1 or distributed.rank() > 0:  # a bar costs a thread
        return chunks
    from rich.console import Console
    from rich.progress import track

    bar = Console(stderr=True)
    if not bar.is_terminal:
        return chunks
    return track(chunks, what, console=bar, transient=True)

"""Many rows, shared out among processes: each makes some, and all of them have all.

The chunks that rows are made in are the same however many processes there are, each a process's in turn, so that what
comes out is the same, bit for bit.
"""

from collections.abc import Callable

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from unmelt.train import processes


def map_chunks(
    rows: int, most: int, make: Callable[[slice], Tensor], what: str = "sampling", independent: bool = True
) -> Tensor:
    """All rows, made in chunks; every process must call, and gets the same.

    rows    how many, at least 1
    most    rows of a chunk
    make    from a slice of the rows to what they are, on the CPU
    what    is being done, for the bar
    independent   whether processes may make different chunks; where weights are sharded, every process makes all
    """
    count = processes.count() if independent else 1
    chunks = [slice(first, min(first + most, rows)) for first in range(0, rows, most)]
    mine = chunks[processes.rank() % count :: count]
    bar = Console(stderr=True, quiet=processes.rank() > 0)
    hidden = len(mine) < 2 or not bar.is_terminal
    made = [make(chunk) for chunk in track(mine, what, console=bar, transient=True, disable=hidden)]
    return torch.cat(made) if count == 1 else processes.gathered(made, [x.stop - x.start for x in chunks])

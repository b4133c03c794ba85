"""Samples for a length of time: as many as fit into it, of which the first tell how long all of them take."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.model.request import SampleRequest
from unmelt.progress import Progress, duration
from unmelt.rng import Stream
from unmelt.terminal import notify
from unmelt.train import distributed

if TYPE_CHECKING:
    from unmelt.model.model import Model

FEWEST = 1000
"""Samples that are made however long they take, where no number is given: fewer say too little of the model."""

FIRST = 64
"""Samples by which the time of all of them is estimated."""


def labels_in_proportion(real: Tensor, rows: int) -> Tensor:
    """Choose classes as in the data, in a mixed order: the first of them, however many, have about its proportions.

    Args:
        real: The class of each row of data.
        rows: How many classes to choose.

    Returns:
        [rows], classes.
    """
    mixed = real[torch.randperm(len(real), generator=Stream(0).generator)]
    return mixed.repeat(math.ceil(rows / len(real)))[:rows]


def sample_for(model: Model, request: SampleRequest, minutes: float | None) -> Tensor:
    """Sample a request, or as many of its first rows as the time allows; says how long that takes.

    Args:
        model: The model.
        request: What is asked for.
        minutes: The time; None for as long as it takes.

    Returns:
        The samples, at least 1,000 if as many are asked for.

    Raises:
        UsageError: If the time is not above 0.
    """
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"minutes={minutes:g}", "a time above 0", "minutes=5")
    began, quiet = time.monotonic(), not distributed.is_main()
    first = min(FIRST, request.rows)
    made = [model.sample_request(request[:first])]
    each = (time.monotonic() - began) / first
    rows = request.rows
    if minutes is not None:
        fits = max(int(60 * minutes / each), FEWEST)
        rows = min(rows, int(distributed.broadcast_from_main(lambda: fits)))
    if rows < request.rows and not quiet:
        whole = f"{request.rows:,} would take about {duration(each * request.rows)}"
        notify(f"{rows:,} samples are made; {whole} (--samples {request.rows} or more --minutes)")
    progress = Progress("samples", rows, quiet)
    progress.began = began
    progress.advance(first)
    chunk = model.rows_at_once * distributed.world_size()
    for start in range(first, rows, chunk):
        part = request[start : min(start + chunk, rows)]
        made.append(model.sample_request(part))
        progress.advance(part.rows)
    return torch.cat(made)

"""`unmelt average RUN`: another average of a run's weights, chosen after training."""

from pathlib import Path
from typing import Annotated

import tyro

from unmelt import run
from unmelt.cli.output import notify
from unmelt.cli.runs import RunFolder
from unmelt.errors import UsageError
from unmelt.model import load


def average(
    folder: RunFolder,
    /,
    length: Annotated[tuple[float, ...], tyro.conf.arg(metavar="SHARE...")],
    steps: int | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Write a run folder with other averages of the weights, from snapshots that were kept with --snapshot-every.

    Args:
        length: Of the average, as a share of the run: 0.05 follows the last weights closely, 0.2 hardly. Several make
            a folder each, for `unmelt eval` to compare.
        steps: Up to which to average, those of a snapshot; to the end of the run if not given.
        out: Where it goes; RUN-LENGTH if not given.
        device: What to compute on: auto, cpu or cuda.
    """
    if not length:
        raise UsageError("no length", "one or more", f"unmelt average {folder} --length 0.05 0.1")
    if out is not None and len(length) > 1:
        raise UsageError(f"--out for {len(length)} lengths", "one length, or no --out", f"--length {length[0]:g}")
    model = load(folder, device)
    for each in length:
        place = out or folder.with_name(f"{folder.name}-{each:g}")
        if (place / run.CHECKPOINTS).exists():
            raise UsageError(f"{place}, which holds a run", "a new folder", f"--out {place}-averaged")
        made = model.averaged(each, steps)
        made.save(place)
        notify(f"{place}: {made.notes.rpartition('; ')[2]}")

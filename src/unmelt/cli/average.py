"""`unmelt average RUN`: post-hoc averages of a run's weights, chosen after training."""

from pathlib import Path
from typing import Annotated

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, generative_model
from unmelt.errors import UsageError
from unmelt.terminal import notify


def average(
    folder: RunFolder,
    /,
    ema_std: Annotated[tuple[float, ...], "SHARE"],
    steps: int | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Write run folders with other averages of the weights, from snapshots that training kept with --snapshot-every.

    Args:
        folder: The run folder.
        ema_std: Standard deviation of the averaging window, as a share of the run. 0.05 follows the last weights
            closely; 0.2 averages much of the run. Each value makes one run folder, to be compared by `unmelt eval`.
        steps: Average the run up to this step, which must be that of a snapshot. Default: the last step.
        out: The run folder to write. Default: RUN-EMA_STD.
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If no width is given, --out is given for several, or the output holds a run already.
    """
    from unmelt import run_folder
    from unmelt.model import load

    if not ema_std:
        raise UsageError("no --ema-std", "one or more", f"unmelt average {folder} --ema-std 0.05 0.1")
    if out is not None and len(ema_std) > 1:
        raise UsageError(f"--out for {len(ema_std)} averages", "one, or no --out", f"--ema-std {ema_std[0]:g}")
    if out is not None:
        destination.check_folder(out)
    model = generative_model(folder, load(folder, device))
    for each in ema_std:
        target = out or folder.with_name(f"{folder.name}-{each:g}")
        if (target / run_folder.CHECKPOINTS).exists():
            raise UsageError(f"{target}, which holds a run", "a new folder", f"--out {target}-averaged")
        averaged = model.averaged(each, steps)
        averaged.save(target)
        notify(f"{target}: {averaged.notes.rpartition('; ')[2]}")

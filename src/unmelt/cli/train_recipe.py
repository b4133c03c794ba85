"""Train a recipe from the command line: the options are the recipe's arguments, and those of `Execution`."""

import inspect
from collections.abc import Sequence
from dataclasses import field, make_dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from unmelt import run_folder
from unmelt.cli.arguments import parse
from unmelt.device import device_named
from unmelt.model import load
from unmelt.recipe import RECIPES
from unmelt.recipe.origin import Folder
from unmelt.terminal import notify
from unmelt.train import Execution, distributed
from unmelt.train.logger import logger_names

COMMON = """\
    out: The run folder to write. An interrupted run in it is resumed.
    device: Where to compute: auto, cpu or cuda.
    log_to: Where to log besides the run folder: tensorboard, wandb, trackio, none, or auto (TensorBoard if installed).
    snapshot_every: Steps between snapshots of the weight averages, for `unmelt average`; 0 keeps none.
    gradient_accumulation: Micro-batches per step. More need less memory.
    activation_checkpointing: Recompute activations in the backward pass instead of storing them.
    compile: Compile the network with torch.compile.
    shard: Shard weights and optimizer state over the processes (FSDP2).
"""
"""Help of the options that all recipes have."""


def train_recipe(name: str, args: Sequence[str]) -> None:
    """Parse `--out DIR [settings]` and train.

    Args:
        name: The recipe.
        args: The arguments after its name.

    Raises:
        UsageError: If a setting is refused.
    """
    settings = parse(_form(name), f"unmelt train {name}", args)
    out, device, log_to, snapshots = (settings.pop(each) for each in ("out", "device", "log_to", "snapshot_every"))
    execution = Execution(**{name: settings.pop(name) for name in [one.name for one in dataclass_fields(Execution)]})

    device_named(device)
    logger_names(log_to)
    run_folder.writable(out)
    model = RECIPES[name](**settings)
    assert model.training is not None
    model.training = replace(model.training, snapshot_every=snapshots)
    if model.notes:
        notify(model.notes)
    try:
        model.fit(out, device=device, execution=execution, log_to=log_to)
    except KeyboardInterrupt as ended:
        raise type(ended)("the same command goes on from here") from None
    except SystemExit:
        notify("terminated: saved, and the same command goes on from here")
        raise
    if not distributed.is_main():
        return
    model = load(out, device)  # in one piece, also if training sharded it
    shown = model.save_preview(out / "samples")
    notify(f"trained: {out} (samples in {shown}, losses in {out / 'loss.png'})")


def _form(name: str) -> type:
    """A dataclass of the options of `unmelt train NAME`, for tyro."""
    fields: list[Any] = [("out", Path), ("device", str, field(default="auto")), ("log_to", str, field(default="auto"))]
    fields.append(("snapshot_every", int, field(default=0)))
    fields += [(one.name, type(one.default), field(default=one.default)) for one in dataclass_fields(Execution)]
    for p in inspect.signature(RECIPES[name]).parameters.values():
        kind = Path if p.annotation == Folder else p.annotation
        fields.append((p.name, kind) if p.default is p.empty else (p.name, kind, field(default=p.default)))
    form = make_dataclass(name, fields, kw_only=True)
    form.__doc__ = inspect.cleandoc(RECIPES[name].__doc__ or "").replace("Args:\n", f"Args:\n{COMMON}", 1)
    return form

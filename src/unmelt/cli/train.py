"""`unmelt train RECIPE`: a form made from the recipe's own settings."""

import inspect
from collections.abc import Sequence
from dataclasses import field, make_dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import tyro

from unmelt import run
from unmelt.cli.output import notify
from unmelt.cli.recipes import first_line
from unmelt.device import device_named
from unmelt.errors import UsageError, nearest
from unmelt.model import load
from unmelt.recipe import RECIPES
from unmelt.recipe.recorded import Folder
from unmelt.train import Execution, processes
from unmelt.train.logger import logger_names


def train(args: Sequence[str]) -> None:
    """Parse `RECIPE --out DIR [settings]` and train."""
    if not args or args[0] in ("-h", "--help"):
        names = "\n".join(f"  {name:10}  {first_line(name)}" for name in RECIPES)
        print(f"usage: unmelt train RECIPE --out DIR [settings]\n\n{names}\n")
        print("unmelt train RECIPE --help lists its settings.")
        return
    name, rest = args[0], args[1:]
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe {name!r}",
            f"one of {', '.join(RECIPES)}",
            f"unmelt train {nearest(name, RECIPES)} --out runs/{nearest(name, RECIPES)}",
        )
    settings = dict(vars(tyro.cli(_form(name), prog=f"unmelt train {name}", args=list(rest))))
    out, device, log_to, snapshots = (settings.pop(each) for each in ("out", "device", "log_to", "snapshot_every"))
    execution = Execution(**{name: settings.pop(name) for name in [one.name for one in dataclass_fields(Execution)]})

    device_named(device)
    logger_names(log_to)
    run.writable(out)
    model = RECIPES[name](**settings)
    assert model.training is not None
    model.training = replace(model.training, snapshot_every=snapshots)
    if model.notes:
        notify(model.notes)
    try:
        model.fit(out, device=device, execution=execution, log_to=log_to)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from here") from None
    except SystemExit:
        notify("told to end: saved, and the same command goes on from here")
        raise
    if not processes.first():
        return
    model = load(out, device)  # whole, whatever it was spread over
    seen = model.show(out / "samples")
    notify(f"trained: {out} (samples in {seen}, losses in {out / 'loss.png'})")


def _form(name: str) -> type:
    """What the command line asks for to run a recipe: where, on what, and the recipe's own settings."""
    fields: list[Any] = [("out", Path), ("device", str, field(default="auto")), ("log_to", str, field(default="auto"))]
    fields.append(("snapshot_every", int, field(default=0)))
    fields += [(one.name, type(one.default), field(default=one.default)) for one in dataclass_fields(Execution)]
    for p in inspect.signature(RECIPES[name]).parameters.values():
        kind = Path if p.annotation == Folder else p.annotation
        fields.append((p.name, kind) if p.default is p.empty else (p.name, kind, field(default=p.default)))
    form = make_dataclass(name, fields, kw_only=True)
    form.__doc__ = inspect.cleandoc(RECIPES[name].__doc__ or "") + (
        "\n    out: The run folder to write; an interrupted run in it goes on."
        "\n    device: What to compute on: auto, cpu or cuda."
        "\n    log_to: Who else is told: tensorboard, wandb, trackio, none, or auto: TensorBoard where it is installed."
        "\n    snapshot_every: Steps between snapshots of averages, for `unmelt average` afterwards; 0 for none."
        "\n    gradient_accumulation: Parts that a batch is worked through in, where all of it does not fit."
        "\n    activation_checkpointing: Work activations out again for the gradient rather than keep them."
        "\n    compile: Let torch compile the network."
        "\n    shard: Of several processes, each keeps a part of weights and optimizer (FSDP2)."
    )
    return form

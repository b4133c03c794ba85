"""Train a recipe from the command line: the options are the recipe's arguments, and those of `Execution`."""

import inspect
from collections.abc import Sequence
from dataclasses import field, make_dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

from unmelt import run_folder
from unmelt.cli import destination
from unmelt.cli.arguments import parse
from unmelt.device import device_named
from unmelt.errors import UsageError
from unmelt.model import load
from unmelt.recipe import RECIPES
from unmelt.recipe.of_run import recipe_of
from unmelt.recipe.origin import Folder
from unmelt.run_place import check_apart
from unmelt.terminal import notify
from unmelt.train import Execution, distributed
from unmelt.train.logger import logger_names

COMMON = """\
    out: The run folder to write. An interrupted run in it is resumed.
    device: Where to compute: auto, cpu or cuda.
    log_to: Where to log besides the run folder: tensorboard, wandb, trackio, none, or auto (TensorBoard if installed).
    snapshot_every: Steps between snapshots of the weight averages, for `unmelt average`; 0 keeps none.
    allow_other_data: Go on with other data than the run was started with, and record them in their place.
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
    out = settings.pop("out")
    _train(name, out, settings | _split_of(out, settings))


def resume(args: Sequence[str]) -> None:
    """Parse `--resume RUN [settings]` and go on with the settings that the run has recorded.

    Args:
        args: The arguments, --resume the first of them.

    Raises:
        UsageError: If there is no such run, or a setting is refused.
    """
    out, about, rest = _resumed(args)
    name = about["origin"]["recipe"]
    given = parse(_form(name, about), f"unmelt train --resume {out}", rest)
    _train(name, out, {**about["origin"]["settings"], **given})


def _train(name: str, out: Path, settings: dict[str, Any]) -> None:
    device, log_to, snapshots = (settings.pop(each) for each in ("device", "log_to", "snapshot_every"))
    allow_other_data = settings.pop("allow_other_data")
    execution = Execution(**{name: settings.pop(name) for name in [one.name for one in dataclass_fields(Execution)]})

    device_named(device)
    logger_names(log_to)
    destination.check_folder(out)
    check_apart(out, {"settings": settings})  # before the data are read
    model = recipe_of({"recipe": name, "settings": settings})
    assert model.training is not None
    model.training = replace(model.training, snapshot_every=snapshots)
    if model.notes:
        notify(model.notes)
    try:
        model.fit(out, device=device, execution=execution, log_to=log_to, allow_other_data=allow_other_data)
    except KeyboardInterrupt as ended:
        raise type(ended)("the same command goes on from here") from None
    except SystemExit:
        notify("terminated: saved, and the same command goes on from here")
        raise
    if not distributed.is_main():
        return
    whole = load(out, device)  # in one piece, also if training sharded it
    whole.source, whole.held_out = model.source, model.held_out
    shown = whole.save_preview(out / "samples")
    notify(f"trained: {out} (samples in {shown}, losses in {out / 'loss.png'})")


def _resumed(args: Sequence[str]) -> tuple[Path, dict[str, Any], Sequence[str]]:
    """The run folder after --resume, its config.json, and the arguments that are left."""
    option, _, attached = args[0].partition("=")
    rest = args[1:] if attached else args[2:]
    if args[1:2] in (["-h"], ["--help"]) or not (attached or args[1:2]):
        raise UsageError(f"{option} without a run folder", "the folder of an interrupted run", f"{option} runs/faces")
    out = Path(attached or args[1])
    about = run_folder.read_about(out)
    if about["origin"].get("recipe") not in RECIPES:
        raise UsageError(
            f"{out} was not made by a recipe",
            "a run of a recipe; in Python, the same model again",
            f"model.fit({str(out)!r})",
        )
    return out, about, rest


def _split_of(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The rule by which the run in this folder was split: the same command goes on with it, default or not."""
    if settings.get("split", "position") == "position" or not (out / run_folder.CONFIG).is_file():
        return {}
    recorded = run_folder.read_about(out)["origin"].get("settings", {})
    return {"split": recorded["split"]} if "split" in recorded else {}


def _form(name: str, about: dict[str, Any] | None = None) -> type:
    """A dataclass of the options of `unmelt train NAME`. With the config.json of a run, those that may change in it."""
    training = {} if about is None else about["model"].get("training") or {}
    fields: list[Any] = [("out", Path)] if about is None else []
    fields += [("device", str, field(default="auto")), ("log_to", str, field(default="auto"))]
    fields.append(("snapshot_every", int, field(default=training.get("snapshot_every", 0))))
    fields.append(("allow_other_data", bool, field(default=False)))
    fields += [(one.name, type(one.default), field(default=one.default)) for one in dataclass_fields(Execution)]
    for p in inspect.signature(RECIPES[name]).parameters.values():
        kind, default = Path if p.annotation == Folder else p.annotation, p.default
        if about is not None:
            if p.name not in (*run_folder.FREE, *run_folder.PLACES):
                continue
            default = about["origin"]["settings"].get(p.name, default)
        fields.append((p.name, kind) if default is p.empty else (p.name, kind, field(default=default)))
    form = make_dataclass(name, fields, kw_only=True)
    form.__doc__ = inspect.cleandoc(RECIPES[name].__doc__ or "").replace("Args:\n", f"Args:\n{COMMON}", 1)
    return form

"""The command line: `unmelt recipes | train | sample | tune | eval | curve | show | export | push`.

A mistake gets one message and exit code 2; Ctrl-C gets 130 and leaves a run that resumes. With --json, one JSON object
and nothing else goes to standard output.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, field, make_dataclass, replace
from dataclasses import fields as dataclass_fields
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmelt import card, diagnose, run
from unmelt.device import device_named
from unmelt.errors import UsageError, nearest
from unmelt.interop import to_diffusers
from unmelt.model import Model, check_rows
from unmelt.recipe import RECIPES
from unmelt.recipe.recorded import Folder
from unmelt.sampler import Euler, grid
from unmelt.train import Engine, processes, read_metrics
from unmelt.train.files import write, write_json

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="A run folder.")]


def _settings(name: str) -> dict[str, Any]:
    """The settings of a recipe with their defaults; one without a default is marked as required."""
    found = inspect.signature(RECIPES[name]).parameters.values()
    return {p.name: "required" if p.default is inspect.Parameter.empty else p.default for p in found}


def _first_line(name: str) -> str:
    return inspect.cleandoc(RECIPES[name].__doc__ or "").splitlines()[0]


def _tell(line: str) -> None:
    """Say it to a person: on standard error, as it is, in one line however long."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _table(rows: dict[str, Any], title: str = "") -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(name, Text(f"{value:.4g}" if isinstance(value, float) else str(value)))
    if title:
        Console().print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    Console().print(table)


def recipes(json: bool = False) -> None:
    """List the recipes and what can be set in each.

    Args:
        json: Print one JSON object.
    """
    if json:
        _print_json({name: {"about": _first_line(name), "settings": _settings(name)} for name in RECIPES})
        return
    for name in RECIPES:
        Console().print(f"\n[bold]{name}[/]  {_first_line(name)}", highlight=False, soft_wrap=True)
        _table(_settings(name))
    Console().print("\nunmelt train RECIPE --out runs/NAME", highlight=False)


def train(args: Sequence[str]) -> None:
    """Parse `RECIPE --out DIR [settings]` and train."""
    if not args or args[0] in ("-h", "--help"):
        names = "\n".join(f"  {name:10}  {_first_line(name)}" for name in RECIPES)
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
    out, device, watch = settings.pop("out"), settings.pop("device"), settings.pop("watch")
    engine = Engine(**{name: settings.pop(name) for name in [one.name for one in dataclass_fields(Engine)]})

    device_named(device)
    run.writable(out)
    model = RECIPES[name](**settings)
    if model.notes:
        _tell(model.notes)
    try:
        model.fit(out, device=device, engine=engine, watch=watch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from here") from None
    except SystemExit:
        _tell("told to end: saved, and the same command goes on from here")
        raise
    if not processes.first():
        return
    model = Model.load(out, device)  # whole, whatever it was spread over
    picture = out / "samples.png"
    model.picture(picture)
    _tell(f"trained: {out} (samples in {picture}, losses in {out / 'loss.png'})")


def _form(name: str) -> type:
    """What the command line asks for to run a recipe: where, on what, and the recipe's own settings."""
    fields: list[Any] = [("out", Path), ("device", str, field(default="auto")), ("watch", str, field(default="auto"))]
    fields += [(one.name, type(one.default), field(default=one.default)) for one in dataclass_fields(Engine)]
    for p in inspect.signature(RECIPES[name]).parameters.values():
        kind = Path if p.annotation == Folder else p.annotation
        fields.append((p.name, kind) if p.default is p.empty else (p.name, kind, field(default=p.default)))
    form = make_dataclass(name, fields, kw_only=True)
    form.__doc__ = inspect.cleandoc(RECIPES[name].__doc__ or "") + (
        "\n    out: The run folder to write; an interrupted run in it goes on."
        "\n    device: What to compute on: auto, cpu or cuda."
        "\n    watch: Who else is told: tensorboard, wandb, trackio, none, or auto: TensorBoard where it is installed."
        "\n    accumulate: Parts that a batch is worked through in, where all of it does not fit."
        "\n    recompute: Work activations out again for the gradient rather than keep them."
        "\n    compile: Let torch compile the network."
        "\n    shard: Of several processes, each keeps a part of weights and optimizer (FSDP2)."
    )
    return form


def _class(label: str | None, classes: Sequence[str]) -> int | str | None:
    """A class as a person gives it: by its name, or else by its number."""
    by_number = label is not None and label not in classes and re.fullmatch("-?[0-9]{1,18}", label)
    return int(by_number[0]) if by_number else label


def sample(
    folder: RunFolder,
    /,
    rows: int = 64,
    label: str | None = None,
    caption: str | None = None,
    guidance: float = 1.0,
    steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Make new data with a trained model.

    Args:
        rows: How many.
        label: The class of all of them, by name or by number; every class in turn if not given.
        caption: What all of them should show, in words; for models that learned captions.
        guidance: Scale of classifier-free guidance; 1 is none.
        steps: Network evaluations, about; the model's own number if not given.
        seed: The same seed gives the same samples.
        out: A .png picture or a .npy array; RUN/sample.png if not given.
        device: What to compute on: auto, cpu or cuda.
    """
    out = out or folder / "sample.png"
    if out.suffix not in (".png", ".npy"):
        raise UsageError(f"the output {out}", "a name that ends in .png or .npy", f"--out {out.with_suffix('.png')}")
    check_rows(rows)
    model = Model.load(folder, device)
    run.writable(out.parent)
    each = torch.arange(rows) % len(model.classes) if label is None and model.classes else None
    which = _class(label, model.classes) if each is None else each
    x = model.sample(rows, label=which, caption=caption, guidance=guidance, steps=steps, seed=seed)
    run.prepare(out.parent)
    if out.suffix == ".npy":
        array = BytesIO()
        np.save(array, x.numpy())
        write(out, array.getvalue())
    else:
        model.draw(x, each, out)
    _tell(f"{rows} samples: {out}")


def tune(
    folder: RunFolder,
    /,
    steps: int = 5,
    guidance: float = 1.0,
    rows: int = 512,
    rounds: int = 12,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Teach a trained model to sample in few steps; the run keeps what was learned and samples with it from then on.

    Args:
        steps: Network evaluations of a sample.
        guidance: Scale of classifier-free guidance that it will be used with; 1 is none.
        rows: Of noise to learn from; a quarter of them judges.
        rounds: Of learning.
        seed: Of the noise.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    model = Model.load(folder, device)
    run.writable(folder)
    lesson = model.tune(steps, guidance=guidance, rows=rows, rounds=rounds, seed=seed)
    scores = {"steps": steps, "guidance": guidance, "stock_error": lesson.stock, "tuned_error": lesson.tuned}
    if json:
        _print_json(scores)
    else:
        _table(scores, f"{folder}: end-point error on noise it has not seen")


def _with_data(folder: Path, device: str) -> Model:
    """The model of a run, with the data that its recipe learned from."""
    model = Model.load(folder, device)
    name = model.origin.get("recipe")
    if name not in RECIPES:
        raise UsageError(
            f"{folder} was not made by a recipe, so there are no data to judge it by",
            "a run of a recipe",
            "model.evaluate() in Python, on a model that has its data",
        )
    fresh = RECIPES[name](**model.origin["settings"])
    model.source, model.held_out = fresh.source, fresh.held_out
    return model


def evaluate(
    folder: RunFolder,
    /,
    samples: int | None = None,
    steps: int | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Judge samples of a trained model against held-out data; RUN/eval.json keeps the scores.

    Args:
        samples: How many; as many as there are training data if not given, and at least 10,000 images.
        steps: Network evaluations, about; the model's own number if not given.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Of the samples.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    model = _with_data(folder, device)
    run.writable(folder)
    scores = model.evaluate(samples=samples, steps=steps, guidance=guidance, seed=seed)
    write_json(folder / card.SCORES, {**scores, "weights": run.read_about(folder)["weights"]})
    if json:
        _print_json(scores)
    else:
        _table(scores, str(folder))


def curve(
    folder: RunFolder,
    /,
    steps: tuple[int, ...] = diagnose.STEPS,
    rows: int = 256,
    guidance: float = 1.0,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Draw quality against evaluations, samples on their way, and how straight their paths are.

    Args:
        steps: Numbers of evaluations to try.
        rows: Of noise, the same for every sampler.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Of the noise.
        out: Where the pictures go; the run folder if not given.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    model = _with_data(folder, device)
    out = out or folder
    run.writable(out)
    found = diagnose.curve(model, steps, rows=rows, guidance=guidance, seed=seed, out=out)
    if json:
        _print_json(asdict(found))
        return
    for name, values in (("end-point error", found.error), (found.measure, found.distance)):
        rows_of = {sampler: "  ".join(f"{n}: {x:.4f}" for n, x in each.items()) for sampler, each in values.items()}
        if rows_of:
            _table(rows_of, f"{name} by evaluations")
    _table({"S": found.straightness, "detour": found.detour}, "straightness of paths (0 is straight)")
    _tell(f"pictures: curve, quality, straightness and trajectory.png in {out}")


def _spark(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text."""
    if not values:
        return ""
    chosen = [values[int(i)] for i in np.linspace(0, len(values) - 1, min(width, len(values)))]
    low, high = min(chosen), max(chosen)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (v - low) / (high - low or 1))] for v in chosen)


def show(folder: RunFolder, /, json: bool = False) -> None:
    """Say what a run folder holds: recipe, settings, sizes, parts, curve.

    Args:
        json: Print one JSON object.
    """
    about = run.read_run(folder).about
    lines = read_metrics(folder / run.METRICS)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    if json:
        _print_json({**about, "metrics": lines, "files": sizes})
        return
    losses = [line["loss"] for line in lines]
    training = about["model"]["training"] or {"steps": 0}
    _table(
        {
            "recipe": about["origin"].get("recipe", "none"),
            "parameters": f"{about['parameters']:,}",
            "steps": f"{about['steps_done']} of {training['steps']}",
            "classes": ", ".join(about["classes"]) or "none",
            "seconds": round(lines[-1]["seconds"], 1) if lines else 0,
            "loss": f"{losses[0]:.4f} -> {losses[-1]:.4f}" if losses else "none",
            "curve": _spark(losses),
            **({"notes": about["notes"]} if about["notes"] else {}),
        },
        str(folder),
    )
    _table(about["origin"].get("settings", {}), "\nsettings")
    _table({name: card.short(part) for name, part in about["model"].items() if name != "training"}, "\nparts")
    _table({name: f"{size:,} bytes" for name, size in sizes.items()}, "\nfiles")


def export(
    folder: RunFolder,
    /,
    to: Literal["diffusers"] = "diffusers",
    out: Path | None = None,
    sampler: Literal["own", "euler"] = "own",
    steps: int | None = None,
) -> None:
    """Write a run as another library loads it, with the same images from the same noise.

    Args:
        to: The library.
        out: A new folder; RUN-diffusers if not given.
        sampler: The model's own, which not every library has, or Euler's method, which all have.
        steps: Network evaluations; the model's own number if not given.
    """
    model = Model.load(folder, "cpu")
    way = (model.sampler, model.grid) if sampler == "own" else (Euler(), grid.balanced(model.grid.steps))
    taken = way[1] if steps is None else replace(way[1], steps=steps)
    out = out or folder.with_name(f"{folder.name}-{to}")
    to_diffusers(model, out, sampler=way[0], grid=taken)
    _tell(f"{to}: {out}")


def push(
    folder: RunFolder,
    name: tyro.conf.Positional[str],
    /,
    private: bool = False,
    license: str | None = None,
    message: str | None = None,
) -> None:
    """Put a run onto the Hub as OWNER/NAME: description, weights, and a model card; not its checkpoint.

    Args:
        name: The repository, as OWNER/NAME.
        private: Make a new repository private.
        license: Of the weights, by its short name; what an earlier card said if not given.
        message: Of the commit.
    """
    model = Model.load(folder, "cpu")
    address = model.push_to_hub(name, private=private or None, commit_message=message, license=license)
    _tell(f"pushed: {address}")


COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": recipes,
    "train": train,
    "sample": sample,
    "tune": tune,
    "eval": evaluate,
    "curve": curve,
    "show": show,
    "export": export,
    "push": push,
}

HELP = """usage: unmelt COMMAND

  recipes        what can be trained, and every setting
  train RECIPE   train it; goes on where it was interrupted
  sample RUN     make new data with a trained model
  tune RUN       learn to sample it in few steps
  eval RUN       judge samples against held-out data
  curve RUN      quality against evaluations, and paths, as pictures
  show RUN       what a run folder holds
  export RUN     write it as diffusers loads it
  push RUN NAME  put it onto the Hub

unmelt COMMAND --help says more."""


def _dispatch(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        raise UsageError(
            f"there is no command {name!r}", f"one of {', '.join(COMMANDS)}", f"unmelt {nearest(name, COMMANDS)} --help"
        )
    if name == "train":
        train(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"unmelt {name}", args=list(rest))


def _as_option(instead: str) -> str:
    """A setting written as in Python, as it is written here: lr=0.001 is --lr 0.001."""
    setting = re.fullmatch(r"(\w+)=(\S+|'.*')", instead)
    return f"--{setting[1].replace('_', '-')} {setting[2]}" if setting else instead


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        _dispatch(sys.argv[1:] if args is None else args)
    except UsageError as mistake:
        _tell(f"unmelt: {mistake.given}\n  needed: {mistake.needed}")
        if mistake.instead:
            _tell(f"  try:    {_as_option(mistake.instead)}")
        return 2
    except OSError as error:
        _tell(f"unmelt: {error}")
        return 2
    except KeyboardInterrupt as interrupt:
        _tell("; ".join(["unmelt: interrupted", *map(str, interrupt.args)]))
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

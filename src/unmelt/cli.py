"""The command line: `unmelt recipes | train | sample | eval | show`.

A mistake gets one message and exit code 2; Ctrl-C gets 130 and leaves a run that resumes. With --json, one JSON object
and nothing else goes to standard output.
"""

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from unmelt import run
from unmelt.errors import UsageError, nearest
from unmelt.model import Model, device_named
from unmelt.recipe import RECIPES
from unmelt.train import read_metrics

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="A run folder.")]


def _settings(name: str) -> dict[str, Any]:
    """The settings of a recipe with their defaults; one without a default is marked as required."""
    found = inspect.signature(RECIPES[name]).parameters.values()
    return {p.name: "required" if p.default is inspect.Parameter.empty else p.default for p in found}


def _first_line(name: str) -> str:
    return inspect.cleandoc(RECIPES[name].__doc__ or "").splitlines()[0]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _table(rows: dict[str, Any], title: str = "") -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    if title:
        Console().print(title, highlight=False, soft_wrap=True)
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
    recipe = RECIPES[name]

    def command(out: Path, device: str, **settings: Any) -> None:
        device_named(device)
        run.prepare(out)
        model = recipe(**settings)
        console = Console(stderr=True, highlight=False)
        if model.notes:
            console.print(model.notes)
        model.fit(out, device=device)
        picture = out / "samples.png"
        model.picture(picture)
        console.print(f"trained: {out} (samples in {picture}, losses in {out / 'loss.png'})")

    signature = inspect.signature(recipe)
    own = [
        inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, annotation=Path),
        inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, annotation=str, default="auto"),
    ]
    parameters = [*own, *signature.parameters.values()]
    command.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = inspect.cleandoc(recipe.__doc__ or "") + (
        "\n    out: The run folder to write; an interrupted run in it goes on."
        "\n    device: What to compute on: auto, cpu or cuda."
    )
    tyro.cli(command, prog=f"unmelt train {name}", args=list(rest))


def sample(
    folder: RunFolder,
    /,
    rows: int = 64,
    label: str | None = None,
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
        guidance: Scale of classifier-free guidance; 1 is none.
        steps: Network evaluations, about; the model's own number if not given.
        seed: The same seed gives the same samples.
        out: A .png picture or a .npy array; RUN/sample.png if not given.
        device: What to compute on: auto, cpu or cuda.
    """
    out = out or folder / "sample.png"
    if out.suffix not in (".png", ".npy"):
        raise UsageError(f"the output {out}", "a name that ends in .png or .npy", f"--out {out.with_suffix('.png')}")
    run.prepare(out.parent)
    model = Model.load(folder, device)
    which: Any = label
    if label is None and model.classes:
        which = [row % len(model.classes) for row in range(rows)]
    elif label is not None and label not in model.classes and label.lstrip("-").isdigit():
        which = int(label)
    x = model.sample(rows, label=which, guidance=guidance, steps=steps, seed=seed)
    if out.suffix == ".npy":
        np.save(out, x.numpy())
    else:
        model.draw(x, None if label is not None or not model.classes else which, out)
    Console(stderr=True, highlight=False).print(f"{rows} samples: {out}")


def evaluate(
    folder: RunFolder,
    /,
    steps: int | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Judge samples of a trained model against held-out data.

    Args:
        steps: Network evaluations, about; the model's own number if not given.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Of the samples.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
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
    scores = model.evaluate(steps=steps, guidance=guidance, seed=seed)
    if json:
        _print_json(scores)
    else:
        _table(scores, f"[bold]{folder}[/]")


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
        f"[bold]{folder}[/]",
    )
    _table(about["origin"].get("settings", {}), "\nsettings")
    _table({name: _short(part) for name, part in about["model"].items() if name != "training"}, "\nparts")
    _table({name: f"{size:,} bytes" for name, size in sizes.items()}, "\nfiles")


def _short(part: Any) -> str:
    """A part's description as the call that would make it."""
    if isinstance(part, dict):
        inside = ", ".join(f"{name}={_short(value)}" for name, value in part.items() if name != "part")
        return f"{part['part'].rpartition('.')[2]}({inside})"
    return str(tuple(part)) if isinstance(part, list) else str(part)


COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": recipes,
    "train": train,
    "sample": sample,
    "eval": evaluate,
    "show": show,
}

HELP = """usage: unmelt COMMAND

  recipes        what can be trained, and every setting
  train RECIPE   train it; goes on where it was interrupted
  sample RUN     make new data with a trained model
  eval RUN       judge samples against held-out data
  show RUN       what a run folder holds

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


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    told = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        _dispatch(sys.argv[1:] if args is None else args)
    except UsageError as mistake:
        told.print(f"unmelt: {mistake.given}")
        told.print(f"  needed: {mistake.needed}")
        if mistake.instead:
            told.print(f"  try:    {mistake.instead}")
        return 2
    except KeyboardInterrupt:
        told.print("unmelt: interrupted; the same command goes on from the last checkpoint")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

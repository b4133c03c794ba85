"""`unmelt export | push`: to other libraries, and to the Hub."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import tyro

from unmelt.cli.output import notify
from unmelt.cli.runs import RunFolder, of_numbers
from unmelt.interop import sampler_for_export, to_diffusers
from unmelt.model import load
from unmelt.sampler import Euler, grid


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
        sampler: The model's own, or DPM-Solver++(2M) for what was learned; or Euler's method, which every library has.
        steps: Network evaluations; the model's own number if not given.
    """
    model = of_numbers(folder, "cpu")
    way = sampler_for_export(model) if sampler == "own" else (Euler(), grid.balanced(model.grid.steps))
    taken = way[1] if steps is None else replace(way[1], steps=steps)
    out = out or folder.with_name(f"{folder.name}-{to}")
    to_diffusers(model, out, sampler=way[0], grid=taken)
    notify(f"{to}: {out}")


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
    model = load(folder, "cpu")
    address = model.push_to_hub(name, private=private or None, commit_message=message, license=license)
    notify(f"pushed: {address}")

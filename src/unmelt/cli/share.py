"""`unmelt export | push`: write a run for another library, and upload it to the Hub."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, of_numbers
from unmelt.terminal import notify


def export(
    folder: RunFolder,
    /,
    to: Literal["diffusers", "onnx"] = "diffusers",
    out: Path | None = None,
    sampler: Literal["own", "euler"] = "own",
    steps: int | None = None,
) -> None:
    """Write a run in the format of another library, which makes the same samples of the same noise.

    Args:
        folder: The run folder.
        to: diffusers is a pipeline; onnx are files for onnxruntime, and the times of the sampler.
        out: A new folder. Default: RUN-diffusers or RUN-onnx.
        sampler: For diffusers: own is the model's sampler, or DPM-Solver++(2M) in place of a tuned or learned one;
            euler is Euler's method, which every library has.
        steps: Network evaluations per sample. Default: the model's own number.
    """
    from unmelt.interop import sampler_for_export, to_diffusers, to_onnx
    from unmelt.sampler import Euler, grid

    out = out or folder.with_name(f"{folder.name}-{to}")
    destination.check_folder(out)
    model = of_numbers(folder, "cpu")
    if to == "onnx":
        to_onnx(model, out, steps=steps)
        notify(f"{to}: {out}")
        return
    solver, times = sampler_for_export(model) if sampler == "own" else (Euler(), grid.balanced(model.grid.steps))
    times = times if steps is None else replace(times, steps=steps)
    to_diffusers(model, out, sampler=solver, grid=times)
    notify(f"{to}: {out}")


def push(
    folder: RunFolder,
    name: str,
    /,
    private: bool = False,
    license: str | None = None,
    message: str | None = None,
) -> None:
    """Upload a run to the Hub as OWNER/NAME: its config.json, weights and a model card, without its checkpoints.

    Args:
        folder: The run folder.
        name: The repository, as OWNER/NAME.
        private: Make the repository private if it is new.
        license: License of the weights, by its short name. Default: that of an earlier card.
        message: The commit message.
    """
    from unmelt.model import load

    model = load(folder, "cpu")
    address = model.push_to_hub(name, private=private or None, commit_message=message, license=license)
    notify(f"pushed: {address}")

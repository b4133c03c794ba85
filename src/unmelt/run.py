"""A run folder: everything a model is, in files that describe themselves.

    config.json         what the model is made of, how it was made, and a digest of both files
    model.safetensors   the averaged weights
    metrics.jsonl       the losses
    checkpoints/        what an interrupted run goes on from, the newest two
    averages/           snapshots, if some were asked for, of which averages of any length are made afterwards
    samples/, loss.png
    eval.json, once it was judged

A folder that is cut short, changed by hand, or written by another version says so when it is opened.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from unmelt.aliases import current, current_origin
from unmelt.config import build, describe
from unmelt.errors import UsageError
from unmelt.train.files import read_tensors, write_json, write_tensors

FORMAT = 1
CONFIG, WEIGHTS, METRICS, CHECKPOINTS = "config.json", "model.safetensors", "metrics.jsonl", "checkpoints"
AVERAGES = "averages"


FREE = ("steps", "save_every", "picture_every")
"""What may change when a run goes on: how far it goes, how often it is saved and shown."""


class Run(NamedTuple):
    """What a run folder holds."""

    about: dict[str, Any]
    weights: dict[str, Tensor]


def _digest(about: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in about.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def most_bytes(weights: Mapping[str, Tensor]) -> int:
    """How large a file of these tensors may be, names included: one that is larger holds something else."""
    return sum(value.numel() * value.element_size() + 512 for value in weights.values()) + 4096


def writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to or made, before any work is done for it; leaves nothing behind."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(
            f"the output {folder} cannot be written ({error.strerror})",
            "a folder that can be written to",
            "--out runs/new",
        ) from None


def prepare(folder: Path) -> None:
    """Make sure that the folder exists and can be written to."""
    writable(folder)
    folder.mkdir(parents=True, exist_ok=True)


def write_run(folder: Path, about: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors; neither is ever half there."""
    prepare(folder)
    write_tensors(folder / WEIGHTS, dict(weights))
    about = {"format": FORMAT, **about, "weights": _file_digest(folder / WEIGHTS)}
    write_json(folder / CONFIG, {**about, "digest": _digest(about)})


def read_about(folder: Path) -> dict[str, Any]:
    """config.json, once it is known to be whole and ours."""
    path = folder / CONFIG
    if not path.is_file():
        given = f"{folder} has no {CONFIG}" if folder.is_dir() else f"there is no run folder {folder}"
        if folder.is_file():
            given = f"{folder} is a file"
        raise UsageError(given, "a folder that training wrote", "unmelt train digits --out runs/digits")
    try:
        about = json.loads(path.read_bytes())
        version = about["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} is damaged ({error})", "the file as it was saved", "a copy of it, or training again"
        ) from None
    if version != FORMAT:
        raise UsageError(
            f"{folder} was written in format {version!r}",
            f"format {FORMAT}",
            "the version of unmelt that wrote it, or training again",
        )
    if about.get("digest") != _digest(about):
        raise UsageError(
            f"{path} was changed after it was written", "the file as it was saved", "a copy of it, or training again"
        )
    about |= {name: current(about[name]) for name in ("model", "tuned") if name in about}
    return about | {"origin": current_origin(about["origin"])} if "origin" in about else about


def read_run(folder: Path) -> Run:
    """Description and weights; any damage is a `UsageError`."""
    about = read_about(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {WEIGHTS}", "the weights that training wrote", "a copy of them, or training again"
        )
    weights, _ = read_tensors(path)
    if _file_digest(path) != about["weights"]:
        raise UsageError(
            f"{path} is not the file that {CONFIG} describes",
            "the weights as they were saved",
            "a copy of them, or training again",
        )
    return Run(about, weights)


def check_same(folder: Path, mine: dict[str, Any]) -> None:
    """Refuse to go on with a run that learns from other data, or in another way, than it began with."""
    before = read_about(folder)
    before["model"]["training"] = describe(build(before["model"]["training"]))  # with what could not be set then
    differs = _differences(before["origin"], mine["origin"])
    for part in ("denoiser", "codec", "tokenizer", "objective", "training"):
        if not differs and part in mine["model"]:
            differs = _differences(before["model"][part], mine["model"][part], part)
    if differs:
        raise UsageError(
            f"{folder} holds another run: {'; '.join(differs[:5])}",
            "the settings it was started with, or an empty folder",
            f"--out {folder}-new",
        )


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Every value that is not the same, as "name is this there, that here"."""
    if isinstance(before, dict) and isinstance(now, dict) and before.get("part") == now.get("part"):
        names = [key for key in {**before, **now} if key not in FREE]
        return [line for key in names for line in _differences(before.get(key), now.get(key), f"{name}.{key}")]
    name = name.removeprefix(".").removeprefix("settings.")
    return [] if before == now else [f"{name} is {_brief(before)} there, {_brief(now)} here"]


def _brief(value: Any) -> str:
    return str(value["part"]) if isinstance(value, dict) and "part" in value else repr(value)

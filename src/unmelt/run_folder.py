"""A run folder: a model's description, weights, losses and checkpoints.

    config.json         the model's parts, how it was made, and digests of all weights
    model.safetensors   the denoiser's weights, averaged
    codec.safetensors   weights of the codec, if it has some; likewise of an encoder and of each adapter
    metrics.jsonl       the losses
    checkpoints/        the two newest checkpoints, from which an interrupted run resumes
    averages/           snapshots, if there are some, from which post-hoc averages are made
    samples/, loss.png
    eval.json           scores, written by `unmelt eval`

Opening a folder that is truncated, edited by hand, or written by another version raises an error that says so.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from unmelt import run_schema
from unmelt.aliases import current, current_model, current_origin
from unmelt.config import fill_defaults
from unmelt.data.identity import NAMES, differences
from unmelt.errors import UsageError
from unmelt.near_path import not_a_run
from unmelt.run_place import check_apart
from unmelt.train.atomic_files import read_tensors, write_json, write_tensors

FORMAT, READABLE = 2, (1, 2)
"""The format that is written, and those that can be read. In format 1 only the denoiser has weights."""

CONFIG, WEIGHTS, METRICS, CHECKPOINTS = "config.json", "model.safetensors", "metrics.jsonl", "checkpoints"
AVERAGES = "averages"

AWAITING = ".awaiting"
"""End of the names of weights that config.json does not name yet."""


DENOISER = "denoiser"
MODULE = re.compile(r"[\w-]+")
"""Names that a module's file may have."""

FREE = ("steps", "save_every", "picture_every")
"""Settings that may change when a run resumes."""

PLACES = ("folder", "text", "episodes")
"""Settings that say where data are. They may change where the run has recorded what data they are."""


class Run(NamedTuple):
    """What a run folder holds.

    Args:
        about: Its config.json, with present names.
        weights: The tensors of each module, by the module's name.
    """

    about: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]


def weights_file(module: str) -> str:
    """The file that holds a module's weights.

    Args:
        module: Its name: "denoiser", "codec", "encoder", "features" or one of an adapter.

    Returns:
        The file's name in the run folder.
    """
    return WEIGHTS if module == DENOISER else f"{module}.safetensors"


def _digest(about: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in about.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def most_bytes(weights: Mapping[str, Tensor]) -> int:
    """The largest size that a file of these tensors may have; a larger file holds something else.

    Args:
        weights: Tensors by name.

    Returns:
        Bytes, names and header included.
    """
    return sum(value.numel() * value.element_size() + 512 for value in weights.values()) + 4096


def writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to or made, before work is done for it. Creates nothing.

    Args:
        folder: The output folder.

    Raises:
        UsageError: If it cannot be written to.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(
            f"the output {folder} cannot be written ({error.strerror})",
            "a folder that can be written to",
            "out='runs/new'",
        ) from None


def prepare(folder: Path) -> None:
    """Make sure that a folder exists and can be written to.

    Args:
        folder: The folder; made if it does not exist.
    """
    writable(folder)
    folder.mkdir(parents=True, exist_ok=True)


def write_run(folder: Path, about: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write config.json and a file of weights for each module, all of it or nothing.

    Weights are first written beside the present ones. The new config.json then names them, and they take the places of
    the earlier ones. Whoever reads meanwhile, or after this process was killed, finds the earlier or the new state.

    Args:
        folder: The run folder; made if it does not exist.
        about: The content of config.json.
        weights: Tensors of each module by the module's name, those of the main one among them (`about["main"]`).

    Raises:
        UsageError: If the folder cannot be written to, or is not apart from the model's data.
    """
    check_apart(folder, about.get("origin", {}))
    prepare(folder)
    digests: dict[str, str] = {}
    try:
        for module, tensors in weights.items():
            written = folder / f".{weights_file(module)}.written"
            write_tensors(written, dict(tensors))
            digests[module] = _file_digest(written)
            os.replace(written, _awaiting(folder, module, digests[module]))
        main = about.get("main", DENOISER)
        described = {name: digest for name, digest in digests.items() if name != main}
        about = {"format": FORMAT, **about, "weights": digests[main], "modules": described}
        write_json(folder / CONFIG, {**about, "digest": _digest(about)})
    except BaseException:
        for module, digest in digests.items():
            _awaiting(folder, module, digest).unlink(missing_ok=True)
        raise
    for module, digest in digests.items():
        os.replace(_awaiting(folder, module, digest), folder / weights_file(module))
    for left in folder.glob(f".*{AWAITING}"):  # of a process that was killed before it wrote config.json
        left.unlink(missing_ok=True)


def _awaiting(folder: Path, module: str, digest: str) -> Path:
    """Where weights lie until config.json names them: there is no moment at which a folder cannot be read."""
    return folder / f".{weights_file(module)}.{digest[:16]}{AWAITING}"


def read_about(folder: Path) -> dict[str, Any]:
    """Read config.json and check it.

    Args:
        folder: The run folder.

    Returns:
        Its content, with present names.

    Raises:
        UsageError: If there is no run folder, or config.json is damaged, edited or of an unknown format.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UsageError(*not_a_run(folder))
    try:
        about = json.loads(path.read_bytes())
        version = about["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} is damaged ({error})", "the file as it was saved", "a copy of it, or training again"
        ) from None
    if isinstance(version, bool) or version not in READABLE:
        raise UsageError(
            f"{folder} was written in format {version!r}",
            f"format {' or '.join(map(str, READABLE))}",
            "the version of unmelt that wrote it, or training again",
        )
    run_schema.check_depth(path, about)
    if about.get("digest") != _digest(about):
        raise UsageError(
            f"{path} was changed after it was written", "the file as it was saved", "a copy of it, or training again"
        )
    if "facade" not in about:  # format 1
        about["facade"] = "TextModel" if "tokenizer" in about.get("model", {}) else "Model"
    run_schema.check_kinds(path, about)
    renamed = {"model": current_model, "origin": current_origin}
    renamed |= dict.fromkeys(("tuned", "adapters", "controls"), current)
    return about | {name: rename(about[name]) for name, rename in renamed.items() if name in about}


def digests(about: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each module's weights, by the module's name.

    Args:
        about: What `read_about` returned.

    Returns:
        Digests, that of the main module first.

    Raises:
        UsageError: If a module has a name that no file may have.
    """
    main, modules = about.get("main", DENOISER), about.get("modules", {})
    if not isinstance(modules, dict) or not all(MODULE.fullmatch(name) for name in (main, *modules)):
        raise UsageError(f"modules {modules!r}", "their names and digests", "the file as it was saved")
    return {main: about.get("weights", ""), **modules}


def read_run(folder: Path) -> Run:
    """Read a run folder's description and weights.

    Args:
        folder: The run folder.

    Returns:
        Description and weights.

    Raises:
        UsageError: If any of it is damaged.
    """
    about = read_about(folder)
    while True:
        try:
            return Run(about, {name: _read_weights(folder, name, digest) for name, digest in digests(about).items()})
        except UsageError:
            now = read_about(folder)
            if now == about:
                raise
            about = now  # training saved meanwhile


def _read_weights(folder: Path, module: str, digest: str) -> dict[str, Tensor]:
    path = folder / weights_file(module)
    for each in (path, _awaiting(folder, module, digest), path):  # renamed, perhaps, while the first was looked at
        weights = _read_if(each, digest)
        if weights is not None:
            return weights
    if not path.is_file():
        raise UsageError(
            f"{folder} has no {path.name}", "the weights that training wrote", "a copy of them, or training again"
        )
    read_tensors(path)  # which says what is wrong with a file that is cut short
    raise UsageError(
        f"{path} is not the file that {CONFIG} describes",
        "the weights as they were saved",
        "a copy of them, or training again",
    )


def _read_if(path: Path, digest: str) -> dict[str, Tensor] | None:
    """The tensors of the file with this digest; None if the file is another one, is replaced meanwhile or missing."""
    try:
        before = path.stat()
        if _file_digest(path) != digest:
            return None
        weights, _ = read_tensors(path)
        after = path.stat()
    except (OSError, UsageError):
        return None
    same = (before.st_ino, before.st_mtime_ns, before.st_size) == (after.st_ino, after.st_mtime_ns, after.st_size)
    return weights if same else None


def check_same(folder: Path, mine: dict[str, Any], allow_other_data: bool = False) -> None:
    """Refuse to resume a run with other settings or other data than it was started with.

    Args:
        folder: The run folder.
        mine: The description of the model that would resume it.
        allow_other_data: Whether the data may be others.

    Raises:
        UsageError: If recipe, data, denoiser, codec, encoder, objective, training or adapters differ; names the
            differences.
    """
    before = read_about(folder)
    free = (*FREE, *PLACES) if before.get("data") else FREE
    differs = _differences(before["origin"], mine["origin"], free=free)
    if not differs and not allow_other_data and (others := other_data(before.get("data"), mine.get("data"))):
        raise UsageError(
            f"{folder} learned from other data: {'; '.join(others)}",
            "the data it was started with; or to say that it is to go on with these",
            "allow_other_data=True",
        )
    for part in ("denoiser", "codec", "encoder", "objective", "network", "verifier", "places", "training"):
        if not differs and part in before["model"]:
            differs = _differences(fill_defaults(before["model"][part]), mine["model"][part], part)
    if not differs:
        differs = _differences(before.get("adapters", {}), mine.get("adapters", {}), "adapters")
    if differs:
        raise UsageError(
            f"{folder} holds another run: {'; '.join(differs[:5])}",
            "the settings it was started with, or an empty folder",
            f"out={str(folder) + '-new'!r}",
        )


def other_data(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """Say how the data of a run differ from those at hand.

    Args:
        before: The identities that its config.json records; None for a run that recorded none.
        now: Those of the data at hand, or of a part of them.

    Returns:
        A clause for each difference.
    """
    if not before or not now:
        return []
    return [line for part in NAMES if part in now for line in differences(before.get(part), now[part], part)]


def _differences(before: Any, now: Any, name: str = "", free: Sequence[str] = FREE) -> list[str]:
    """Every value that is not the same, as "name is this there, that here"."""
    if isinstance(before, dict) and isinstance(now, dict) and before.get("part") == now.get("part"):
        names = [key for key in {**before, **now} if key not in free]
        return [line for key in names for line in _differences(before.get(key), now.get(key), f"{name}.{key}", free)]
    name = name.removeprefix(".").removeprefix("settings.")
    return [] if before == now else [f"{name} is {_brief(before)} there, {_brief(now)} here"]


def _brief(value: Any) -> str:
    return str(value["part"]) if isinstance(value, dict) and "part" in value else repr(value)


def load_weights(folder: Path, name: str, module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a module the weights that were saved for it.

    Args:
        folder: The run folder, for the error message.
        name: Name of the module.
        module: The module.
        weights: Its tensors by name.

    Raises:
        UsageError: If they are not those of this module.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"the weights of the {name} in {folder} do not fit its description ({str(error).splitlines()[0]})",
            "all files as they were saved together",
            "a copy of them, or training again",
        ) from None

"""Scores on record: what `unmelt eval` measured is not measured again while weights, data and settings are the same.

eval.json holds the scores, the digest of the weights, and under `asked` the digest of config.json, of the data and what
was asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from unmelt import run_folder
from unmelt.card import SCORES
from unmelt.data import Arrays, AspectRatioBuckets, Source
from unmelt.train.atomic_files import write_json

ROWS = 512
"""Rows that stand for a source without end."""


def question(folder: Path, source: Source | None, held_out: Source | None, **settings: Any) -> dict[str, Any]:
    """Describe what scores depend on.

    Args:
        folder: The run folder.
        source: The training data; None for none.
        held_out: The data that the model is judged by; None for none.
        settings: What was asked for: number of samples, steps, seed.

    Returns:
        What two measurements must have in common to be one.
    """
    run = run_folder.read_about(folder)["digest"]
    return {"run": run, "data": [_digest(source), _digest(held_out)], **settings}


def recorded(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the scores that were measured for a question.

    Args:
        folder: The run folder.
        asked: What `question` returned.

    Returns:
        Scores by name; None if there are none, or they answer another question.
    """
    try:
        scores = dict(json.loads((folder / SCORES).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    scores.pop("weights", None)
    return scores if scores.pop("asked", None) == json.loads(json.dumps(asked)) else None


def record(folder: Path, asked: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Write scores to the run folder.

    Args:
        folder: The run folder.
        asked: What `question` returned.
        scores: Scores by name.
    """
    weights = run_folder.read_about(folder)["weights"]
    write_json(folder / SCORES, {**scores, "weights": weights, "asked": dict(asked)})


def _digest(source: Source | None) -> str:
    """A digest of the values and labels of a source."""
    if source is None:
        return ""
    if isinstance(source, AspectRatioBuckets):  # models are judged by one of them
        source = source.main_bucket
    if isinstance(source, Arrays):
        parts = [each for each in source.all() if each is not None]
    else:
        values, condition = source.batch(0, ROWS)
        parts = [values] if condition is None else [values, *filter(torch.is_tensor, vars(condition).values())]
    found = hashlib.sha256()
    for each in parts:
        found.update(f"{each.dtype} {tuple(each.shape)}".encode())
        found.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()

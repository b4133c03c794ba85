"""How good speech is: held-out texts said in their voices, beside the recordings of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.metric import LogSpectrum, frechet_distance
from unmelt.model.judging import note_other_data

if TYPE_CHECKING:
    from unmelt.model.speech_model import SpeechModel

JUDGED = 64
"""Texts that are judged where no number is given."""


def held_out_sounds(
    model: SpeechModel, count: int, steps: int | None, guidance: float, seed: int
) -> tuple[list[Tensor], list[Tensor], list[str]]:
    """Say held-out texts in the voices of their recordings; those of training where none are held out.

    Args:
        model: The model, with its data.
        count: Texts at most.
        steps: Number of sampling steps; None for the model's own.
        guidance: Scale of classifier-free guidance.
        seed: Seed of the samples.

    Returns:
        The recordings, what the model makes of their texts, and the texts.

    Raises:
        UsageError: If the model has no recordings.
    """
    source: Any = model.held_out or model.source
    if source is None:
        raise UsageError(
            "a model of speech without recordings",
            "one made by a recipe, or loaded with its data",
            'um.recipe.with_data("runs/speech")',
        )
    items = range(min(count, len(source)))
    texts = [source.texts[item] for item in items]
    label = None if source.labels is None else source.labels[: len(texts)]
    made = model.sample(texts, voice=label, steps=steps, guidance=guidance, seed=seed)
    return [source.sound(item)[None] for item in items], made, texts


def evaluate(model: SpeechModel, samples: int | None, steps: int | None, guidance: float, seed: int) -> dict[str, Any]:
    """Score a model; see `SpeechModel.evaluate`.

    Args:
        model: The model, with its data.
        samples: Texts to judge by.
        steps: Number of sampling steps.
        guidance: Scale of classifier-free guidance.
        seed: Seed of the samples.

    Returns:
        Figures by name.

    Raises:
        UsageError: If there are no held-out recordings.
    """
    source: Any = model.source
    if model.held_out is None or source is None:
        raise UsageError(
            "a model of speech without held-out recordings",
            "one made by a recipe, or loaded with its data",
            'um.recipe.with_data("runs/speech")',
        )
    note_other_data(model)
    real, made, _ = held_out_sounds(model, samples or JUDGED, steps, guidance, seed)
    trained = [source.sound(item)[None] for item in range(min(len(source), len(real)))]
    features = LogSpectrum(model.sample_rate)
    known, new, old = (torch.cat([features(x[None]) for x in sounds]) for sounds in (real, made, trained))
    errors = [abs(x.shape[1] - y.shape[1]) / y.shape[1] for x, y in zip(made, real, strict=True)]
    return {
        "frechet": frechet_distance(new, known),
        "frechet_floor": frechet_distance(old, known),
        "seconds_error": sum(errors) / len(errors),
        "samples": len(real),
        "steps": steps or model.grid.steps,
        "guidance": guidance,
    }


def padded(sounds: Sequence[Tensor]) -> Float[Tensor, "rows 1 samples"]:
    """Put sounds into one tensor, with zeros after the shorter ones.

    Args:
        sounds: Sounds [1, samples].

    Returns:
        [rows, 1, samples].
    """
    longest = max(each.shape[-1] for each in sounds)
    return torch.stack([F.pad(each, (0, longest - each.shape[-1])) for each in sounds])

"""Names in the run folders of earlier versions, and their present names.

A run folder names its parts, their arguments and the settings of its recipe. A renamed part is entered here, so that
older folders still load. `current` is applied once, where a folder is read.
"""

from typing import Any

PARTS = {
    "denoiser.Network": "denoiser.NetworkDenoiser",
    "denoiser.TokenNetwork": "denoiser.TokenDenoiser",
    "schedule.Geometric": "schedule.TokenGeometric",
    "schedule.Linear": "schedule.TokenLinear",
    "schedule.MaskCosine": "schedule.TokenCosine",
    "schedule.Polynomial": "schedule.TokenPolynomial",
    "denoiser.Fitted": "denoiser.GaussianMixtureDenoiser",
    "denoiser.Refined": "denoiser.ResidualDenoiser",
    "grid.Shares": "grid.RelativeLevels",
    "objective.EDM": "objective.EDMWeight",
    "objective.ELBO": "objective.ELBOWeight",
    "objective.Flat": "objective.FlatWeight",
    "prediction.Velocity": "prediction.FlowVelocity",
    "rate.Cosine": "lr_schedule.Cosine",
    "rate.InverseRoot": "lr_schedule.InverseRoot",
    "rate.Trapezoid": "lr_schedule.Trapezoid",
    "sampler.Corrected": "sampler.PredictorCorrector",
    "tokens.Bounded": "tokens.EntropyBound",
    "tokens.Mended": "tokens.PredictorCorrector",
    "tokens.Surety": "tokens.NegativeEntropy",
}
"""Parts, earlier name to present name."""

ARGUMENTS = {
    "backbone.DiT": {"context": "context_channels", "features": "vector_width"},
    "backbone.MLP": {"features": "vector_width"},
    "backbone.UNet": {"context": "context_channels", "features": "vector_width"},
    "backbone.Transformer": {"symbols": "input_vocabulary"},
    "denoiser.Autoregressive": {"middle": "fills_middle"},
    "denoiser.Blockwise": {"both": "also_bidirectional"},
    "grid.RelativeLevels": {"of_start": "fractions"},
    "objective.AnyOrder": {
        "even": "equal_token_weights",
        "free": "bidirectional_row_fraction",
        "twice": "antithetic_masks",
    },
    "sampler.PredictorCorrector": {"walks": "corrector_steps"},
    "tokens.EntropyBound": {"nats": "entropy_budget"},
    "tokens.PredictorCorrector": {"times": "corrector_steps"},
    "tokens.Unmask": {"apart": "min_distance", "end": "end_token"},
    "train.Training": {"rate": "lr_schedule"},
}
"""Arguments of parts (present names), earlier name to present name."""

MODEL = {"tokenizer": "codec"}
"""Parts of a model, earlier name to present name."""

SETTINGS = {"free": "bidirectional_row_fraction", "middle": "fim_rate"}
"""Settings of recipes, earlier name to present name."""


def current(description: Any) -> Any:
    """A description of parts with present names.

    Args:
        description: What `config.describe` returned in this or an earlier version.

    Returns:
        The same description with present names.
    """
    if isinstance(description, list):
        return [current(value) for value in description]
    if not isinstance(description, dict):
        return description
    name = description.get("part")
    name = PARTS.get(name, name) if isinstance(name, str) else name
    arguments = ARGUMENTS.get(name, {}) if isinstance(name, str) else {}
    found = {arguments.get(key, key): current(value) for key, value in description.items()}
    return found | {"part": name} if "part" in description else found


def current_model(parts: Any) -> Any:
    """The parts of a model with present names, and with the modality and encoder that older folders do not name.

    Args:
        parts: Descriptions by role, as the run folder has them.

    Returns:
        The same with present names.
    """
    found = current(parts)
    if not isinstance(found, dict):
        return found
    is_text = "tokenizer" in found
    found = {MODEL.get(key, key): value for key, value in found.items()}
    denoiser = found.get("denoiser")
    if "modality" in found or not isinstance(denoiser, dict):
        return found
    backbone, inner = denoiser.get("backbone"), denoiser.get("base") or denoiser
    if isinstance(backbone, dict) and backbone.get("sequence_width"):
        found["encoder"] = {"part": "encoder.HashedCaptionEncoder"}  # the only one there was
    images = isinstance(inner, dict) and isinstance(inner.get("shape"), list) and len(inner["shape"]) == 3
    found["modality"] = {"part": f"modality.{'Text' if is_text else 'Images' if images else 'Points'}"}
    return found


def current_origin(origin: Any) -> Any:
    """The recipe and settings of a run with present names.

    Args:
        origin: {"recipe": name, "settings": {...}} as the run folder has it.

    Returns:
        The same with present names.
    """
    if not isinstance(origin, dict) or not isinstance(origin.get("settings"), dict):
        return origin
    return origin | {"settings": {SETTINGS.get(key, key): value for key, value in origin["settings"].items()}}

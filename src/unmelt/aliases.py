"""Names of earlier versions, and their present names.

A run folder names its parts, their arguments and the settings of its recipe. A renamed part is entered here, so that
older folders still load. `current` is applied once, where a folder is read. Programs find other renamed names here too:
the error for an earlier name says the present one.
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
    "unmelt.interop.betas.Betas": "interop.Betas",
    "unmelt.interop.canvas_denoiser.CanvasDenoiser": "interop.CanvasDenoiser",
    "unmelt.interop.canvas_denoiser.CanvasNetwork": "interop.CanvasNetwork",
    "unmelt.interop.chat_text.ChatText": "interop.ChatText",
    "unmelt.interop.conditional_unet.DiffusersConditionalUNet": "interop.DiffusersConditionalUNet",
    "unmelt.interop.control_network.DiffusersControlNet": "interop.DiffusersControlNet",
    "unmelt.interop.control_network.DiffusersT2IAdapter": "interop.DiffusersT2IAdapter",
    "unmelt.interop.diffusers_codec.DiffusersCodec": "interop.DiffusersCodec",
    "unmelt.interop.dit.DiffusersDiT": "interop.DiffusersDiT",
    "unmelt.interop.flux2.DiffusersFlux2": "interop.DiffusersFlux2",
    "unmelt.interop.language_network.LanguageNetwork": "interop.LanguageNetwork",
    "unmelt.interop.resolution_shift.ResolutionShift": "interop.ResolutionShift",
    "unmelt.interop.stable_diffusion_3.DiffusersSD3": "interop.DiffusersSD3",
    "unmelt.interop.stable_diffusion_3_text.StableDiffusion3Text": "interop.StableDiffusion3Text",
    "unmelt.interop.stable_diffusion_text.StableDiffusionText": "interop.StableDiffusionText",
    "unmelt.interop.stable_diffusion_xl_text.StableDiffusionXLText": "interop.StableDiffusionXLText",
    "unmelt.interop.unet.DiffusersUNet": "interop.DiffusersUNet",
    "unmelt.interop.z_image.DiffusersZImage": "interop.DiffusersZImage",
}
"""Parts, earlier name to present name."""

NAMES = {
    "Frame": "SampleFrame",
    "compare.Page": "compare.Report",
    "data.Ahead": "data.Prefetcher",
    "data.Captioned": "data.CaptionedScene",
    "data.GAP": "data.GAP_MARKER",
    "data.Middle": "data.FillInTheMiddle",
    "data.facts": "data.reversal_facts",
    "data.packed": "data.pack_tokens",
    "data.parted": "data.split_documents",
    "denoiser.Hasty": "denoiser.ApproximateBlockCache",
    "denoiser.Table": "denoiser.ExactTokenDenoiser",
    "guidance.Allowed": "guidance.AllowedTokens",
    "guidance.Classifier": "guidance.ClassifierGuidance",
    "guidance.Nucleus": "guidance.TopP",
    "guidance.Still": "guidance.ZeroInit",
    "grid.shares": "grid.relative_levels",
    "interop.chosen": "interop.sampler_for_export",
    "inverse.Hold": "inverse.Replacement",
    "inverse.Mask": "inverse.Inpainting",
    "ledger": "compare",
    "likelihood.START": "likelihood.SIGMA_MIN",
    "metric.Judge": "metric.Classifier",
    "metric.Margins": "metric.ClassifierMargins",
    "metric.Nearest": "metric.NearestNeighbour",
    "metric.Sheet": "metric.SampleSet",
    "metric.collect": "metric.collect_samples",
    "metric.endless": "metric.frechet_extrapolated",
    "metric.extrapolated": "metric.frechet_extrapolated",
    "metric.sheet": "metric.collect_samples",
    "model.Frame": "model.SampleFrame",
    "picture.writing": "picture.text_html",
    "rng.Rows": "rng.RowSeeds",
    "sampler.Lesson": "sampler.TuneResult",
    "sampler.stock": "sampler.learned_sampler",
    "scene.Painted": "scene.PaintedScene",
    "scene.Worded": "scene.WordedScene",
    "schedule.with_levels": "schedule.require_gaussian",
    "train.Averaged": "train.ReconstructedEMA",
    "train.Engine": "train.Execution",
    "train.Power": "train.PowerFunctionEMA",
    "train.Record": "train.MetricsLog",
    "train.Saved": "train.NetworkState",
    "train.Watch": "train.Logger",
    "train.averaged": "train.reconstruct_ema",
    "train.processes": "train.distributed",
    "train.rate": "train.lr_schedule",
    "train.watches": "train.loggers",
    "vector.Frame": "vector.Axes",
    "vector.Mark": "vector.Ring",
    "vector.Rule": "vector.VerticalLine",
    "vector.Steps": "vector.Histogram",
    "vector.Walkers": "vector.MovingDots",
}
"""Public names that no run folder holds, earlier name to present name."""

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


ADDED: dict[str, dict[str, Any]] = {"images": {"split": "position"}, "text": {"split": "position"}}
"""Settings that a recipe did not have, and what it did then."""


def present_name(module: str, name: str) -> str | None:
    """The present name of something that a module of an earlier version had.

    Args:
        module: The module's full name, such as "unmelt.inverse".
        name: The earlier name in it.

    Returns:
        The present name, such as "inverse.Replacement"; None if nothing is known of the earlier one.
    """
    short = module.rpartition(".")[2]
    earlier = name if module == "unmelt" else f"{short}.{name}"
    return NAMES.get(earlier, PARTS.get(earlier))


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
    return found | {"part": name} if isinstance(name, str) else found


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
    settings = {SETTINGS.get(key, key): value for key, value in origin["settings"].items()}
    return origin | {"settings": ADDED.get(str(origin.get("recipe")), {}) | settings}

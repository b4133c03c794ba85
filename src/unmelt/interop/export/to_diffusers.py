"""Export a model to a folder that diffusers loads and that makes the same images from the same noise.

A network of diffusers (`DiffusersUNet`) on its own chain of betas becomes a `DDIMPipeline`, without any code.

Networks of this library become a pipeline that brings its code. Their weights do not fit diffusers' classes exactly:
UNet2DModel uses one number of normalisation groups throughout, where ours grows with the channels, and has fixed
frequencies for the noise level; DiTTransformer2DModel counts timesteps, too, and always has classes. So the folder
holds the denoiser's source, cut out of this package, weights as safetensors, and one of diffusers' own schedulers.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch

from unmelt import config
from unmelt.codec import Affine, Autoencoder
from unmelt.denoiser import BoundedDenoiser, NetworkDenoiser
from unmelt.denoiser.flow_map import check_denoises
from unmelt.errors import UsageError
from unmelt.interop.diffusers_package import diffusers
from unmelt.interop.export.folder import export_folder
from unmelt.interop.export.single_file import bundle
from unmelt.interop.network.unet import DiffusersUNet
from unmelt.interop.scheduler.config import PREDICTIONS
from unmelt.interop.scheduler.match import SchedulerMatch, is_euler, match_scheduler
from unmelt.model import Model
from unmelt.sampler import DPMpp, Euler, Grid, Sampler
from unmelt.sampler.grid import Uniform, balanced, karras
from unmelt.train.atomic_files import write_json

FILE, DECODER_FILE = "unmelt_denoiser", "unmelt_decoder"


def to_diffusers(model: Model, folder: str | Path, *, sampler: Sampler | None = None, grid: Grid | None = None) -> Path:
    """Write a model as a diffusers folder.

    Load it with `DiffusionPipeline.from_pretrained(folder)`. For a network of this library, whose code is in the
    folder, add `custom_pipeline=folder, trust_remote_code=True`.

    Args:
        model: The model.
        folder: The folder to write, new or empty.
        sampler: What the scheduler should do; None for the choice of `sampler_for_export`.
        grid: Its grid; None for the choice of `sampler_for_export`.

    Returns:
        The folder.

    Raises:
        UsageError: If the folder is not empty, or diffusers cannot do what the model or the sampler does.
    """
    diffusers()
    folder, (sampler, grid) = Path(folder), sampler_for_export(model, sampler, grid)
    with export_folder(model, folder, "diffusers") as temporary:
        _check_exportable(model)
        if _is_native(model):
            _write_native(model, sampler, grid, temporary)
        else:
            schedule, sd = model.denoiser.process.schedule, model.denoiser.data_sd
            _write(model, match_scheduler(sampler, grid, schedule, sd), grid, temporary)
    return folder


def _check_exportable(model: Model) -> None:
    """Refuse a model that diffusers' pipelines cannot be made of."""
    if len(model.denoiser.shape) != 3:
        raise UsageError(
            f"a model of rows of shape {model.denoiser.shape}", "one of images, as diffusers' pipelines make", ""
        )
    if isinstance(model.denoiser, BoundedDenoiser):
        raise UsageError(
            "a model whose beliefs are held within a range, which diffusers' schedulers do in another way",
            "its denoiser without the range",
            "um.Model(denoiser=model.denoiser.denoiser, codec=model.codec, grid=model.grid)",
        )
    if not isinstance(model.codec, Affine | Autoencoder):
        raise UsageError(f"a codec {type(model.codec).__name__}", "a shift and a scale (Affine), or an Autoencoder", "")


def sampler_for_export(model: Model, sampler: Sampler | None = None, grid: Grid | None = None) -> tuple[Sampler, Grid]:
    """The sampler and grid that are exported where not both are given: the model's own, if it has them.

    A student jumps there as here. Learned samplers (tuned and default ones) have no equivalent in diffusers.
    DPM-Solver++(2M) on Karras' grid is exported instead; on schedules that end in pure noise, where diffusers has no
    equivalent of that, Euler's method on a balanced grid.

    Args:
        model: The model.
        sampler: The wanted sampler; None to choose one.
        grid: The wanted grid; None to choose one.

    Returns:
        (sampler, grid).
    """
    if sampler is None and model.sampler is None:
        top = torch.exp(-model.denoiser.process.schedule.log_snr(torch.ones((), dtype=torch.float64)) / 2).item()
        steps = (grid or model.grid).steps
        if top == math.inf:
            return Euler(), grid or balanced(steps)
        return DPMpp(order=2), grid or karras(steps, sigma_max=round(top, 9))
    return sampler or model.sampler, grid or model.grid


def _is_native(model: Model) -> bool:
    """Whether diffusers' own DDIMPipeline can run it: its network, on its chain, unconditional and without scaling."""
    denoiser = model.denoiser
    return (
        isinstance(denoiser, NetworkDenoiser)
        and isinstance(denoiser.backbone, DiffusersUNet)
        and denoiser.process.schedule == denoiser.backbone.betas
        and denoiser.prediction in PREDICTIONS.values()
        and (denoiser.backbone.classes, denoiser.data_sd, model.codec) == (0, 1.0, Affine.images())
    )


def _write_native(model: Model, sampler: Sampler, grid: Grid, folder: Path) -> None:
    denoiser: Any = model.denoiser
    betas = denoiser.process.schedule
    if not (
        is_euler(sampler) and isinstance(grid.spacing, Uniform) and grid.start == 1 and betas.steps % grid.steps == 0
    ):
        raise UsageError(
            f"{sampler} on {grid} for a DDIMPipeline",
            f"DDIM() on a uniform grid of a number of steps that divides {betas.steps}",
            "sampler=um.sampler.DDIM(), grid=um.grid.uniform(50)",
        )
    kinds = diffusers()
    scheduler = kinds.DDIMScheduler(
        num_train_timesteps=betas.steps,
        beta_schedule=betas.spacing,
        beta_start=betas.start,
        beta_end=betas.end,
        trained_betas=list(betas.given) or None,
        prediction_type=next(name for name, kind in PREDICTIONS.items() if kind == denoiser.prediction),
        timestep_spacing="trailing",
        clip_sample=False,
    )
    kinds.DDIMPipeline(denoiser.backbone.network, scheduler).save_pretrained(folder)


def _write(model: Model, match: SchedulerMatch, grid: Grid, folder: Path) -> None:
    """Write a folder that brings its code."""
    from unmelt.interop.export import diffusers_model, diffusers_pipeline

    pipeline = Path(diffusers_pipeline.__file__).read_text(encoding="utf-8")
    (folder / "pipeline.py").write_text(pipeline, encoding="utf-8", newline="\n")
    description, denoiser = _write_source(model.denoiser, folder / "denoiser", FILE), model.denoiser
    jumps = match.sigmas is not None
    if not jumps and hasattr(denoiser, "is_denoiser"):
        check_denoises(denoiser)
    wrapper = diffusers_model.UnmeltDenoiser(
        description=description,
        convention=match.convention,
        start=match.start,
        classes=tuple(model.classes),
        jumps=jumps,
        guided=getattr(denoiser, "guidance_range", None) is not None,
    )
    wrapper.inner.load_state_dict(denoiser.state_dict())
    wrapper.save_pretrained(folder / "denoiser")
    match.scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "UnmeltPipeline",
        "_diffusers_version": diffusers().__version__,
        "denoiser": [FILE, "UnmeltDenoiser"],
        "decoder": [None, None],
        "scheduler": ["diffusers", type(match.scheduler).__name__],
        "steps": grid.steps,
        "sigmas": match.sigmas,
    }
    codec: Any = model.codec
    if isinstance(codec, Affine):
        low, high = codec.clamp or (None, None)
        index |= {"shift": codec.shift, "scale": codec.scale, "low": low, "high": high}
    else:
        decoder = diffusers_model.UnmeltDecoder(_write_source(codec, folder / "decoder", DECODER_FILE))
        decoder.inner.load_state_dict(codec.state_dict())
        decoder.save_pretrained(folder / "decoder")
        index |= {"decoder": [DECODER_FILE, "UnmeltDecoder"], "shift": 0.0, "scale": 1.0, "low": None, "high": None}
    write_json(folder / "model_index.json", index)


def _write_source(part: Any, folder: Path, name: str) -> dict[str, Any]:
    """Write the source of a part and of what wraps it for diffusers; returns the part's description."""
    from unmelt.interop.export import diffusers_model

    description: dict[str, Any] = config.describe(part)
    classes = {each: config.part(each) for each in sorted(_parts(description))}
    foreign = [each for each, kind in classes.items() if not kind.__module__.startswith("unmelt.")]
    if foreign:
        raise UsageError(
            f"the part {foreign[0]}, which is not one of unmelt's", "parts whose source can be exported", ""
        )
    head = "Networks of unmelt, cut out of its source, for diffusers. Licence of this code: Apache-2.0."
    text = bundle([sys.modules[kind.__module__] for kind in classes.values()] + [diffusers_model], head)
    entries = "".join(f"    {each!r}: {kind.__name__},\n" for each, kind in classes.items())
    text += f"\n\nPARTS |= {{\n{entries}}}\n"
    folder.mkdir()
    (folder / f"{name}.py").write_text(text, encoding="utf-8", newline="\n")
    diffusers_model.PARTS.update(classes)
    return description


def _parts(description: Any) -> set[str]:
    """The names of all parts in a description."""
    if isinstance(description, list):
        return set().union(*map(_parts, description))
    if not isinstance(description, dict):
        return set()
    return {description["part"]}.union(*map(_parts, description.values()))

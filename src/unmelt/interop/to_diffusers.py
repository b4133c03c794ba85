"""A model as a folder that diffusers loads, and that makes the same images from the same noise.

A network of diffusers' own (`DiffusersUNet`) on its own chain of betas becomes a `DDIMPipeline`, with no code in it.

Ours become a pipeline with its code beside it. Their weights have no exact home in diffusers: UNet2DModel normalises in
one number of groups throughout where ours grows with the channels, and hears the level by waves of which none is longer
or shorter than its own; DiTTransformer2DModel counts timesteps, too, and always has classes. So the folder holds the
denoiser's source, cut out of this package, weights as safetensors, and a scheduler that is diffusers' own.
"""

import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from unmelt import config
from unmelt.codec import Affine
from unmelt.denoiser import Network
from unmelt.errors import UsageError
from unmelt.interop.bundle import bundle
from unmelt.interop.from_diffusers import PREDICTIONS
from unmelt.interop.package import diffusers
from unmelt.interop.scheduler_match import SchedulerMatch, is_euler, match_scheduler
from unmelt.interop.unet import DiffusersUNet
from unmelt.model import Model
from unmelt.run import prepare, writable
from unmelt.sampler import DPMpp, Euler, Grid, Sampler
from unmelt.sampler.grid import Uniform, balanced, karras
from unmelt.train.files import write_json

FILE = "unmelt_denoiser"


def to_diffusers(model: Model, folder: str | Path, *, sampler: Sampler | None = None, grid: Grid | None = None) -> Path:
    """Write the folder, which must be new or empty; what diffusers cannot do is a `UsageError`.

    Load it with `DiffusionPipeline.from_pretrained(folder)`, and for a network of ours, whose code comes with it,
    `custom_pipeline=folder, trust_remote_code=True` besides.

    sampler, grid   what the scheduler is to do; `chosen` if not given
    """
    diffusers()
    folder, (sampler, grid) = Path(folder), chosen(model, sampler, grid)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}, where something is already", "a new folder", f"--out {folder}-diffusers")
    writable(folder)
    if len(model.denoiser.shape) != 3:
        raise UsageError(
            f"a model of rows of shape {model.denoiser.shape}", "one of images, as diffusers' pipelines make", ""
        )
    if not isinstance(model.codec, Affine):
        raise UsageError(f"a codec {type(model.codec).__name__}", "a shift and a scale (Affine)", "")
    prepare(folder.absolute().parent)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as beside:
        if _is_native(model):
            _write_native(model, sampler, grid, Path(beside))
        else:
            _write(
                model,
                match_scheduler(sampler, grid, model.denoiser.process.schedule, model.denoiser.data_sd),
                grid,
                Path(beside),
            )
        shutil.copytree(beside, folder, dirs_exist_ok=True)
    return folder


def chosen(model: Model, sampler: Sampler | None = None, grid: Grid | None = None) -> tuple[Sampler, Grid]:
    """What is exported where not all is said: the model's own sampler and grid, if it has them.

    What was learned stays here, tuned and in stock. In its place goes DPM-Solver++(2M) on Karras' grid, or on schedules
    whose noise is without end, where diffusers has no like of it, Euler's method on a balanced grid.
    """
    if sampler is None and model.sampler is None:
        top = torch.exp(-model.denoiser.process.schedule.log_snr(torch.ones((), dtype=torch.float64)) / 2).item()
        steps = (grid or model.grid).steps
        if top == math.inf:
            return Euler(), grid or balanced(steps)
        return DPMpp(order=2), grid or karras(steps, sigma_max=round(top, 9))
    return sampler or model.sampler, grid or model.grid


def _is_native(model: Model) -> bool:
    """Whether diffusers' own DDIMPipeline can run it: its network, on its chain, unconditional, without scaling."""
    denoiser = model.denoiser
    return (
        isinstance(denoiser, Network)
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


def _write(model: Model, found: SchedulerMatch, grid: Grid, folder: Path) -> None:
    """The folder with code in it."""
    from unmelt.interop import pipeline, wrapped

    description = config.describe(model.denoiser)
    names = sorted(_parts(description))
    classes = {name: config.part(name) for name in names}
    foreign = [name for name, kind in classes.items() if not kind.__module__.startswith("unmelt.")]
    if foreign:
        raise UsageError(
            f"the part {foreign[0]}, which is not one of unmelt's", "parts whose source can be exported", ""
        )
    head = "A denoiser of unmelt, cut out of its source, for diffusers. Licence of this code: Apache-2.0."
    text = bundle([sys.modules[kind.__module__] for kind in classes.values()] + [wrapped], head)
    known = "".join(f"    {name!r}: {kind.__name__},\n" for name, kind in classes.items())
    text += f"\n\nPARTS |= {{\n{known}}}\n"

    (folder / "denoiser").mkdir()
    (folder / "denoiser" / f"{FILE}.py").write_text(text)
    (folder / "pipeline.py").write_text(Path(pipeline.__file__).read_text())
    wrapped.PARTS.update(classes)
    whole = wrapped.UnmeltDenoiser(description, found.convention, found.start, tuple(model.classes))
    whole.inner.load_state_dict(model.denoiser.state_dict())
    whole.save_pretrained(folder / "denoiser")
    found.scheduler.save_pretrained(folder / "scheduler")
    codec: Any = model.codec
    low, high = codec.clamp or (None, None)
    about = {
        "_class_name": "UnmeltPipeline",
        "_diffusers_version": diffusers().__version__,
        "denoiser": [FILE, "UnmeltDenoiser"],
        "scheduler": ["diffusers", type(found.scheduler).__name__],
        "steps": grid.steps,
        "shift": codec.shift,
        "scale": codec.scale,
        "low": low,
        "high": high,
    }
    write_json(folder / "model_index.json", about)


def _parts(description: Any) -> set[str]:
    """Every part that a description names."""
    if isinstance(description, list):
        return set().union(*map(_parts, description))
    if not isinstance(description, dict):
        return set()
    return {description["part"]}.union(*map(_parts, description.values()))

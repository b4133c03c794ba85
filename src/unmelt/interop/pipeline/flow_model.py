"""The model of a pipeline that is trained by flow matching: its schedule, its times, and all parts together."""

from pathlib import Path
from typing import Any

from unmelt.denoiser import NetworkDenoiser
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.autoencoder import codec_from_diffusers
from unmelt.interop.network.prompted import PromptedNetwork
from unmelt.interop.scheduler.config import FLOWS, SchedulerConfig, read_scheduler
from unmelt.interop.scheduler.resolution_shift import ResolutionShift
from unmelt.interop.text_encoder.features import features
from unmelt.modality import Images
from unmelt.model import Model
from unmelt.process import Gaussian
from unmelt.sampler import Euler, Grid
from unmelt.sampler.grid import balanced


def flow_scheduler(folder: Path) -> SchedulerConfig:
    """The scheduler of a pipeline.

    Args:
        folder: The pipeline's folder.

    Returns:
        The scheduler.

    Raises:
        UsageError: If it is none of flow matching, or has a setting that is not honoured.
    """
    found = read_scheduler(read_json(folder / "scheduler" / "scheduler_config.json"))
    if found.kind not in FLOWS:
        raise UsageError(f"a scheduler of class {found.kind}", f"one of {', '.join(FLOWS)}", "the pipeline's own")
    return found


def dynamic_shift(scheduler: SchedulerConfig, rule: str, patch: int, most: float = 1.15) -> ResolutionShift | None:
    """How a pipeline shifts the times by the size of a picture.

    Args:
        scheduler: Its scheduler.
        rule: "linear" or "flux2".
        patch: Side of the patches of latents that are tokens.
        most: mu of the larger size where the scheduler does not say.

    Returns:
        The spacing; None where the shift is one for all sizes.
    """
    known = scheduler.settings
    if not known.get("use_dynamic_shifting"):
        return None
    return ResolutionShift(
        rule=rule,
        shifts=(float(known.get("base_shift") or 0.5), float(known.get("max_shift") or most)),
        ends=(int(known.get("base_image_seq_len") or 256), int(known.get("max_image_seq_len") or 4096)),
        exponential=known.get("time_shift_type", "exponential") == "exponential",
        patch=patch,
    )


def flow_model(
    folder: Path,
    backbone: PromptedNetwork,
    scheduler: SchedulerConfig,
    encoder: Any,
    shape: tuple[int, int, int],
    shift: ResolutionShift | None,
    steps: int,
) -> Model:
    """The model of a network on latents that was trained by flow matching.

    Args:
        folder: The pipeline's folder, with the network's weights in transformer/.
        backbone: The network, made of its settings.
        scheduler: Its scheduler.
        encoder: Its text encoders.
        shape: [channels, height, width], of its own latents.
        shift: Its shift by the size of a picture; None for none.
        steps: Steps of its grid.

    Returns:
        The model.

    Raises:
        UsageError: If weights cannot be read, the text encoders are not the network's, or the scheduler states options
            of the times that only `pipeline_times` follows.
    """
    if scheduler.settings.get("shift_terminal"):
        raise UsageError(
            f"a scheduler with shift_terminal={scheduler.settings['shift_terminal']}", "None", "the pipeline's own"
        )
    backbone.set_null(*features(encoder, ""))
    fill(backbone.network, folder / "transformer")
    denoiser = NetworkDenoiser(backbone, Gaussian(scheduler.schedule), scheduler.prediction, shape)
    static = float(scheduler.settings.get("shift") or 1.0)  # which is the pivot of a balanced grid
    grid = balanced(steps, static) if shift is None else Grid(shift.for_shape(shape), steps)
    return Model(
        denoiser=denoiser,
        codec=codec_from_diffusers(folder),
        encoder=encoder,
        sampler=Euler(),
        grid=grid,
        modality=Images(),
    )

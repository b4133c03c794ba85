"""What a scheduler_config.json says of a model: schedule, prediction, and the range that beliefs are held in.

A scheduler of diffusers is a process, a solver and a grid in one. The process and the prediction belong to the model.
The solver and its options are replaced by a sampler of this library; the times that it would visit are those of
`scheduler_times`. A setting that is none of these, and not at its default, is refused by its name.
"""

import inspect
from dataclasses import dataclass
from typing import Any, final

from unmelt.denoiser import Clip, DynamicThreshold, prediction
from unmelt.denoiser.bounded import Bound
from unmelt.denoiser.prediction import Prediction
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_package import diffusers
from unmelt.schedule import Schedule, Straight

PREDICTIONS = {"epsilon": prediction.Noise(), "sample": prediction.X0(), "v_prediction": prediction.V()}
"""Predictions by the names that diffusers gives them."""

CHAINS = tuple(
    f"{name}Scheduler"
    for name in (
        *("DDPM", "DDIM", "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete"),
        *("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep"),
        *("KDPM2Discrete", "KDPM2AncestralDiscrete"),
    )
)
"""Schedulers on a chain of betas."""

FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Schedulers of flow matching."""

OF_THE_MODEL = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"),
    *("prediction_type", "clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio"),
    *("sample_max_value", "shift", "use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len"),
    *("max_image_seq_len", "time_shift_type", "shift_terminal"),
)
"""Settings that are honoured whatever the sampler."""

OF_THE_TIMES = (
    *("timestep_spacing", "steps_offset", "set_alpha_to_one", "final_sigmas_type", "interpolation_type", "sigma_min"),
    *("sigma_max", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
    *("lambda_min_clipped",),
)
"""Settings that `scheduler_times` follows."""

OF_THE_SOLVER = (
    *("variance_type", "skip_prk_steps", "solver_order", "algorithm_type", "solver_type", "lower_order_final"),
    *("euler_at_final", "predict_x0", "disable_corrector", "solver_p", "stochastic_sampling"),
)
"""Settings of the solver, which a sampler replaces."""


@final
@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """A scheduler of diffusers, read.

    Args:
        kind: Its class.
        settings: All its settings, defaults included.
        schedule: Its schedule; of flow matching the straight one, because a shift belongs to the times.
        prediction: What the network's output means.
        bound: What holds beliefs within a range; None for nothing.
    """

    kind: str
    settings: dict[str, Any]
    schedule: Schedule
    prediction: Prediction
    bound: Bound | None


def read_scheduler(about: dict[str, Any]) -> SchedulerConfig:
    """Read the content of a scheduler_config.json.

    Args:
        about: Its content.

    Returns:
        What it says.

    Raises:
        UsageError: If the scheduler is of a class that is not supported, or it has a setting that is not honoured.
    """
    kind = str(about.get("_class_name"))
    if kind not in (*CHAINS, *FLOWS):
        raise UsageError(
            f"a scheduler of class {kind}",
            f"one of {', '.join((*CHAINS, *FLOWS))}",
            "a scheduler that was made of the other's settings: DDIMScheduler.from_config(scheduler.config)",
        )
    settings = _settings(kind, about)
    if kind in FLOWS:
        return SchedulerConfig(
            kind=kind, settings=settings, schedule=Straight(), prediction=prediction.FlowVelocity(), bound=None
        )
    named = str(settings.get("prediction_type", "epsilon"))
    if named not in PREDICTIONS:
        raise UsageError(f"prediction_type {named!r}", f"one of {', '.join(PREDICTIONS)}", "another checkpoint")
    schedule = chain(settings)
    if named == "epsilon" and schedule.zero_terminal_snr:
        raise UsageError(
            "a prediction of the noise on betas that are rescaled to end without any signal",
            "v_prediction or sample: where no signal is left, noise tells nothing of the image",
            '"rescale_betas_zero_snr": false, if the network was trained so',
        )
    return SchedulerConfig(
        kind=kind, settings=settings, schedule=schedule, prediction=PREDICTIONS[named], bound=_bound(settings)
    )


def _settings(kind: str, about: dict[str, Any]) -> dict[str, Any]:
    """All settings of a scheduler, the class's defaults where the file says nothing."""
    parameters = inspect.signature(getattr(diffusers(), kind)).parameters
    known = (*OF_THE_MODEL, *OF_THE_TIMES, *OF_THE_SOLVER)
    settings = {name: each.default for name, each in parameters.items()}
    for name, value in about.items():
        if name.startswith("_"):
            continue
        if name in parameters and (name in known or value == settings[name]):
            settings[name] = value
        elif name not in known:  # a known one that this class does not take is ignored by diffusers, too
            raise UsageError(
                f"a {kind} with {name}={value!r}, which is not honoured here",
                f"{name}={settings[name]!r}" if name in parameters else f"settings of diffusers' {kind}",
                "another scheduler for the same network",
            )
    return settings


def _bound(settings: dict[str, Any]) -> Bound | None:
    if settings.get("thresholding"):
        return DynamicThreshold(
            float(settings.get("dynamic_thresholding_ratio", 0.995)), float(settings.get("sample_max_value", 1.0))
        )
    return Clip(float(settings.get("clip_sample_range", 1.0))) if settings.get("clip_sample") else None


def chain(settings: dict[str, Any]) -> Betas:
    """The betas that a scheduler states.

    Args:
        settings: Its settings.

    Returns:
        The schedule.

    Raises:
        UsageError: If there are no valid betas.
    """
    given = settings.get("trained_betas")
    given = () if given is None else given
    try:
        return Betas(
            spacing="linear" if len(given) else str(settings.get("beta_schedule", "linear")),
            start=float(settings.get("beta_start", 1e-4)),
            end=float(settings.get("beta_end", 0.02)),
            steps=len(given) or int(settings.get("num_train_timesteps", 1000)),
            given=tuple(map(float, given)),
            zero_terminal_snr=bool(settings.get("rescale_betas_zero_snr", False)),
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"betas that are no numbers ({error})", "numbers", "the file as it was saved") from None

"""A model of images that learns to follow control pictures, such as edges, begun from a trained one."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from unmelt import config
from unmelt.backbone.widened import widened
from unmelt.control import control_named
from unmelt.errors import UsageError
from unmelt.model import Model
from unmelt.objective import Regression
from unmelt.recipe.of_run import with_data
from unmelt.recipe.origin import Folder, recorded
from unmelt.train import Training

DROP_EACH = 0.25
"""Share of rows trained without their control, and without their class or caption, each on its own."""


@recorded
def control(
    *,
    start: Folder,
    control: Literal["edges", "gray", "low-resolution"] = "edges",
    steps: int = 1500,
    batch: int = 64,
    lr: float = 1e-3,
    ema: float = 0.99,
    drop: float = 0.1,
    drop_each: float = DROP_EACH,
    seed: int = 0,
    save_every: int = 300,
    picture_every: int = 0,
) -> Model:
    """A trained model of images goes on learning, with control pictures that are computed of its training images.

    The control picture comes in by further input channels, whose weights begin at zero: before training, the model is
    the old one whatever the control.

    `unmelt train control --start digits --out runs/digits-edges`: 4 minutes on one busy core; edges of samples agree
    with those asked for by .960 (`metric.control_agreement`; .388 shuffled). With labels alone the Fréchet distance is
    .105, where the model it began with has .098, and the classifier's accuracy .998.

    Args:
        start: The run to begin with, made by a recipe whose data are still there; or a model that comes with unmelt.
        control: What is computed of each image and given to the network.
        steps: Training steps.
        batch: Images per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        drop: Share of rows trained without class, caption and control, for guidance.
        drop_each: Share of rows that each of them is dropped from on its own, so that samples may be given any of them.
        seed: Seed of data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between sample pictures; 0 for none.

    Returns:
        The model before its first step.

    Raises:
        UsageError: If the run is no model of pixels by regression, or its network reads a context already.
    """
    before = with_data(start if Path(start).exists() else Path(start).name, "cpu")
    objective, training = getattr(before, "objective", None), getattr(before, "training", None)
    described = config.describe(before.denoiser) if isinstance(before, Model) else {}
    backbone: Any = described.get("backbone", {})
    if (
        not isinstance(before, Model)
        or not isinstance(objective, Regression)
        or backbone.get("context_channels") != 0
        or before.modality.name != "images"
    ):
        raise UsageError(
            f"{start}, to learn a control",
            "a model of images by regression, whose network can read a context and reads none yet",
            'um.recipe.control(start="digits")',
        )
    reads = control_named(control, before.denoiser.shape[0])
    denoiser = config.build({**described, "backbone": {**backbone, "context_channels": reads.channels}})
    denoiser.load_state_dict(widened(before.denoiser.state_dict(), denoiser, "backbone."))
    return Model(
        denoiser=denoiser,
        codec=before.codec,
        grid=before.grid,
        sampler=before.sampler,
        modality=before.modality,
        encoder=before.encoder,
        planner=before.planner,
        control=reads,
        objective=replace(objective, drop=drop, drop_each=drop_each),
        training=replace(
            training or Training(steps=steps),
            steps=steps,
            batch=batch,
            lr=lr,
            ema=ema,
            seed=seed,
            save_every=save_every,
            picture_every=picture_every,
        ),
        classes=before.classes,
        source=before.source,
        held_out=before.held_out,
        notes=before.notes,
    )

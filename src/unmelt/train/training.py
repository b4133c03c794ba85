"""What a run learns by: every setting that changes its result, and none that does not (see `Execution`)."""

import math
from dataclasses import dataclass
from typing import Literal, final

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.train.lr_schedule import Cosine, LRSchedule
from unmelt.train.optimizer import AdamW, Optimizer


@final
@checked_init("um.train.Training")
@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a run. They are written into the run folder, and a resumed run must have the same.

    Args:
        steps: Training steps in all. The only setting that may grow when a run is resumed.
        batch: Rows per step, over all processes and parts together.
        lr: Peak learning rate.
        lr_schedule: Factor on the peak learning rate at every step.
        optimizer: How gradients become updates.
        clip: Largest norm of a network's gradient; a larger one is scaled down to it.
        ema: Largest decay per step of the averaged weights, which are the ones that are saved and sampled.
        precision: Precision of matrix products. "auto" is bfloat16 where the device has it. Weights stay in float32.
        seed: Seed of the order of the data, of the noise and of the initial weights.
        save_every: Steps between checkpoints; an interrupted run goes on from where it stopped.
        picture_every: Steps between previews, sample pictures with the loss on held-out data; 0 is none.
        snapshot_every: Steps between snapshots of the power-function averages, from which an average of any EMA std can
            be made after training (`Model.averaged`); each holds two copies of the weights. 0 is none.
        adapter: Name of the model's adapter that learns in place of its weights; "" for the weights.

    Raises:
        UsageError: If a number is out of its range or the precision is unknown.
    """

    steps: int
    batch: int = 128
    lr: float = 1e-3
    lr_schedule: LRSchedule = Cosine()
    optimizer: Optimizer = AdamW()
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    save_every: int = 1000
    picture_every: int = 1000
    snapshot_every: int = 0
    adapter: str = ""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("save_every", 1), ("picture_every", 0), ("snapshot_every", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name}={value!r}", f"a whole number of at least {least}", f"{name}={max(least, 1)}")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}={value}", "a positive number", f"{name}=0.001")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema={self.ema}", "a decay of at least 0 and below 1", "ema=0.999")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise UsageError(f"precision={self.precision!r}", "auto, float32 or bfloat16", "precision='bfloat16'")

    def lr_at(self, step: int) -> float:
        """Compute the learning rate of one step.

        Args:
            step: Number of the step, counted from 0.

        Returns:
            The learning rate, before a phase's own factor.
        """
        return self.lr * self.lr_schedule(step, self.steps)

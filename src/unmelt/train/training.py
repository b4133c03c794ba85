"""What a network learns by: the numbers that make a run the run it is, and nothing else."""

import math
from dataclasses import dataclass
from typing import Literal, final

from unmelt.errors import UsageError
from unmelt.train.lr_schedule import Cosine, LRSchedule
from unmelt.train.optimizer import AdamW, Optimizer


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """
    steps           optimizer steps in all
    batch           rows a step, whatever they are spread over
    lr              peak learning rate
    lr_schedule            its course over the run
    optimizer       how gradients become steps
    clip            largest norm of the gradient; longer ones are scaled down to it
    ema             decay of the averaged weights, which are the ones that are saved and sampled
    precision       what matrix products are computed in, "auto" being bfloat16 where the device has it; weights stay
                    float32
    seed            of the order of the data, the noise and the first weights
    save_every      steps between checkpoints; an interrupted run goes on from where it stopped
    picture_every   steps between sample pictures, and looks at what is held out; 0 for none
    snapshot_every  steps between snapshots of two averages over the run, from which one of any length can be made
                    afterwards (`Model.averaged`): each as large as the weights; 0 for none
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
        """Learning rate of step number `step`, counted from 0."""
        return self.lr * self.lr_schedule(step, self.steps)

"""What a training run reports to whoever drives it: `Trainer.run` yields these, in the order in which they happen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final


@final
@dataclass(frozen=True, kw_only=True)
class Event:
    """One moment of a run.

    Args:
        step: Number of training steps taken so far.
        kind: "log": losses since the last log event. "preview": time for samples, the averaged weights being in place.
            "snapshot": time to write the power-function averages. "save": time to write the model, the averaged weights
            being in place and the checkpoint written. "progress": nothing but that so many steps were taken, where
            they are slow.
        numbers: Of a log event: `loss` (mean over the steps since the last one), `lr`, `skipped` (steps left out),
            `held_out` (where it was evaluated), and `loss/NAME` for every further network that learns. Else empty.
    """

    step: int
    kind: Literal["log", "preview", "snapshot", "save", "progress"]
    numbers: Mapping[str, float] = field(default_factory=dict)

"""Learning."""

from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.loop import Trainer
from unmelt.train.record import Record, read_metrics
from unmelt.train.training import Training

__all__ = ["EMA", "Checkpoint", "Record", "Trainer", "Training", "read_metrics"]

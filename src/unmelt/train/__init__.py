"""Learning."""

from unmelt.train import processes, rate
from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.engine import Engine
from unmelt.train.loop import Trainer
from unmelt.train.optimizer import AdamW, Muon
from unmelt.train.record import Record, read_metrics
from unmelt.train.training import Training
from unmelt.train.watch import Watch, watches

__all__ = [
    "EMA",
    "AdamW",
    "Checkpoint",
    "Engine",
    "Muon",
    "Record",
    "Trainer",
    "Training",
    "Watch",
    "processes",
    "rate",
    "read_metrics",
    "watches",
]

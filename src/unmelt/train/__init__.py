"""Learning."""

from unmelt.train import processes, rate
from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.engine import Engine
from unmelt.train.loop import Trainer
from unmelt.train.optimizer import AdamW, Muon
from unmelt.train.power import Averaged, Power, averaged
from unmelt.train.record import Record, read_metrics
from unmelt.train.training import Training
from unmelt.train.watch import Watch, watches

__all__ = [
    "EMA",
    "AdamW",
    "Averaged",
    "Checkpoint",
    "Engine",
    "Muon",
    "Power",
    "Record",
    "Trainer",
    "Training",
    "Watch",
    "averaged",
    "processes",
    "rate",
    "read_metrics",
    "watches",
]

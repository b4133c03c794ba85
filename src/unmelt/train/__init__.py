"""Learning."""

from unmelt.train import lr_schedule, processes
from unmelt.train.checkpoint import Checkpoint
from unmelt.train.ema import EMA
from unmelt.train.execution import Execution
from unmelt.train.logger import Logger, loggers
from unmelt.train.loop import Trainer
from unmelt.train.metrics_log import MetricsLog, read_metrics
from unmelt.train.optimizer import AdamW, Muon
from unmelt.train.post_hoc_ema import Averaged, PowerFunctionEMA, averaged
from unmelt.train.training import Training

__all__ = [
    "EMA",
    "AdamW",
    "Averaged",
    "Checkpoint",
    "Execution",
    "Logger",
    "MetricsLog",
    "Muon",
    "PowerFunctionEMA",
    "Trainer",
    "Training",
    "averaged",
    "loggers",
    "lr_schedule",
    "processes",
    "read_metrics",
]

"""Training: the loop, its optimizers, averages and checkpoints, and how it is spread over processes."""

from unmelt.train import lr_schedule, processes
from unmelt.train.adapter_step import AdapterStep
from unmelt.train.checkpoint import Checkpoint, Saved
from unmelt.train.ema import EMA, update_target
from unmelt.train.event import Event
from unmelt.train.execution import Execution
from unmelt.train.logger import Logger, loggers
from unmelt.train.loop import Trainer
from unmelt.train.metrics_log import MetricsLog, read_metrics
from unmelt.train.optimizer import AdamW, Muon
from unmelt.train.post_hoc_ema import Averaged, PowerFunctionEMA, averaged
from unmelt.train.step import Batch, ObjectiveStep, Phase, TrainStep
from unmelt.train.training import Training

__all__ = [
    "EMA",
    "AdamW",
    "AdapterStep",
    "Averaged",
    "Batch",
    "Checkpoint",
    "Event",
    "Execution",
    "Logger",
    "MetricsLog",
    "Muon",
    "ObjectiveStep",
    "Phase",
    "PowerFunctionEMA",
    "Saved",
    "TrainStep",
    "Trainer",
    "Training",
    "averaged",
    "loggers",
    "lr_schedule",
    "processes",
    "read_metrics",
    "update_target",
]

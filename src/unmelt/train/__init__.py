"""Training: the loop, its optimizers, averages and checkpoints, and how it is spread over processes."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.train import distributed, lr_schedule
    from unmelt.train.adapter_step import AdapterStep
    from unmelt.train.checkpoint import Checkpoint, NetworkState
    from unmelt.train.ema import EMA, update_target
    from unmelt.train.event import Event
    from unmelt.train.execution import Execution
    from unmelt.train.logger import Logger, loggers
    from unmelt.train.loop import Trainer
    from unmelt.train.metrics_log import MetricsLog, read_metrics
    from unmelt.train.optimizer import AdamW, Muon
    from unmelt.train.post_hoc_ema import PowerFunctionEMA, ReconstructedEMA, reconstruct_ema
    from unmelt.train.step import Batch, ObjectiveStep, Phase, TrainStep
    from unmelt.train.training import Training

__all__ = [
    "EMA",
    "AdamW",
    "AdapterStep",
    "Batch",
    "Checkpoint",
    "Event",
    "Execution",
    "Logger",
    "MetricsLog",
    "Muon",
    "NetworkState",
    "ObjectiveStep",
    "Phase",
    "PowerFunctionEMA",
    "ReconstructedEMA",
    "TrainStep",
    "Trainer",
    "Training",
    "distributed",
    "loggers",
    "lr_schedule",
    "read_metrics",
    "reconstruct_ema",
    "update_target",
]

publish(__name__)

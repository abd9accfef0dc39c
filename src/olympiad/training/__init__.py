"""Batches -> checkpoints."""

from olympiad.config import CheckpointOptions, HealthOptions, LayoutOptions, OptimizerOptions, TrainingOptions

from .checkpoint import move_earlier_run
from .errors import (
    CheckpointError,
    CheckpointMismatch,
    NonFiniteLoss,
    OutOfMemory,
    TrainingError,
    TrainingInterrupted,
)
from .memory import check_memory
from .metrics import create_sinks
from .trainer import Trainer

__all__ = [
    "CheckpointError",
    "CheckpointMismatch",
    "CheckpointOptions",
    "HealthOptions",
    "LayoutOptions",
    "NonFiniteLoss",
    "OptimizerOptions",
    "OutOfMemory",
    "Trainer",
    "TrainingError",
    "TrainingInterrupted",
    "TrainingOptions",
    "check_memory",
    "create_sinks",
    "move_earlier_run",
]

"""How far a run is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a run is: with the weights and the optimizer, all that has to be saved."""

    run_started: float = field(default_factory=time.time)
    """When the run began, in seconds since 1970: tells its checkpoints from an earlier run's."""
    epoch: int = 0
    """Whole epochs done."""
    step: int = 0
    """Optimizer steps done."""
    batches_in_epoch: int = 0
    """Batches of the current epoch done."""
    planned_epochs: int = 0
    """Where the learning rate ends."""
    planned_steps: int = 0
    """Where it ends if that comes first; 0: epochs alone count."""
    num_tokens: int = 0
    """Tokens trained on, padding not counted."""
    epoch_loss_sum: float = 0.0
    epoch_loss_count: int = 0
    train_losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    best_val_loss: float = float("inf")
    recent: list[list[float]] = field(default_factory=list)
    """Loss and gradient norm of the latest steps, which tell a spike."""
    spikes_in_a_row: int = 0

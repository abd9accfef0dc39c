"""What can go wrong in a run, each with what to do about it."""

from __future__ import annotations

from olympiad.errors import UserError


class TrainingError(UserError, RuntimeError):
    """A run that can't go on; the message says why and what to do."""


class NonFiniteLoss(TrainingError):
    """Loss or gradient became NaN or infinite; the weights were not changed by it."""


class OutOfMemory(TrainingError):
    """The device's memory does not suffice; the message holds the numbers."""


class CheckpointError(TrainingError):
    """A checkpoint that can't be written or read."""


class CheckpointMismatch(CheckpointError):
    """A whole checkpoint, but of another model, tokenizer or data set."""


class ReportError(TrainingError):
    """A run that can't be reported on, or a report that can't be written."""


def lost_peer(error: BaseException) -> bool:
    """Whether PyTorch means that another process is gone, or silent."""
    text = str(error).lower()
    signs = ("gloo", "nccl", "connection", "timed out", "timeout", "store")
    return type(error).__name__.startswith("Dist") or (isinstance(error, RuntimeError) and any(sign in text for sign in signs))


class TrainingInterrupted(KeyboardInterrupt):
    """The run was asked to stop, and has saved everything that it needs to go on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

"""Checkpoints as one file: whole or not at all, and never executed."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.utils._pytree import tree_map_only

from olympiad.model import MathTransformerConfig

from .errors import CheckpointError, CheckpointMismatch
from .progress import Progress

#: What every checkpoint holds.
REQUIRED_KEYS = (
    *("model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "scaler_state_dict"),
    *("config", "options", "seed", "batch_size", "data_fingerprint", "tokenizer"),
    *(field.name for field in fields(Progress)),
)

# Fields of the config that may differ between the run that wrote a checkpoint and the one that reads it.
_FREE_FIELDS = {"gradient_checkpointing", "initializer_range"}


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        CheckpointError: see :func:`write_whole`.
    """
    # From the CPU: what was trained on a GPU then loads, with a plain torch.load, where there is none.
    write_whole(path, lambda file: torch.save(tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state), file))


def write_whole(path: Path, write: Callable[[BinaryIO], object], what: str = "checkpoint") -> None:
    """Write aside, sync, rename: at every moment ``path`` is the old file or the new one, whole.

    Raises:
        CheckpointError: it can't be written (a full disk, no permission); what was at ``path`` is still there.
    """
    aside = path.with_name(f".{path.name}.partial")  # one name: what a killed run left is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as either
        kept = f"the one that was there is untouched: {path}" if path.exists() else "nothing was there before"
        raise CheckpointError(f"can't write the {what} {path} ({error}); {kept}. Free some space and resume.") from error
    finally:  # also when a second Ctrl-C comes while it is being written
        if aside.exists():
            aside.unlink()


def sync_folder(folder: Path) -> None:
    """Make sure that a folder's own entries, new names among them, are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Raises:
        CheckpointError: missing, cut short, damaged, holding code, or no checkpoint of ours.
    """
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.pt")) if path.parent.is_dir() else []
        raise CheckpointError(f"no checkpoint at {path}; that folder holds {', '.join(beside) or 'none'}")
    try:
        state = torch.load(path, map_location=device, weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds Python objects other than tensors and plain values; it was not executed. "
            "A checkpoint of this project never does: get it from its source again, or delete it."
        ) from error
    except Exception as error:  # of bytes from anywhere the reader makes anything: TypeError, AttributeError, IndexError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged or cut short ({reason}): use an earlier one") from error
    missing = [key for key in REQUIRED_KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise CheckpointError(f"{path} is no checkpoint of a training run: it lacks {', '.join(missing)}")
    if not isinstance(state["config"], dict):
        raise CheckpointError(f"{path} is no checkpoint of a training run: its config is a {type(state['config']).__name__}")
    return state


def check_architecture(path: Path, saved: dict[str, Any], expected: MathTransformerConfig) -> None:
    """Raise a :class:`CheckpointMismatch` naming every difference that keeps the weights from fitting."""
    ours, saved = _written_out(expected.model_dump()), _written_out(saved)
    if saved.get("vocab_size") != ours["vocab_size"]:
        raise CheckpointMismatch(
            f"{path} was written for a vocabulary of {saved.get('vocab_size')}, this model has {ours['vocab_size']}: "
            "load it with its own tokenizer (the checkpoint holds it as 'tokenizer') or start a new run"
        )
    differences = [
        f"{name} is {saved.get(name)} there and {value} here"
        for name, value in ours.items()
        if name not in _FREE_FIELDS and saved.get(name) != value
    ]
    if differences:
        raise CheckpointMismatch(
            f"{path} is of another architecture: {'; '.join(differences)}. Build the model from the checkpoint's own 'config' (in a recipe: take [model] from its run.toml)"
        )


def _written_out(config: dict[str, Any]) -> dict[str, Any]:
    """A config with what is derived where it is absent: two that differ in that alone are of one architecture."""
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1:
        return config
    derived = {"num_key_value_heads": heads, "attention_head_dim": hidden // heads}
    return config | {name: config.get(name) or value for name, value in derived.items()}


def move_earlier_run(folder: Path) -> None:
    """Make room for a new run: what an earlier one left in ``folder`` goes to ``folder``-previous, and says so.

    Raises:
        CheckpointError: it can't be moved.
    """
    if not any(folder.glob("*.pt")) and not any(folder.glob("*/state.json")):
        return
    previous = folder.with_name(f"{folder.name}-previous")
    try:
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    except OSError as error:
        raise CheckpointError(f"can't move the earlier run in {folder} aside ({error.strerror}): use another folder") from error
    print(f"   The earlier run in {folder} is now in {previous}")

"""Checkpoints looked at from outside a run: what is in them, whether they are whole, and one encoding turned into the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from olympiad.config import LayoutOptions

from .checkpoint import write_checkpoint
from .errors import CheckpointError
from .layout import Layout
from .sharded import MARKER, ShardedWrite, is_half
from .state import Saved, checkpoints_in, nested, open_checkpoint

# Settings of a run that say how weights came to be; others may hold paths and addresses, which are nobody else's business.
_PUBLISHED_OPTIONS = ("accumulation_steps", "precision", "optimizer")


@dataclass(frozen=True)
class Listed:
    """A checkpoint among others; ``damage`` is what is wrong with it, ``facts`` are there if it can be read at all."""

    path: Path
    num_bytes: int
    facts: dict[str, Any] | None = None
    damage: str = ""

    @property
    def kind(self) -> str:
        if self.facts is not None and self.facts.get("weights_only"):
            return "weights"
        return "folder" if self.path.is_dir() else "file"


def checkpoint_paths(path: Path) -> list[Path]:
    """The checkpoint at ``path``, or all in a run's folder, half ones too, by their names.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_file() or (path / MARKER).exists() or is_half(path):
        return [path]
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = sorted([*checkpoints_in(folder), *filter(is_half, folder.glob("*/"))])
    if not found:
        raise CheckpointError(f"no checkpoint in {path}" if path.exists() else f"there is no {path}")
    return found


def look_at(path: Path, every_byte: bool = True) -> Listed:
    """A checkpoint's facts, and what is wrong with it."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    num_bytes, facts = sum(file.stat().st_size for file in files), None
    try:
        saved = open_checkpoint(path)
        facts = saved.facts
        if every_byte:
            saved.verify()
    except CheckpointError as error:
        return Listed(path, num_bytes, facts, str(error))
    return Listed(path, num_bytes, facts)


def describe_checkpoint(saved: Saved) -> Iterator[tuple[str, str]]:
    """What is in a checkpoint, as names and values."""
    facts, options = saved.facts, saved.facts["options"]
    for name, value in facts["config"].items():
        yield f"model.{name}", str(value)
    yield "parameters", f"{sum(prod(shape) for name, shape in saved.shapes.items() if name.startswith('model.')):,}"
    yield "step", f"{facts['step']:,}" + (f" of {facts['planned_steps']:,} planned" if facts["planned_steps"] else "")
    batches = f", {facts['batches_in_epoch']:,} batches into the next" if facts["batches_in_epoch"] else ""
    yield "epoch", f"{facts['epoch']:,} of {facts['planned_epochs']:,} planned{batches}"
    yield "tokens", f"{facts['num_tokens']:,}"
    for kind in ("train", "val"):
        losses = facts[f"{kind}_losses"]
        if losses:
            yield f"{kind} loss", f"{losses[-1]:.4f}, lowest {min(losses):.4f}"
    optimizer = options.get("optimizer", {}).get("kind", "?")
    yield "optimizer", "none: weights only" if facts.get("weights_only") else str(optimizer)
    yield "precision", str(options.get("precision", "?"))
    yield "batch size", str(facts["batch_size"])
    yield "seed", str(facts["seed"])
    yield "data", facts["data_fingerprint"]
    yield from _sizes(saved)


def _sizes(saved: Saved) -> Iterator[tuple[str, str]]:
    """Tensors by what they are for and their type."""
    dtypes = saved.dtypes()
    sizes: dict[str, tuple[int, int]] = {}
    for name, shape in saved.shapes.items():
        dtype = dtypes.get(name)
        if dtype is None:
            raise CheckpointError(f"{saved.path} does not hold {name}, which its {MARKER} names: use an earlier checkpoint")
        key = f"{name.split('.')[0]} tensors, {str(dtype).removeprefix('torch.')}"
        count, num_bytes = sizes.get(key, (0, 0))
        sizes[key] = count + 1, num_bytes + prod(shape) * dtype.itemsize
    for key, (count, num_bytes) in sizes.items():
        yield key, f"{count:,}, {num_bytes:,} bytes"


def convert_checkpoint(source: Path, target: Path, weights_only: bool = False) -> None:
    """Write a checkpoint in the encoding that the name says: one file where it ends in .pt, else a folder.

    Every byte is looked at first; tensors and facts stay what they are, bit for bit.

    Args:
        weights_only: leave out what the optimizer keeps, and settings that may hold paths; averaged weights, where there
            are some, take the place of the last ones. For publishing: no run can go on with it.

    Raises:
        CheckpointError: the source is damaged, the target exists, or can't be written.
    """
    if target.exists() or target.is_symlink():
        raise CheckpointError(f"{target} exists already: choose another name, or delete it first")
    saved = open_checkpoint(source)
    saved.verify()
    tensors, facts = saved.whole_tensors(), dict(saved.facts)
    if weights_only:
        tensors, facts = _published(tensors, facts)
    if target.suffix == ".pt":
        write_checkpoint(target, {**nested(tensors), **facts})
    else:
        ShardedWrite(target, tensors, facts, Layout(torch.device("cpu"), LayoutOptions(shard=1))).finish()


def _published(tensors: dict[str, Tensor], facts: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    for name in [name for name in tensors if name.startswith("average.")]:
        weights[f"model.{name.removeprefix('average.')}"] = tensors[name]
    options = {name: value for name, value in facts["options"].items() if name in _PUBLISHED_OPTIONS}
    return weights, {**facts, "options": options, "weights_only": True}

"""``olympiad checkpoint inspect``, ``verify`` and ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from olympiad.training.inspection import Listed


def inspect(arguments: list[str]) -> None:
    """What is in a checkpoint, or which ones a run's folder has: PATH"""
    tyro.cli(_inspect, args=arguments, prog="olympiad checkpoint inspect")


def _inspect(path: tyro.conf.Positional[Path]) -> None:
    """Print what is in a checkpoint; of a run's folder, one line for each, with every byte looked at.

    Args:
        path: a .pt file, the folder of a sharded checkpoint, or a run's folder.
    """
    from olympiad.training.inspection import checkpoint_paths, describe_checkpoint, look_at
    from olympiad.training.state import open_checkpoint

    found = checkpoint_paths(path)
    if found == [path]:
        facts = list(describe_checkpoint(open_checkpoint(path)))
        width = max(len(name) for name, _ in facts)
        print("\n".join(f"{name:<{width}}  {value}" for name, value in facts))
    else:
        checkpoints = sorted(map(look_at, found), key=lambda each: each.facts["step"] if each.facts else -1)
        width = max(len(each.path.name) for each in checkpoints)
        print(f"{'':<{width}}  {'step':>8}  {'epoch':>5}  {'bytes':>15}  kind")
        for each in checkpoints:
            print(f"{each.path.name:<{width}}  {_line(each)}")


def _line(each: Listed) -> str:
    step, epoch = (f"{each.facts[name]:,}" if each.facts else "?" for name in ("step", "epoch"))
    state = f"damaged: {each.damage}" if each.damage else "whole"
    return f"{step:>8}  {epoch:>5}  {each.num_bytes:>15,}  {each.kind:<7}  {state}"


def verify(arguments: list[str]) -> None:
    """Read every byte of a checkpoint, or of all in a run's folder; exit code 1 names what is damaged: PATH"""
    tyro.cli(_verify, args=arguments, prog="olympiad checkpoint verify")


def _verify(path: tyro.conf.Positional[Path]) -> None:
    """Compare every byte with the checksums that were written (CRC-32 inside a .pt file, SHA-256 of shards).

    Args:
        path: a .pt file, the folder of a sharded checkpoint, or a run's folder.
    """
    from olympiad.training.errors import CheckpointError
    from olympiad.training.inspection import checkpoint_paths, look_at

    damaged = []
    for checkpoint in checkpoint_paths(path):
        looked_at = look_at(checkpoint)
        if looked_at.damage:
            damaged.append(looked_at.damage)
        else:
            print(f"{checkpoint}: whole, {looked_at.num_bytes:,} bytes")
    if damaged:
        raise CheckpointError("; ".join(damaged))


def convert(arguments: list[str]) -> None:
    """One file into a folder of shards, or back, bit for bit: FROM TO [--weights-only]"""
    tyro.cli(_convert, args=arguments, prog="olympiad checkpoint convert")


def _convert(source: tyro.conf.Positional[Path], target: tyro.conf.Positional[Path], weights_only: bool = False) -> None:
    """Write a checkpoint in the other encoding; the source stays.

    Args:
        source: a .pt file, or the folder of a sharded checkpoint.
        target: one file if it ends in .pt, else a folder; must not exist.
        weights_only: without optimizer state and settings of the run, averaged weights in place of the last: for publishing.
    """
    from olympiad.training.inspection import convert_checkpoint

    convert_checkpoint(source, target, weights_only)
    print(f"{target} written")

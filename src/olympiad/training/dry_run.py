"""What a run would take, before it takes it: parameters, arithmetic, memory by part."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from olympiad.config import RunConfig, to_toml
from olympiad.model import MathTransformerConfig

from .memory import GIB, available_memory, count_parameters, flops_per_position, training_memory


def flops_per_token(config: MathTransformerConfig, length: int) -> int:
    """Of forward and backward pass, for one token with a target in a sequence of ``length`` positions.

    >>> from olympiad.model import get_small_config
    >>> flops_per_token(get_small_config(), 512)
    91239936
    """
    return sum(flops_per_position(config, length))


def print_dry_run(run: RunConfig, device: torch.device, console: Console | None = None) -> bool:
    """Print the resolved run and what a step of it takes; whether it fits into the device's memory."""
    console = console or Console(highlight=False, soft_wrap=True)
    length = min(run.data.max_length or run.model.max_sequence_length, run.model.context_limit)
    parts = training_memory(run.model, run.data.batch_size, length, run.precision)
    available = available_memory(device)
    fits = sum(parts.values()) <= available
    console.print(to_toml(run), markup=False)
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    tokens = run.data.batch_size * run.accumulation_steps * length
    operations = flops_per_token(run.model, length)
    table.add_row("parameters", f"{count_parameters(run.model):,}")
    table.add_row(f"FLOPs per token, at {length:,} positions", f"{operations:.3g}")
    table.add_row("tokens per step, padding included, at most", f"{tokens:,}")
    table.add_row("FLOPs per step, at most", f"{operations * tokens:.3g}")
    for part, size in parts.items():
        table.add_row(f"memory: {part}", f"{size / GIB:.2f} GiB")
    table.add_row("memory: all", f"{sum(parts.values()) / GIB:.2f} GiB")
    table.add_row(f"memory that {device} has free", f"{available / GIB:.2f} GiB")
    console.print(table)
    console.print(
        "It fits." if fits else "It does not fit: turn down data.batch_size, or set model.gradient_checkpointing = true."
    )
    return fits

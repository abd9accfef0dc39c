"""What a run would take, before it takes it: parameters, arithmetic, memory by part."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from olympiad.config import RunConfig, to_toml
from olympiad.model import MathTransformerConfig

from .memory import GIB, available_memory, count_parameters, training_memory


def flops_per_token(config: MathTransformerConfig, length: int) -> int:
    """Floating-point operations of forward and backward pass for one token in a sequence of ``length`` positions.

    6 for each parameter that is multiplied with (all but the input embedding, which is looked up), and 12 x layers x
    attention size x length for attention: the count of PaLM (arXiv:2204.02311, appendix B), by which model FLOPs
    utilisation is compared. It takes attention as if every position saw all others; recomputation is not counted.

    >>> from olympiad.model import get_small_config
    >>> flops_per_token(get_small_config(), 512)
    91239936
    """
    looked_up = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    attention_size = config.num_attention_heads * config.head_dim
    multiplied = count_parameters(config) - looked_up
    return 6 * multiplied + 12 * config.num_hidden_layers * attention_size * length


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

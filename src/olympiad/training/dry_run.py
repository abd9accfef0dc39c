"""What a run would take, before it takes it: parameters, arithmetic, memory by part, time and price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from rich.console import Console

from olympiad.config import LayoutOptions, RunConfig, to_toml
from olympiad.model.counting import count_parameters, flops_per_token

from .devices import ClusterOptions
from .layout import Layout, resolve_sizes
from .layout_check import check_layout
from .memory import GIB, available_memory, training_memory


@dataclass(frozen=True)
class Estimate:
    """What a step of a run takes on each of its devices."""

    layout: LayoutOptions
    num_devices: int
    length: int
    micro_batch: int
    """Rows that a device computes at once."""
    parts: dict[str, int]
    """Bytes, by part."""

    @property
    def memory(self) -> int:
        return sum(self.parts.values())


def estimate(run: RunConfig, num_devices: int, available: int) -> Estimate:
    """What a step takes, with ``micro_batch = "auto"`` as many rows at once as fit into ``available`` bytes.

    Raises:
        ConfigError: the layout does not fit the model, the batch or the number of devices.
    """
    check_layout(run.model, run.layout, run.data.batch_size, num_devices)
    layout = resolve_sizes(run.layout, num_devices)
    length = min(run.data.max_length or run.model.max_sequence_length, run.model.context_limit)
    share = -(-run.data.batch_size // (layout.replicate * (layout.shard or 1)))
    rows = min(run.micro_batch, share) if isinstance(run.micro_batch, int) else share
    while True:
        parts = training_memory(
            run.model, run.data.batch_size, length, run.precision, layout, rows, run.accumulation_steps, run.lora
        )
        if run.micro_batch != "auto" or rows == 1 or sum(parts.values()) <= available:
            return Estimate(layout, num_devices, length, rows, parts)
        rows = -(-rows // 2)


def print_dry_run(
    run: RunConfig, device: torch.device, cluster: ClusterOptions | None = None, console: Console | None = None
) -> bool:
    """Print the resolved run, what was derived for it, and what it takes; whether it fits into a device's memory.

    Raises:
        ConfigError: the layout can't be.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    cluster = cluster or ClusterOptions()
    available = cluster.memory(available_memory(device))
    asked = prod(run.layout.model_dump(exclude={"pipeline_schedule"}, exclude_none=True).values())
    step = estimate(run, cluster.devices or asked, available)
    console.print(to_toml(run), markup=False)
    for derived in run.derived:
        console.print(str(derived), markup=False)
    if run.derived:
        console.print()
    where = f"a device of {step.num_devices}" if cluster.device_kind or cluster.device_memory else str(device)
    rows = [*_size_rows(run, step), *_memory_rows(step, available, where), *_time_rows(run, step, cluster)]
    names, values = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, value in rows:
        console.print(f"{name:<{names}}  {value:>{values}}", markup=False)
    fits = step.memory <= available
    console.print("It fits." if fits else _advice(run, step, available))
    return fits


def _size_rows(run: RunConfig, step: Estimate) -> Iterator[tuple[str, str]]:
    yield "parameters", f"{count_parameters(run.model):,}"
    if step.num_devices > 1:
        layout = Layout(torch.device("meta"), step.layout, world_size=step.num_devices)
        yield "layout", layout.describe()
    yield "rows that a device computes at once", f"{step.micro_batch:,}"
    operations = flops_per_token(run.model, step.length)
    tokens = run.data.batch_size * run.accumulation_steps * step.length
    yield f"FLOPs per token, at {step.length:,} positions", f"{operations:.3g}"
    yield "tokens per step, at most", f"{tokens:,}"
    yield "FLOPs per step, at most", f"{operations * tokens:.3g}"


def _memory_rows(step: Estimate, available: int, where: str) -> Iterator[tuple[str, str]]:
    for part, size in step.parts.items():
        yield f"memory: {part}", f"{size / GIB:,.2f} GiB"
    yield "memory: all", f"{step.memory / GIB:,.2f} GiB"
    yield f"memory that {where} has", f"{available / GIB:,.2f} GiB"


def _time_rows(run: RunConfig, step: Estimate, cluster: ClusterOptions) -> Iterator[tuple[str, str]]:
    """Time and price, where the devices' speed and the horizon in tokens are known."""
    stages = step.layout.pipeline
    if stages > 1:
        share = -(-run.data.batch_size // (step.layout.replicate * (step.layout.shard or 1)))
        micro_batches = -(-share // step.micro_batch)
        yield "time that pipeline stages wait", f"{(stages - 1) / (micro_batches + stages - 1):.0%}"
    per_step = run.data.batch_size * run.accumulation_steps * step.length
    num_tokens = min(filter(None, (run.num_tokens, run.num_steps and run.num_steps * per_step)), default=None)
    if num_tokens is None:
        return
    operations = float(flops_per_token(run.model, step.length)) * num_tokens
    yield "tokens in all", f"{num_tokens:,}"
    yield "FLOPs in all", f"{operations:.3g}"
    if cluster.flops is None:
        return
    if run.precision == "float32" and cluster.device_flops is None:
        yield "time", "unknown in float32: give --device-flops"
        return
    hours = operations / (step.num_devices * cluster.flops * cluster.mfu) / 3600
    yield f"time, at {cluster.mfu:.0%} of {cluster.flops:.3g} FLOP/s", _duration(hours)
    yield "device hours", f"{hours * step.num_devices:,.1f}"
    if cluster.price_per_hour is not None:
        yield f"price, at {cluster.price_per_hour:g} an hour", f"{hours * step.num_devices * cluster.price_per_hour:,.0f}"


def _duration(hours: float) -> str:
    """
    >>> _duration(0.2), _duration(30), _duration(500)
    ('12 minutes', '30.0 hours', '20.8 days')
    """
    if hours < 2:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _advice(run: RunConfig, step: Estimate, available: int) -> str:
    """What to change in a run that does not fit."""
    parts = step.parts
    state = sum(size for part, size in parts.items() if part not in ("activations", "logits"))
    if state > available:
        return "It does not fit, whatever the batch: take more devices (layout.shard, layout.tensor), or a smaller model."
    advice = []
    if step.micro_batch > 1:
        advice.append(f"turn down micro_batch (here {step.micro_batch}; it changes no result)")
    if not run.model.gradient_checkpointing:
        advice.append("set model.gradient_checkpointing = true")
    advice.append("give a sequence to several devices (layout.context, layout.tensor)")
    return f"It does not fit: {', or '.join(advice)}."

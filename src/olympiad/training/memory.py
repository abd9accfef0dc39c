"""How much memory a training step takes, before it is taken."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from olympiad.config import LayoutOptions, LoraOptions
from olympiad.model import MathTransformerConfig
from olympiad.model.counting import flops_per_position as flops_per_position
from olympiad.model.counting import layer_matrices, layer_norms

from .errors import OutOfMemory
from .loss import CHUNK
from .parallel import stage_layers

GIB = 2**30


@dataclass(frozen=True)
class Stage:
    """What a pipeline stage holds, on one device of it; without a pipeline, the whole model."""

    num_layers: int
    layer: int
    """Parameters of one layer: its part of the matrices, and the norms."""
    ends: int
    """Parameters of embedding, last norm and head, where the stage has them: whole on every tensor rank."""
    has_head: bool

    @property
    def parameters(self) -> int:
        return self.num_layers * self.layer + self.ends


def pipeline_stages(config: MathTransformerConfig, layout: LayoutOptions) -> list[Stage]:
    """What each stage of a layout holds, in order."""
    embedding = config.vocab_size * config.hidden_size
    head = 0 if config.tie_word_embeddings else embedding
    layer = -(-layer_matrices(config) // layout.tensor) + layer_norms(config)
    stages = []
    for stage in range(layout.pipeline):
        first, last = stage == 0, stage == layout.pipeline - 1
        ends = (embedding if first else 0) + (config.hidden_size + head if last else 0)
        num_layers = len(stage_layers(config.num_hidden_layers, stage, layout.pipeline))
        stages.append(Stage(num_layers, layer, ends, last))
    return stages


def training_memory(
    config: MathTransformerConfig,
    batch_size: int,
    length: int,
    precision: str = "float32",
    layout: LayoutOptions | None = None,
    micro_batch: int | None = None,
    accumulation_steps: int = 1,
    lora: LoraOptions | None = None,
) -> dict[str, int]:
    """Bytes that a training step needs at its peak, by part, on the device that needs most.

    Weights, gradients and AdamW's two moments are exact (float32, divided by shard x context; on a single device with a
    copy of the weights in the 16-bit type). "gathered": see :func:`_state_memory`; activations: :func:`activation_memory`.

    Args:
        batch_size: rows over all devices.
        layout: its sizes resolved (:func:`olympiad.training.layout.resolve_sizes`); a single device if absent.
        micro_batch: rows that a device computes at once; its share of the batch if absent.
        accumulation_steps: batches whose gradients make one step.
        lora: adapters, which alone have gradients and moments.
    """
    layout = layout or LayoutOptions()
    item = 4 if precision == "float32" else 2
    rows = -(-batch_size // (layout.replicate * (layout.shard or 1)))
    at_once = min(micro_batch or rows, rows)
    micro_batches = -(-rows // at_once)
    positions = at_once * -(-length // (layout.context * layout.tensor))  # of which this device makes the logits
    needs = []
    for index, stage in enumerate(pipeline_stages(config, layout)):
        parts = _state_memory(stage, layout, item, micro_batches * accumulation_steps > 1)
        if lora is not None:
            trained = -(-stage.num_layers * count_adapters(config, lora) // ((layout.shard or 1) * layout.context))
            parts |= {"gradients": 4 * trained, "optimizer": 8 * trained}
            parts["weights"] += 4 * trained
        in_flight = micro_batches if layout.pipeline > 1 else 1
        if layout.pipeline_schedule == "1F1B":
            in_flight = min(in_flight, layout.pipeline - index)
        parts["activations"] = activation_memory(config, at_once, length, item, layout, stage.num_layers, in_flight)
        parts["logits"] = 2 * 4 * min(CHUNK, positions) * config.vocab_size if stage.has_head else 0
        needs.append(parts)
    return max(needs, key=lambda parts: sum(parts.values()))


def count_adapters(config: MathTransformerConfig, lora: LoraOptions) -> int:
    """Parameters of one layer's adapters: rank x (inputs + outputs) of each projection that has one.

    >>> from olympiad.model import get_small_config
    >>> count_adapters(get_small_config(), LoraOptions(rank=4, targets=("q_proj",)))  # 256 -> 256
    2048
    """
    hidden, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.kv_heads
    ends = {
        "q_proj": hidden + heads * config.head_dim,
        "k_proj": hidden + kv_heads * config.head_dim,
        "v_proj": hidden + kv_heads * config.head_dim,
        "o_proj": hidden + heads * config.head_dim,
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden + config.intermediate_size),
    }
    return lora.rank * sum(ends[name] for name in lora.targets)


def _state_memory(stage: Stage, layout: LayoutOptions, item: int, accumulates: bool) -> dict[str, int]:
    """Bytes of what a device keeps from step to step, and of what it gathers from the shards for a while.

    FSDP2 gathers two layers at a time (the one at work and the next), embedding and head, in float32; in a pipeline, with
    several micro-batches, all of the stage. Gradients are whole until they are sent: those of two layers, or all of them
    when several backward passes come before. Autocast keeps 16-bit copies of all weights for the whole step.
    """
    shards = (layout.shard or 1) * layout.context
    own = -(-stage.parameters // shards)
    parts = {"weights": 4 * own, "gradients": 4 * own, "optimizer": 8 * own}
    copies = 2 * stage.parameters if item == 2 else 0
    if layout.replicate * shards == 1:
        parts["weights"] += copies
        return parts
    at_work = min(2, stage.num_layers) * stage.layer
    gathered = stage.parameters if layout.pipeline > 1 and accumulates else stage.ends + at_work
    gradients = stage.parameters if accumulates else max(stage.ends, at_work)
    return {**parts, "gathered": 4 * gathered + 4 * gradients + copies}


def activation_memory(
    config: MathTransformerConfig,
    rows: int,
    length: int,
    item: int,
    layout: LayoutOptions,
    num_layers: int,
    in_flight: int = 1,
) -> int:
    """Bytes of what autograd keeps of ``rows`` computed at once, for as many micro-batches as are ``in_flight``.

    Per position and layer: ten tensors of the hidden size, four of which (residual stream and norms) stay in float32,
    and four of the feed-forward size. Tensor parallelism divides all of them but the two inputs of the split matrices,
    which are put together from the sequence's parts. Context parallelism divides positions, but every device keeps the
    keys and values of all, for each query head. With checkpointing only the residual stream is kept, selectively also
    what matrices and attention made. The layer at work needs as much again.
    """
    hidden, width, positions = config.hidden_size, config.intermediate_size, rows * -(-length // layout.context)
    layer = positions * (-(-(hidden * (4 * 4 + 4 * item) + width * 4 * item) // layout.tensor) + 2 * hidden * item)
    if layout.context > 1:
        layer += rows * length * 2 * config.num_attention_heads * config.head_dim * item // layout.tensor
    if not config.gradient_checkpointing:
        return in_flight * num_layers * layer + layer
    kept = 4 * hidden
    if config.gradient_checkpointing == "selective":
        kept += (6 * hidden + 2 * width) * item
    return in_flight * num_layers * positions * -(-kept // layout.tensor) + 2 * layer


def micro_batch_that_fits(
    config: MathTransformerConfig,
    batch_size: int,
    length: int,
    device: torch.device,
    precision: str,
    layout: LayoutOptions | None = None,
    attempt: Callable[[int], None] | None = None,
) -> int:
    """The most rows, halved from a rank's share of the batch until they fit, that a device can compute at once.

    Args:
        attempt: computes so many rows, or runs out of memory. Without it the estimate of :func:`training_memory` decides,
            as it has to on a CPU, where the system kills whoever takes too much.
    """
    micro_batch = -(-batch_size // (layout.replicate * (layout.shard or 1) if layout else 1))
    while micro_batch > 1:
        if attempt is None:
            parts = training_memory(config, batch_size, length, precision, layout, micro_batch)
            fits = sum(parts.values()) <= 0.8 * available_memory(device)
        else:
            fits = _fits(attempt, micro_batch)
        if fits:
            break
        micro_batch = -(-micro_batch // 2)
    return micro_batch


def _fits(attempt: Callable[[int], None], micro_batch: int) -> bool:
    try:
        attempt(micro_batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def available_memory(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    sharers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes of torchrun on this machine
    return min(psutil.virtual_memory().available, _container_memory()) // sharers


def _container_memory() -> int:
    """What a container's limit (cgroup v2) leaves; without one, more than any machine has."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return sys.maxsize


def held_memory(device: torch.device) -> int:
    """Bytes on the device that this process has already."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def check_memory(
    config: MathTransformerConfig,
    batch_size: int,
    length: int,
    device: torch.device,
    precision: str,
    layout: LayoutOptions | None = None,
    micro_batch: int | None = None,
    accumulation_steps: int = 1,
    lora: LoraOptions | None = None,
) -> None:
    """Refuse a run that can't fit, before anything is allocated: the system would kill it without a word.

    Raises:
        OutOfMemory: with the numbers by part, and what to turn down.
    """
    parts = training_memory(config, batch_size, length, precision, layout, micro_batch, accumulation_steps, lora)
    available = available_memory(device)
    if sum(parts.values()) > available:
        raise OutOfMemory(
            f"training would need more memory than {device} has: {_advice(parts, available, config, batch_size, length)}"
        )


def out_of_memory(
    config: MathTransformerConfig,
    batch_size: int,
    length: int,
    device: torch.device,
    precision: str,
    layout: LayoutOptions | None = None,
    micro_batch: int | None = None,
    accumulation_steps: int = 1,
    lora: LoraOptions | None = None,
) -> OutOfMemory:
    """The error for a step that ran out of memory all the same."""
    parts = training_memory(config, batch_size, length, precision, layout, micro_batch, accumulation_steps, lora)
    available = available_memory(device) + held_memory(device)
    return OutOfMemory(f"{device} ran out of memory: {_advice(parts, available, config, batch_size, length)}")


def _advice(parts: dict[str, int], available: int, config: MathTransformerConfig, batch_size: int, length: int) -> str:
    numbers = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    fixed = parts["weights"] + parts["gradients"] + parts["optimizer"]
    if fixed > available:
        advice = f"the model alone does not fit: take a smaller one (--config small, or hidden_size under {config.hidden_size})"
    else:
        advice = f'set micro_batch = "auto" (the batch of {batch_size} stays), or turn down batch_size, or max_sequence_length'
        advice += f" (now {length})"
        if not config.gradient_checkpointing:
            advice += ", or set gradient_checkpointing = true"
    return f"about {sum(parts.values()) / GIB:.2f} GiB are needed ({numbers}), {available / GIB:.2f} GiB can be had; {advice}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch means "no memory", which on the CPU is a RuntimeError like any other."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )

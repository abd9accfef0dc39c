"""How much memory a training step takes, before it is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import torch

from olympiad.model import MathTransformerConfig

from .errors import OutOfMemory
from .loss import CHUNK

GIB = 2**30


def count_parameters(config: MathTransformerConfig) -> int:
    """Parameters of the model that ``config`` describes, without building it."""
    heads, kv_heads, head_dim, hidden = config.num_attention_heads, config.kv_heads, config.head_dim, config.hidden_size
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    attention += head_dim * (heads + 2 * kv_heads) if config.qkv_bias else 0
    attention += 2 * head_dim if config.qk_norm else 0
    layer = attention + 3 * hidden * config.intermediate_size + 2 * hidden
    embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    return config.num_hidden_layers * layer + embeddings + hidden


def training_memory(config: MathTransformerConfig, batch_size: int, length: int, precision: str = "float32") -> dict[str, int]:
    """Bytes that a training step needs at its peak, by part.

    Weights, gradients and AdamW's two moments are exact (float32, and a copy of the weights in the 16-bit type).
    Activations count what autograd keeps per position and layer: ten tensors of the hidden size, four of which (residual
    stream and norms) stay in float32, and four of the feed-forward size. The layer at work needs as much again.
    """
    parameters = count_parameters(config)
    positions, item = batch_size * length, 4 if precision == "float32" else 2
    per_layer = config.hidden_size * (4 * 4 + 6 * item) + config.intermediate_size * 4 * item
    kept = 4 * config.hidden_size if config.gradient_checkpointing else per_layer
    at_work = 2 * per_layer if config.gradient_checkpointing else per_layer
    return {
        "weights": (4 if precision == "float32" else 6) * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "activations": positions * (config.num_hidden_layers * kept + at_work),
        "logits": 2 * 4 * min(CHUNK, positions) * config.vocab_size,
    }


def flops_per_position(config: MathTransformerConfig, length: int) -> tuple[int, int]:
    """Floating-point operations of forward and backward pass, for one position among ``length``: layers, and projection.

    6 for each weight that a position is multiplied with, and 12 x layers x attention size x length for attention: the
    count of PaLM (arXiv:2204.02311, appendix B), as if every position saw all others; recomputation is not counted.
    """
    head = config.vocab_size * config.hidden_size
    embeddings = head * (1 if config.tie_word_embeddings else 2)
    attention_size = config.num_attention_heads * config.head_dim
    body = 6 * (count_parameters(config) - embeddings) + 12 * config.num_hidden_layers * attention_size * length
    return body, 6 * head


def micro_batch_that_fits(config: MathTransformerConfig, rows: int, length: int, device: torch.device, precision: str) -> int:
    """The most rows, halved from ``rows`` until they fit, that a device can compute at once, by the estimate of
    :func:`training_memory`; on a GPU nine tenths of what is free are taken."""
    available = available_memory(device) * (0.9 if device.type == "cuda" else 0.8)
    micro_batch = rows
    while micro_batch > 1 and sum(training_memory(config, micro_batch, length, precision).values()) > available:
        micro_batch = -(-micro_batch // 2)
    return micro_batch


def available_memory(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(psutil.virtual_memory().available, _container_memory())


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


def check_memory(config: MathTransformerConfig, batch_size: int, length: int, device: torch.device, precision: str) -> None:
    """Refuse a run that can't fit, before anything is allocated: the system would kill it without a word.

    Raises:
        OutOfMemory: with the numbers by part, and what to turn down.
    """
    parts, available = training_memory(config, batch_size, length, precision), available_memory(device)
    if sum(parts.values()) > available:
        raise OutOfMemory(
            f"training would need more memory than {device} has: {_advice(parts, available, config, batch_size, length)}"
        )


def out_of_memory(
    config: MathTransformerConfig, batch_size: int, length: int, device: torch.device, precision: str
) -> OutOfMemory:
    """The error for a step that ran out of memory all the same."""
    parts, available = training_memory(config, batch_size, length, precision), available_memory(device) + held_memory(device)
    return OutOfMemory(f"{device} ran out of memory: {_advice(parts, available, config, batch_size, length)}")


def _advice(parts: dict[str, int], available: int, config: MathTransformerConfig, batch_size: int, length: int) -> str:
    numbers = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    fixed = parts["weights"] + parts["gradients"] + parts["optimizer"]
    if fixed > available:
        advice = f"the model alone does not fit: take a smaller one (--config small, or hidden_size under {config.hidden_size})"
    else:
        advice = f"turn down batch_size (now {batch_size}) and raise accumulation_steps, or max_sequence_length (now {length})"
        if not config.gradient_checkpointing:
            advice += ", or set gradient_checkpointing = true"
    return f"about {sum(parts.values()) / GIB:.2f} GiB are needed ({numbers}), {available / GIB:.2f} GiB can be had; {advice}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch means "no memory", which on the CPU is a RuntimeError like any other."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )

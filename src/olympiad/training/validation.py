"""How well a model predicts texts that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from olympiad.data import IGNORED

from .compute import Compute


def evaluate(compute: Compute, loaders: Mapping[str, DataLoader[Any]]) -> dict[str, float]:
    """Loss in nats a target, and bits per byte of the targets' text: over all sets, and for each that has a name.

    Bits per byte compare models of different tokenizers. The end of a text and other special tokens cost bits and have no
    bytes: where a solution ends is a part of it.

    Returns:
        ``validation_loss``, ``bits_per_byte``, and both with "/NAME"; nothing without a set.
    """
    compute.model.eval()
    numbers: dict[str, float] = {}
    overall = [0.0, 0.0, 0.0]
    for name, loader in loaders.items():
        totals = _totals(compute, loader)
        overall = [a + b for a, b in zip(overall, totals, strict=True)]
        numbers |= _rates(totals, f"/{name}") if name else {}
    return (_rates(overall) | numbers) if loaders else {}


def _totals(compute: Compute, loader: DataLoader[Any]) -> list[float]:
    """Sum of losses, targets, and bytes of the targets' text, over all ranks."""
    count, num_bytes, byte_lengths = 0, 0, loader.dataset.tokenizer.byte_lengths  # type: ignore[attr-defined]
    loss_sum = torch.zeros((), dtype=torch.float64, device=compute.layout.device)  # on the device: read once, at the end
    twins = compute.layout.world_size // compute.layout.data_size  # ranks that see the same rows
    for batch in loader:
        targets = batch["targets"][batch["targets"] != IGNORED]
        loss_sum += compute.loss_sum(batch)
        count += len(targets)
        num_bytes += int(byte_lengths[targets.numpy()].sum())
    return compute.layout.sum([float(loss_sum), count / twins, num_bytes / twins])


def _rates(totals: list[float], suffix: str = "") -> dict[str, float]:
    loss_sum, count, num_bytes = totals
    return {
        f"validation_loss{suffix}": loss_sum / max(count, 1),
        f"bits_per_byte{suffix}": loss_sum / math.log(2) / max(num_bytes, 1),
    }

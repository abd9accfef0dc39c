"""What the device could do at best, and what it holds."""

from __future__ import annotations

import time
from functools import cache

import psutil
import torch

# Dense bfloat16 FLOP/s without sparsity, from NVIDIA's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "B200": 2250e12, "L40S": 362e12, "4090": 165e12}


@cache
def peak_flops(device_type: str, precision: str) -> float | None:
    """Floating-point operations a second of the device: NVIDIA's figure in bfloat16, or, on a CPU, the best large
    float32 matrix product of four. None for a GPU that is not in the table, and in float32 on any.

    Model FLOPs utilisation is against this.
    """
    if device_type == "cuda":
        name = torch.cuda.get_device_name()
        known = [peak for part, peak in PEAKS.items() if part in name]
        return known[0] if known and precision != "float32" else None
    a, b, best = torch.randn(1024, 1024), torch.randn(1024, 1024), float("inf")
    for _ in range(4):
        started = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best


def memory_in_use(device: torch.device) -> int:
    """Bytes: on a GPU the most that tensors took since the last call, elsewhere the process's resident memory."""
    if device.type != "cuda":
        return psutil.Process().memory_info().rss
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak

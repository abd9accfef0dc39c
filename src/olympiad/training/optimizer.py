"""The optimizer and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn


def create_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float = 0.1, betas: tuple[float, float] = (0.9, 0.95)
) -> torch.optim.AdamW:
    """AdamW (arXiv:1711.05101), decaying matrices only: norms and biases have nothing to be kept small for.

    ``betas`` and ``weight_decay`` are GPT-3's and Llama's.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    # One pass over the memory instead of a dozen, on CPU as on CUDA.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def warmup_cosine(step: int, total_steps: int, warmup_steps: int, final: float = 0.1) -> float:
    """The learning rate at ``step`` over its peak: linear warm-up, then half a cosine (arXiv:1608.03983) down to ``final``.

    >>> [round(warmup_cosine(step, total_steps=12, warmup_steps=2), 3) for step in (0, 1, 2, 7, 12, 20)]
    [0.5, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

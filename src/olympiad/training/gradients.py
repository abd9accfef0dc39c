"""The norm of all gradients, wherever they lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from .layout import Layout


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def gradient_norm(gradients: Iterable[Tensor], layout: Layout) -> Tensor:
    """The Euclidean norm of all gradients of all ranks, a float32 scalar, the same everywhere.

    Gradients are grouped by the dimensions of the mesh that split them: a group's squares are summed over those, since
    over the others every rank holds the same. torch.nn.utils.clip_grad_norm_ refuses gradients of different meshes.
    """
    groups: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    meshes = {}
    for gradient in gradients:
        split: tuple[int, ...] = ()
        if isinstance(gradient, DTensor):
            split = tuple(i for i, placement in enumerate(gradient.placements) if not placement.is_replicate())
            meshes[split] = gradient.device_mesh
        groups[split].append(_local(gradient))
    total = torch.zeros((), device=layout.device)
    for split, local in sorted(groups.items()):  # in one order on all ranks: they meet in the sums
        squares = torch.stack(torch._foreach_norm(local)).float().square().sum()
        for dimension in split:
            dist.all_reduce(squares, group=meshes[split].get_group(dimension))
        total = total + squares
    if layout.mesh is not None and layout.sizes.pipeline > 1:
        dist.all_reduce(total, group=layout.mesh.get_group("pipeline"))
    return total.sqrt()


@torch.no_grad()
def scale_gradients(gradients: Iterable[Tensor], factor: Tensor | float) -> None:
    """Multiply all gradients, in place."""
    local = [_local(gradient) for gradient in gradients]
    if local:
        torch._foreach_mul_(local, factor)

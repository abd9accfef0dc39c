"""Which part of a whole tensor a rank holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


def own_slice(tensor: DTensor) -> tuple[slice, ...]:
    """The part of the whole tensor that ``tensor.to_local()`` is.

    By PyTorch's own arithmetic (the one that its distributed checkpoints use), which knows strided parts too.
    """
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))


@torch.no_grad()
def copy_own_slice(target: Tensor, value: Tensor) -> None:
    """Copy a whole tensor, or this rank's part of it."""
    if isinstance(target, DTensor):
        target.to_local().copy_(value[own_slice(target)])
    else:
        target.copy_(value)

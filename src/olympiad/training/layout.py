"""The processes of a run: how many, which one this is, and what they agree on.

One process alone needs nothing of this; under ``torchrun`` the processes form a mesh with the dimensions

    pipeline x replicate x weights x tensor        weights = shard x context

Ranks that differ in ``replicate`` or ``shard`` alone take different rows of a batch, those that differ in ``context``
different positions of the same rows, those in ``tensor`` other columns of the same matrices, those in ``pipeline`` other
layers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import prod
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout as set_pg_timeout

from olympiad.config import ConfigError, LayoutOptions

from .errors import TrainingInterrupted
from .rendezvous import fresh_store

T = TypeVar("T")


@dataclass
class Layout:
    """What one process has to know of all. Alone, ``mesh`` is absent and every sum is its own."""

    device: torch.device
    sizes: LayoutOptions
    rank: int = 0
    world_size: int = 1
    mesh: DeviceMesh | None = None
    """pipeline, replicate, weights, tensor."""
    context_mesh: DeviceMesh | None = None
    timeout: timedelta = timedelta(minutes=10)
    """How long to wait for one that does not answer."""
    _background: Any = None

    @property
    def data_size(self) -> int:
        """Ranks that take different rows."""
        return self.sizes.replicate * (self.sizes.shard or 1)

    @property
    def gradient_divisor(self) -> int:
        """By how much FSDP divides the sum of gradients: it takes the mean over all that hold the same weights."""
        return self.data_size * self.sizes.context

    @property
    def data_rank(self) -> int:
        if self.mesh is None:
            return 0
        weights = self.mesh.get_local_rank("weights") // self.sizes.context
        return self.mesh.get_local_rank("replicate") * (self.sizes.shard or 1) + weights

    def place(self, dimension: str) -> int:
        """This rank's coordinate in "pipeline", "tensor" or "context"."""
        mesh = self.context_mesh if dimension == "context" else self.mesh
        return 0 if mesh is None else mesh.get_local_rank(dimension)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and talks."""
        return self.rank == 0

    @property
    def is_last_stage(self) -> bool:
        return self.place("pipeline") == self.sizes.pipeline - 1

    def sum(self, values: Sequence[float]) -> list[float]:
        """The values summed over all ranks, in float64."""
        if self.mesh is None:
            return [float(value) for value in values]
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def agree(self, value: T) -> T:
        """The first rank's value, for all."""
        if self.mesh is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, for all."""
        if self.mesh is None:
            return [value]
        values: list[T | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def barrier(self) -> None:
        if self.mesh is not None:
            dist.barrier()

    def background_group(self) -> Any:
        """All ranks once more, for threads that talk while the run does: messages of one group must not mix."""
        if self._background is None:
            self._background = dist.new_group(backend="gloo", timeout=self.timeout)
        return self._background

    def describe(self) -> str:
        """For the first lines of a run.

        >>> Layout(torch.device("cpu"), LayoutOptions(shard=2, tensor=2), world_size=4).describe()
        '4 processes: shard 2 x tensor 2'
        """
        sizes = {name: getattr(self.sizes, name) for name in ("pipeline", "replicate", "shard", "context", "tensor")}
        parts = [f"{name} {size}" for name, size in sizes.items() if size and size > 1]
        return f"{self.world_size} processes: {' x '.join(parts)}" if parts else "1 process"

    def close(self) -> None:
        """Leave the others, once all are ready to: a peer that still talks would hang or fail."""
        if self.mesh is not None:
            dist.barrier()
            dist.destroy_process_group()
            self.mesh = None

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it, unless something failed: the others may be gone, or know nothing of it, and would be waited for."""
        if kind is None or isinstance(error, TrainingInterrupted):
            self.close()


def processes() -> int:
    """How many there are, by what ``torchrun`` (or anything that sets WORLD_SIZE) says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start_layout(options: LayoutOptions, device: str | torch.device | None = None, timeout_seconds: float = 600.0) -> Layout:
    """Join the other processes, if ``torchrun`` (or anything that sets RANK and WORLD_SIZE) started some.

    Raises:
        ConfigError: the sizes do not multiply to the number of processes.
    """
    world_size = processes()
    sizes = resolve_sizes(options, world_size)
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if world_size == 1:
        return Layout(kind, sizes)
    if kind.type == "cuda":
        kind = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(kind)
        os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")  # the flight recorder: which collective hung, and on whom
        os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    timeout = timedelta(seconds=timeout_seconds)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo"
        rank = int(os.environ["RANK"])
        dist.init_process_group(backend, timeout=timeout, store=fresh_store(timeout), rank=rank, world_size=world_size)
    shard = sizes.shard or 1
    mesh = init_device_mesh(
        kind.type,
        (sizes.pipeline, sizes.replicate, shard * sizes.context, sizes.tensor),
        mesh_dim_names=("pipeline", "replicate", "weights", "tensor"),
    )
    context = None
    if sizes.context > 1:
        shape = (sizes.pipeline, sizes.replicate, shard, sizes.context, sizes.tensor)
        context = init_device_mesh(kind.type, shape, mesh_dim_names=("pipeline", "replicate", "shard", "context", "tensor"))[
            "context"
        ]
    for each in filter(None, (mesh, context)):
        for group in each.get_all_groups():  # else they wait for half an hour
            set_pg_timeout(timeout, group)
    return Layout(kind, sizes, dist.get_rank(), world_size, mesh, context, timeout)


def resolve_sizes(options: LayoutOptions, world_size: int) -> LayoutOptions:
    """``options`` with ``shard`` filled in: the processes that are left over.

    Raises:
        ConfigError: the sizes do not multiply to ``world_size``.

    >>> resolve_sizes(LayoutOptions(tensor=2), 8).shard
    4
    """
    others = {name: getattr(options, name) for name in ("replicate", "tensor", "context", "pipeline")}
    product = prod(others.values())
    shard = options.shard or max(world_size // product, 1)
    if product * shard != world_size:
        sizes = " x ".join(f"{name} {size}" for name, size in {**others, "shard": shard}.items() if size > 1) or "1"
        raise ConfigError(
            f"layout: {sizes} is {product * shard} processes, but {world_size} were started: change [layout], or start "
            f"{product * shard} with torchrun --nproc-per-node {product * shard} -m olympiad train ..."
        )
    return options.model_copy(update={"shard": shard})

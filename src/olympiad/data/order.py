"""The order of the data: a pure function of (seed, epoch, step), sliced by rank.

Nothing about the order has to be saved but the step, and nothing changes when the number of processes does: at each
step all ranks together take the same rows, and each takes every ``world_size``-th of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler


def epoch_order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(num_rows)``, the same on every machine and with every version of NumPy.

    NumPy keeps the raw output of Philox stable (its shuffles it does not), so the rows are sorted by it.

    >>> sorted(epoch_order(5, seed=1, epoch=0).tolist())
    [0, 1, 2, 3, 4]
    """
    key = np.array([seed % 2**64, epoch], np.uint64)  # of a plain list NumPy makes floats once the seed is large or negative
    raw = np.random.Philox(key=key).random_raw(num_rows)
    return np.argsort(raw, kind="stable")


@dataclass
class BatchOrder(Sampler[list[int]]):
    """The batches of one epoch, as row numbers, from ``start`` on; the last one may be smaller.

    Args:
        batch_size: rows of the global batch, all ranks together.
    """

    num_rows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world_size: int = 1
    epoch: int = 0
    start: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected at least 1")

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = epoch_order(self.num_rows, self.seed, self.epoch) if self.shuffle else np.arange(self.num_rows)
        for batch in range(self.start, len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield rows[self.rank :: self.world_size].tolist()

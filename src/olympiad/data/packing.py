"""Best-fit packing: documents of any length into rows of one length, computed ahead.

    row 0  | document 7 .......................... | document 2 ........ |pad|
    row 1  | document 0 ............... | document 5 ... | document 9 ... |

Attention stays inside each document (``document_ids``) and positions restart with each, so a packed row trains exactly
as its documents alone would: packing saves padding and changes nothing else. Best-fit decreasing (Ding et al. 2024,
arXiv:2404.10830, pack so for pretraining) leaves far less room than cutting and joining would lose in broken documents.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PackedRows:
    """Which documents lie in which row: row ``i`` holds ``documents[starts[i]:starts[i + 1]]``, in this order."""

    starts: np.ndarray
    documents: np.ndarray
    capacity: int
    num_positions: int
    """Positions in use, all rows together."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.documents[self.starts[row] : self.starts[row + 1]]

    @property
    def padding(self) -> float:
        """The share of positions that hold nothing."""
        return 1 - self.num_positions / (len(self) * self.capacity) if len(self) else 0.0


def pack(lengths: Sequence[int] | np.ndarray, capacity: int) -> PackedRows:
    """Put each document, longest first, into the row where it leaves the least room; a new row where none has room.

    Args:
        lengths: positions that each document takes.
        capacity: positions of a row.

    Raises:
        ValueError: a document takes no position, or more than a row has: split or drop those before.

    >>> rows = pack([3, 9, 1, 6], capacity=10)
    >>> [rows[i].tolist() for i in range(len(rows))], rows.padding
    ([[1], [3, 0, 2]], 0.050000000000000044)
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(f"documents take {lengths.min()} to {lengths.max()} positions, expected 1 to {capacity}")
    rows: list[list[int]] = []
    rows_with_room: dict[int, list[int]] = {}  # room -> rows that have just this much
    rooms: list[int] = []  # the keys of it, sorted
    for document in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[document])
        place = bisect_left(rooms, length)
        if place == len(rooms):
            row, room = len(rows), capacity
            rows.append([])
        else:
            room = rooms[place]
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                del rows_with_room[room], rooms[place]
        rows[row].append(document)
        left = room - length
        if left and left not in rows_with_room:
            rows_with_room[left] = []
            insort(rooms, left)
        if left:
            rows_with_room[left].append(row)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    documents = np.array([document for row in rows for document in row], dtype=np.int64)
    return PackedRows(starts, documents, capacity, int(lengths.sum()))

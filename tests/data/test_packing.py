"""Packing loses no document, overfills no row, and leaves little room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.data.packing import pack


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(50, 80))
def test_every_document_once_and_no_row_too_full(lengths: list[int], capacity: int) -> None:
    """Guards against a document that is lost or repeated, and against a row that is cut at its end."""
    rows = pack(lengths, capacity)
    placed = [document for row in range(len(rows)) for document in rows[row].tolist()]
    assert sorted(placed) == list(range(len(lengths)))
    assert all(sum(lengths[document] for document in rows[row]) <= capacity for row in range(len(rows)))
    assert rows.num_positions == sum(lengths)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_no_two_rows_fit_into_one(lengths: list[int]) -> None:
    """Guards against rows that are opened while another one has room: at most one may stay half empty."""
    rows = pack(lengths, 20)
    used = sorted(sum(lengths[document] for document in rows[row]) for row in range(len(rows)))
    assert len(used) < 2 or used[0] + used[1] > 20


def test_like_a_slow_best_fit() -> None:
    """Guards against a look-up of rooms that takes another row than the tightest."""
    lengths = np.random.default_rng(0).integers(1, 100, 400).tolist()
    slow: list[list[int]] = []
    for document in sorted(range(400), key=lambda number: -lengths[number]):
        rooms = [(100 - sum(lengths[d] for d in row), place) for place, row in enumerate(slow)]
        fitting = [room for room, _ in rooms if room >= lengths[document]]
        if fitting:
            next(row for row in slow if 100 - sum(lengths[d] for d in row) == min(fitting)).append(document)
        else:
            slow.append([document])
    assert len(pack(lengths, 100)) == len(slow)


@pytest.mark.parametrize("lengths", [[0], [11], [3, 12]])
def test_what_can_not_be_packed(lengths: list[int]) -> None:
    """Guards against silent cropping."""
    with pytest.raises(ValueError, match="expected 1 to 10"):
        pack(lengths, 10)
    assert len(pack([], 10)) == 0

"""The order of the data: a pure function of seed, epoch and step, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.data import BatchOrder, epoch_order

ROWS = st.integers(0, 60)
BATCH_SIZES = st.integers(1, 20)
WORLD_SIZES = st.integers(1, 8)
EPOCHS = st.integers(0, 2**32)
SEEDS = st.integers(-(2**65), 2**65)


@pytest.mark.parametrize(
    ("num_rows", "seed", "epoch", "expected"),
    [
        (10, 0, 0, [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]),
        (10, 0, 1, [5, 3, 7, 8, 2, 4, 1, 0, 6, 9]),
        (10, -1, 2, [9, 5, 2, 3, 7, 0, 6, 8, 1, 4]),
    ],
)
def test_order_is_the_same_with_every_version(num_rows: int, seed: int, epoch: int, expected: list[int]) -> None:
    """A resumed run that sees other data, since a new version of NumPy or of this package shuffles otherwise."""
    assert epoch_order(num_rows, seed, epoch).tolist() == expected


@given(ROWS, SEEDS, EPOCHS)
def test_order_is_a_permutation_and_pure(num_rows: int, seed: int, epoch: int) -> None:
    """A row twice or never, or an order that depends on what was drawn before it."""
    order = epoch_order(num_rows, seed, epoch)
    assert sorted(order.tolist()) == list(range(num_rows))
    np.random.seed(num_rows)
    assert epoch_order(num_rows, seed, epoch).tolist() == order.tolist()


def test_orders_of_seeds_and_epochs_differ() -> None:
    """Every epoch in one order, or epoch 1 of seed 0 the same as epoch 0 of seed 1."""
    orders = {tuple(epoch_order(100, seed, epoch)) for seed in range(-3, 4) for epoch in range(7)}
    assert len(orders) == 49
    assert tuple(range(100)) not in orders


def test_every_row_comes_everywhere() -> None:
    """A shuffle that is no shuffle: some rows always early."""
    first = [int(epoch_order(10, seed=0, epoch=epoch)[0]) for epoch in range(2_000)]
    assert all(150 < count < 250 for count in np.bincount(first, minlength=10))  # 200 +- 13


@given(ROWS, BATCH_SIZES, WORLD_SIZES, EPOCHS, st.booleans())
def test_each_row_once_an_epoch_over_all_ranks(
    num_rows: int, batch_size: int, world_size: int, epoch: int, shuffle: bool
) -> None:
    """Rows that two ranks both take, or that none does where the sizes do not divide."""
    ranks = [list(BatchOrder(num_rows, batch_size, 7, shuffle, rank, world_size, epoch)) for rank in range(world_size)]
    assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(num_rows))
    assert {len(batches) for batches in ranks} == {len(BatchOrder(num_rows, batch_size))} == {-(-num_rows // batch_size)}


@given(ROWS, BATCH_SIZES, WORLD_SIZES, EPOCHS)
def test_batches_do_not_depend_on_the_world_size(num_rows: int, batch_size: int, world_size: int, epoch: int) -> None:
    """A run that goes on with another number of processes and sees other rows at the same step."""
    alone = list(BatchOrder(num_rows, batch_size, seed=3, epoch=epoch))
    ranks = [BatchOrder(num_rows, batch_size, 3, True, rank, world_size, epoch) for rank in range(world_size)]
    for batch, *parts in zip(alone, *ranks, strict=True):
        assert parts == [batch[rank::world_size] for rank in range(world_size)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(len(batch) == batch_size for batch in alone[:-1])
    assert [row for batch in alone for row in batch] == epoch_order(num_rows, 3, epoch).tolist()


@given(ROWS, BATCH_SIZES, st.integers(0, 70), EPOCHS)
def test_start_gives_the_rest_of_the_epoch(num_rows: int, batch_size: int, start: int, epoch: int) -> None:
    """A resumed epoch that repeats or leaves out batches."""
    whole = BatchOrder(num_rows, batch_size, seed=5, epoch=epoch)
    rest = BatchOrder(num_rows, batch_size, seed=5, epoch=epoch, start=start)
    assert list(rest) == list(whole)[start:]
    assert len(rest) == len(whole)  # the epoch's batches, which steps and schedules count


@given(
    st.integers(1, 60),
    BATCH_SIZES,
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 5), WORLD_SIZES), max_size=6),
)
def test_any_stops_on_any_number_of_processes(
    num_rows: int, batch_size: int, accumulation: int, stops: list[tuple[int, int]]
) -> None:
    """A row that is seen twice, or never, since a run was stopped and went on with more processes or fewer."""
    uninterrupted = [set(batch) for batch in BatchOrder(num_rows, batch_size, seed=2, epoch=1)]
    seen: list[set[int]] = []
    rows: list[int] = []
    for steps, world_size in [*stops, (10**6, 3)]:  # the last stretch runs to the end
        start, end = len(seen), min(len(seen) + steps * accumulation, len(uninterrupted))
        ranks = [list(BatchOrder(num_rows, batch_size, 2, True, rank, world_size, 1, start)) for rank in range(world_size)]
        for batch in range(end - start):
            rows += [row for rank in ranks for row in rank[batch]]
            seen.append({row for rank in ranks for row in rank[batch]})
    assert seen == uninterrupted
    assert sorted(rows) == list(range(num_rows))


def test_unshuffled_order_is_that_of_the_rows() -> None:
    """Validation in another order each time."""
    assert list(BatchOrder(5, 2, seed=1, shuffle=False, epoch=9)) == [[0, 1], [2, 3], [4]]


def test_epoch_and_start_can_be_moved() -> None:
    """A loader that goes on with the order that it was made with."""
    order = BatchOrder(20, 3, seed=1)
    order.epoch, order.start = 4, 2
    assert list(order) == list(BatchOrder(20, 3, seed=1, epoch=4))[2:]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_has_to_be_positive(batch_size: int) -> None:
    """An endless or an empty epoch."""
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}, expected at least 1"):
        BatchOrder(5, batch_size)

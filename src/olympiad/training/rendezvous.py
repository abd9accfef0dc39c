"""Where the processes of a run find each other, also when ``torchrun`` starts them again.

torchrun keeps one store over restarts, with the addresses that dead processes left in it; a quick rank reads these and can't
connect (pytorch/pytorch#135712). TORCHELASTIC_RESTART_COUNT would tell them apart, but differs between nodes once one was
replaced. So the living ones agree on a corner of the store of their own: each asks under a word that nobody used before, and
waits until the first rank answers that very word.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from .errors import TrainingError

_PAUSE = 0.02  # seconds between two looks


def fresh_store(timeout: timedelta) -> Store:
    """The store that ``torchrun`` names, without what earlier processes left in it.

    Raises:
        TrainingError: not all processes came in time.
    """
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    deadline = time.monotonic() + timeout.total_seconds()
    corner = _answer_all(store, world_size, deadline) if rank == 0 else _ask(store, rank, deadline)
    return PrefixStore(corner, store)


def _answer_all(store: Store, world_size: int, deadline: float) -> str:
    corner = f"run/{uuid.uuid4().hex}"
    while store.add(f"{corner}/came", 0) < world_size - 1:
        for rank in range(1, world_size):
            if store.check([f"ask/{rank}"]):
                store.set(f"answer/{rank}", f"{store.get(f'ask/{rank}').decode()} {corner}")
        _wait(deadline, f"only {1 + store.add(f'{corner}/came', 0)} of {world_size} processes came")
    return corner


def _ask(store: Store, rank: int, deadline: float) -> str:
    word = uuid.uuid4().hex
    store.set(f"ask/{rank}", word)
    while True:
        if store.check([f"answer/{rank}"]):
            asked, _, corner = store.get(f"answer/{rank}").decode().partition(" ")
            if asked == word:
                store.add(f"{corner}/came", 1)
                return corner
        _wait(deadline, "the first process did not come")


def _wait(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise TrainingError(f"{problem} within health.timeout_seconds: start all again with --resume auto")
    time.sleep(_PAUSE)

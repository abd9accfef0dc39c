"""Many verdicts at once, in processes that can be killed: one pair that takes too long costs itself and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from .verdict import Policy, Verdict, find_policy, verify

CHUNK = 64
MEMORY_BYTES = 768_000_000
START_SECONDS = 120  # a process imports the script that it is started from


def _serve(connection: Connection, policy: str | Policy) -> None:
    """A worker: chunks of pairs in, one verdict at a time out."""
    with suppress(ValueError, OSError):  # a limit that is lower already stays
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with suppress(EOFError, KeyboardInterrupt, ConnectionError):
        connection.send(None)  # ready
        while True:
            for number, gold, prediction in connection.recv():
                connection.send((number, verify(gold, prediction, policy)))


class _Worker:
    """A process with the pairs that it has not answered yet."""

    def __init__(self, policy: str | Policy) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, policy), daemon=True)
        self.process.start()
        theirs.close()
        self.pending: list[tuple[int, str, str]] = []
        try:
            if not self.connection.poll(START_SECONDS):
                raise EOFError
            self.connection.recv()
        except (EOFError, OSError) as error:
            self.kill()
            raise RuntimeError(
                "a process for verdicts did not start: put the call under `if __name__ == '__main__':`, or use workers=0"
            ) from error
        self.since = time.monotonic()

    def give(self, pairs: list[tuple[int, str, str]]) -> None:
        self.pending, self.since = pairs, time.monotonic()
        with suppress(OSError):  # it died just now: it will be replaced
            self.connection.send(pairs)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def verify_batch(
    pairs: Iterable[tuple[str, str]], workers: int | None = None, policy: str | Policy = "default", timeout: float = 5.0
) -> list[Verdict]:
    """A verdict for each pair of gold and prediction, in their order.

    Usable from threads, asyncio (through ``asyncio.to_thread``) and data-loader workers; the latter are daemons, which may
    have no processes of their own: there the pairs are judged in place, within the limits of :func:`verify` itself.

    Args:
        workers: processes; one a core if absent, 0 for none beside this one.
        timeout: seconds for a pair; one that takes longer is ``unjudgeable``, and its process is replaced.

    >>> [verdict.outcome for verdict in verify_batch([("1/2", "0.5"), ("1/2", "0.6")], workers=0)]
    ['correct', 'wrong']
    """
    return list(iterate_verdicts(pairs, workers, policy, timeout))


def iterate_verdicts(
    pairs: Iterable[tuple[str, str]], workers: int | None = None, policy: str | Policy = "default", timeout: float = 5.0
) -> Iterator[Verdict]:
    """The same, each as soon as it and all before it are there."""
    policy = find_policy(policy) if isinstance(policy, str) else policy
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout}, expected seconds above 0")
    numbered = [(number, gold, prediction) for number, (gold, prediction) in enumerate(pairs)]
    count = (os.cpu_count() or 1) if workers is None else workers
    if count < 1 or multiprocessing.current_process().daemon:  # a daemon may have no children
        yield from (verify(gold, prediction, policy) for _, gold, prediction in numbered)
        return
    waiting = [numbered[start : start + CHUNK] for start in range(0, len(numbered), CHUNK)][::-1]
    done: dict[int, Verdict] = {}
    following = 0
    crew = [_Worker(policy) for _ in range(min(count, len(waiting)))]
    try:
        while following < len(numbered):
            for worker in crew:
                if not worker.pending and waiting:
                    worker.give(waiting.pop())
            busy = {worker.connection: worker for worker in crew if worker.pending}
            for ready in wait(list(busy), timeout=0.1):
                _receive(busy[ready], done)  # type: ignore[index]
            for place, worker in enumerate(crew):
                hung = worker.pending and time.monotonic() - worker.since > timeout
                if hung or not worker.process.is_alive():
                    crew[place] = _replaced(worker, policy, done, f"no verdict within {timeout:g} seconds" if hung else None)
            while following in done:
                yield done.pop(following)
                following += 1
    finally:
        for worker in crew:
            worker.kill()


def _receive(worker: _Worker, done: dict[int, Verdict]) -> None:
    try:
        while worker.connection.poll():
            number, verdict = worker.connection.recv()
            done[number] = verdict
            worker.pending = worker.pending[1:]
            worker.since = time.monotonic()
    except (EOFError, OSError):
        worker.process.join(timeout=1)


def _replaced(worker: _Worker, policy: str | Policy, done: dict[int, Verdict], reason: str | None) -> _Worker:
    """A new process for the rest of the pairs; the one that stopped the old one is unjudgeable."""
    worker.kill()
    fresh = _Worker(policy)
    if worker.pending:
        done[worker.pending[0][0]] = Verdict("unjudgeable", reason or "the process that judged it died", "limits")
        if worker.pending[1:]:
            fresh.give(worker.pending[1:])
    return fresh


class Judge:
    """One process that judges pair after pair as they come, for the texts of a model that writes them slowly.

    >>> with Judge() as judge:
    ...     judge.verdict("1/2", "So it is 0.5.", "math").outcome
    'correct'
    """

    def __init__(self, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._workers: dict[str, _Worker] = {}

    def verdict(self, gold: str, prediction: str, policy: str = "default") -> Verdict:
        """As :func:`verify`; unjudgeable where it takes too long."""
        if multiprocessing.current_process().daemon:  # a daemon may have no children
            return verify(gold, prediction, policy)
        find_policy(policy)
        if policy not in self._workers:
            self._workers[policy] = _Worker(policy)
        worker, done = self._workers[policy], dict[int, Verdict]()
        worker.give([(0, gold, prediction)])
        until = time.monotonic() + self._timeout
        while not done:
            wait([worker.connection], timeout=max(0.0, until - time.monotonic()))
            _receive(worker, done)
            hung = not done and time.monotonic() >= until
            if hung or not (done or worker.process.is_alive()):
                reason = f"no verdict within {self._timeout:g} seconds" if hung else None
                self._workers[policy] = _replaced(worker, policy, done, reason)
        return done[0]

    def close(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        self._workers = {}

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

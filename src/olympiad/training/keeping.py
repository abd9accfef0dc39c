"""Which checkpoints of a run there are: written in turn, kept or let go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from olympiad.config import CheckpointOptions, ConfigError

from .checkpoint import write_checkpoint
from .errors import CheckpointError
from .inputs import display_path
from .layout import Layout
from .remote import Remote
from .sharded import MARKER, ShardedWrite, is_half
from .state import checkpoints_in, nested

_NUMBERED = re.compile(r"(step|best_model_step)_(\d+)(\.pt)?")


class Keeper:
    """Writes a run's checkpoints into a folder and keeps the ones that ``options`` say.

    One file each, or, with several processes, a folder each; asynchronous ones count once :meth:`settle` finds them whole.
    """

    def __init__(self, folder: Path, options: CheckpointOptions, layout: Layout, say: Callable[[str], None]) -> None:
        self.folder, self.options, self.layout, self.say = folder, options, layout, say
        let_go = partial(superseded, options=options)
        self.remote = Remote(options.remote, folder, layout, let_go) if options.remote else None
        if options.sharded is False and layout.mesh is not None:
            raise ConfigError(
                "checkpoints.sharded = false: several processes write a folder; olympiad checkpoint convert makes one file of it"
            )
        self.sharded = options.sharded if options.sharded is not None else layout.mesh is not None
        self._pending: ShardedWrite | None = None

    def path(self, name: str, step: int) -> Path:
        """Where a checkpoint of this name goes: a file is replaced, a folder never, so its name has the step."""
        name = name.removesuffix(".pt")
        if not self.sharded:
            return self.folder / f"{name}.pt"
        return self.folder / (f"{name}_step_{step}" if name == "best_model" else name)

    def save(self, name: str, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], may_wait: bool = False) -> Path:
        """Write a checkpoint, whole or not at all.

        Args:
            may_wait: it may be written while training goes on, if the options ask for that.

        Raises:
            CheckpointError: it can't be written; what was there before still is.
        """
        self.settle()
        path = self.path(name, step)
        if self.sharded:
            asynchronous = may_wait and self.options.asynchronous
            self._pending = ShardedWrite(path, tensors, facts, self.layout, asynchronous)
            if not asynchronous:
                self.settle()
        else:
            write_checkpoint(path, {**nested(tensors), **facts})
            self._written(path)
        return path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While entered, no other run writes into the folder.

        Raises:
            CheckpointError: another one does.
        """
        lock = FileLock(self.folder / ".lock", is_singleton=True)  # one within another, in one process, is the same run
        error = ""
        if self.layout.is_first:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
            except Timeout:
                error = f"another run is writing to {self.folder}: wait for its end, or choose another folder"
            except OSError as failure:
                error = f"can't write into {self.folder}: {failure.strerror or failure}"
        if error := self.layout.agree(error):
            raise CheckpointError(error)
        try:
            yield
        finally:
            lock.release()

    @property
    def waiting(self) -> bool:
        """Whether a checkpoint is still to be settled."""
        return self._pending is not None

    @property
    def ready(self) -> bool:
        """Whether this rank has written its part of it."""
        return self._pending is not None and self._pending.done

    def settle(self) -> None:
        """Wait for the checkpoint that is being written, if there is one; all ranks together."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.finish()
            self._written(pending.path)

    def _written(self, path: Path) -> None:
        if self.layout.is_first:
            self.say(f"  Saved checkpoint to {display_path(path)}")
            self._let_go(path)
        if self.remote is not None and (failure := self.remote.upload(path)):
            self.say(f"  Warning: {failure}")

    def _let_go(self, newest: Path) -> None:
        """Delete what is no longer to be kept, now that ``newest`` is whole, and halves that a killed run left."""
        for path in [path for path in self.folder.iterdir() if _NUMBERED.fullmatch(path.name) and is_half(path)]:
            shutil.rmtree(path, ignore_errors=True)
        for name in superseded([path.name for path in self.folder.iterdir()], newest.name, self.options):
            path = self.folder / name
            if path.is_dir():
                (path / MARKER).unlink(missing_ok=True)  # first: half a folder is no checkpoint
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of what could be checkpoints in the folder, or else of the remote storage's.

        Raises:
            CheckpointError: the storage can't be reached.
        """
        here = self.layout.agree(sorted(path.name for path in checkpoints_in(self.folder)))
        return here or (self.remote.names() if self.remote is not None else [])

    def fetch(self, on_damaged: Callable[[CheckpointError], None]) -> Path | None:
        """The newest whole checkpoint of the remote storage, copied into the folder; None where there is none.

        Raises:
            CheckpointError: the storage can't be reached, or another run writes into the folder.
        """
        if self.remote is None:
            return None
        with self.alone():
            return self.remote.fetch_newest(on_damaged)


def superseded(names: list[str], newest: str, options: CheckpointOptions) -> list[str]:
    """Which checkpoints are no longer to be kept, now that ``newest`` is whole.

    >>> superseded(["step_1", "step_2.pt", "step_3", "best_model.pt"], "step_3", CheckpointOptions(keep_last=2))
    ['step_1']
    """
    match = _NUMBERED.fullmatch(newest)
    if match is None:
        return []
    kind, now = match[1], int(match[2])
    others = []
    for name in names:
        other = _NUMBERED.fullmatch(name)
        if other and other[1] == kind and name != newest:
            others.append(((int(other[2]) <= now, int(other[2])), name))
    keep = 1 if kind == "best_model_step" else options.keep_last
    every = options.keep_every_steps if kind == "step" else None
    return [name for (_, step), name in sorted(others, reverse=True)[keep - 1 :] if not every or step % every]


def find_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint that a user means by ``name``: in the folder, with or without ".pt", or a path of its own."""
    stem = name.removesuffix(".pt")
    if (folder / name).is_file() or (folder / name / MARKER).is_file():
        return folder / name
    if (folder / stem / MARKER).is_file():
        return folder / stem
    if (folder / f"{stem}.pt").is_file():
        return folder / f"{stem}.pt"
    numbered = sorted(folder.glob(f"{stem}_step_*/{MARKER}"), key=lambda path: int(path.parent.name.rpartition("_")[2]))
    if numbered:
        return numbered[-1].parent
    return Path(name) if Path(name).exists() else folder / name

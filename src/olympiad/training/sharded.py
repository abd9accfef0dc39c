"""Checkpoints as a folder to which every process writes its part, and that any layout can read.

shard-00001-....safetensors   each rank's tensors (PyTorch Distributed Checkpoint, in the safetensors format)
state.json                    everything else, and size and SHA-256 of each file; written last: without it, no checkpoint
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from .errors import CheckpointError
from .layout import Layout

MARKER = "state.json"
FORMAT = 1


class ShardedWrite:
    """One checkpoint that is being written; whole once :meth:`finish` returns.

    Args:
        tensors: this rank's; those of the same name on other ranks are parts of one tensor, or copies.
        facts: all that is no tensor, as plain values.
        asynchronous: copy the tensors and write them while the caller goes on.
    """

    def __init__(
        self, path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], layout: Layout, asynchronous: bool = False
    ) -> None:
        self.path, self.facts, self.layout = path, facts, layout
        self._writing: Future[Any] | None = None
        error = ""
        if layout.is_first:
            try:
                shutil.rmtree(path, ignore_errors=True)  # what a killed run left
                path.mkdir(parents=True)
            except OSError as failure:
                error = str(failure)
        self._together(error)
        self._shapes = _all_shapes(tensors, layout)
        detached = {name: tensor.detach() for name, tensor in tensors.items()}
        writer = HuggingFaceStorageWriter(str(path), save_distributed=True)
        alone = layout.mesh is None
        try:
            with _quiet():
                if asynchronous and not alone:
                    self._writing = dcp.async_save(detached, storage_writer=writer)  # type: ignore[assignment]
                else:
                    dcp.save(detached, storage_writer=writer, no_dist=alone)
        except (CheckpointException, OSError, RuntimeError) as failure:
            error = _first_line(failure)
        self._together(error)

    @property
    def done(self) -> bool:
        """Whether this rank's part is written."""
        return self._writing is None or self._writing.done()

    def finish(self) -> None:
        """Wait for all parts, then write the marker.

        Raises:
            CheckpointError: a part can't be written; older checkpoints are untouched.
        """
        error = ""
        if self._writing is not None:
            try:
                self._writing.result()
            except (CheckpointException, OSError, RuntimeError) as failure:
                error = _first_line(failure)
        self._together(error)
        try:
            files = sorted(self.path.glob("*.safetensors"))[self.layout.rank :: self.layout.world_size]
            digests = {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files}
        except OSError as failure:
            digests, error = {}, str(failure)
        self._together(error)
        gathered = self.layout.gather(digests)
        if self.layout.is_first:
            marker = {
                "format": FORMAT,
                "facts": self.facts,
                "shapes": self._shapes,
                "files": {name: each for part in gathered for name, each in part.items()},
            }
            try:
                _write_synced(self.path / MARKER, json.dumps(marker))
            except OSError as failure:
                error = str(failure)
        self._together(error)

    def _together(self, error: str) -> None:
        """Raise on all ranks what went wrong on any."""
        errors = [each for each in self.layout.gather(error) if each]
        if errors:
            if self.layout.is_first:
                shutil.rmtree(self.path, ignore_errors=True)
            raise CheckpointError(
                f"can't write the checkpoint {self.path} ({errors[0]}); earlier ones are untouched. Free some space and resume."
            )


def _all_shapes(tensors: dict[str, Tensor], layout: Layout) -> dict[str, list[int]]:
    parts = layout.gather({name: list(tensor.shape) for name, tensor in tensors.items()})
    return {name: shape for part in parts for name, shape in part.items()}


def read_marker(path: Path) -> dict[str, Any]:
    """The marker of a sharded checkpoint.

    Raises:
        CheckpointError: there is none, it is damaged, or files that it names are missing or of another size.
    """
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        files, facts, shapes = marker["files"], marker["facts"], marker["shapes"]
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no whole checkpoint: it has no {MARKER}, which is written last") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MARKER} is damaged ({error}): use an earlier checkpoint") from error
    for name, expected in files.items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != expected["bytes"]:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise CheckpointError(f"{file} {found}, expected {expected['bytes']:,} bytes: use an earlier checkpoint")
    return {"facts": facts, "shapes": shapes, "files": files}


def verify_shards(path: Path, rank: int = 0, world_size: int = 1) -> None:
    """Compare every byte with the marker's SHA-256; ``rank`` of ``world_size`` looks at its share of the files.

    Raises:
        CheckpointError: a file differs.
    """
    files = read_marker(path)["files"]
    for name in sorted(files)[rank::world_size]:
        if _sha256(path / name) != files[name]["sha256"]:
            raise CheckpointError(
                f"{path / name} is damaged: its bytes are not those that were written; use an earlier checkpoint"
            )


def fill_from_shards(path: Path, targets: dict[str, Tensor], alone: bool) -> None:
    """Copy the saved tensors into ``targets``, whatever layout they were saved and are laid out in."""
    if targets:
        with _quiet():
            dcp.load(targets, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_synced(path: Path, text: str) -> None:
    aside = path.with_suffix(".partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _first_line(error: BaseException) -> str:
    causes = [str(each[0]) if isinstance(each, tuple) else str(each) for each in getattr(error, "failures", {}).values()]
    return (causes or str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

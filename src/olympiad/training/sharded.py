"""Checkpoints as a folder to which every process writes its part, and that any layout can read.

shard-00001-....safetensors   each rank's tensors (PyTorch Distributed Checkpoint, in the safetensors format)
state.json                    everything else, and size and SHA-256 of each file and of itself; written last: without it,
                              no checkpoint
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
from typing import Annotated, Any

import torch
import torch.distributed.checkpoint as dcp
from pydantic import BaseModel, ConfigDict, StringConstraints
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from .checkpoint import sync_folder
from .errors import CheckpointError
from .facts import Count, parse
from .layout import Layout

MARKER = "state.json"
FORMAT = 2
LARGEST_MARKER = 2**28
"""Bytes: a tokenizer of a million entries takes a tenth of it."""


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    bytes: Count
    sha256: str


class _Marker(BaseModel):
    """Names are those of files in the folder itself and of tensors: a stranger's marker leads nowhere else."""

    model_config = ConfigDict(strict=True)

    facts: dict[str, Any]
    shapes: dict[Annotated[str, StringConstraints(pattern=r"^((model|average)\..+|optimizer\..+\..+)$")], list[Count]]
    files: dict[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*\.safetensors$")], _File]


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
                    group = layout.background_group()
                    self._writing = dcp.async_save(detached, storage_writer=writer, process_group=group)  # type: ignore[assignment]
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
            mine = sorted(self.path.glob("*.safetensors"))[self.layout.rank :: self.layout.world_size]
            digests = {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in mine}
        except OSError as failure:
            digests, error = {}, str(failure)
        self._together(error)
        gathered = self.layout.gather(digests)
        if self.layout.is_first:
            files = {name: each for part in gathered for name, each in part.items()}
            try:
                _write_synced(self.path / MARKER, marker_text(self.facts, self._shapes, files))
                sync_folder(self.path.parent)
            except (OSError, TypeError) as failure:  # a fact that JSON can't hold
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


def marker_text(facts: dict[str, Any], shapes: dict[str, list[int]], files: dict[str, Any]) -> str:
    """A marker, with its own checksum in front."""
    body = {"format": FORMAT, "facts": facts, "shapes": shapes, "files": files}
    return json.dumps({"sha256": _digest(body), **body})


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def parse_marker(text: bytes, path: Path) -> dict[str, Any]:
    """A marker's content ("facts", "shapes", "files"); ``path`` is what error messages call it.

    Raises:
        CheckpointError: it is damaged, of another format, or names what no marker of ours does.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): use an earlier checkpoint") from error
    if not isinstance(body, dict) or not isinstance(body.get("format"), int):
        raise CheckpointError(f"{path} is damaged (it has no format): use an earlier checkpoint")
    if body["format"] != FORMAT:
        raise CheckpointError(
            f"{path} is of format {body['format']}, expected {FORMAT}: read it with the version that wrote it"
        )
    if body.pop("sha256", None) != _digest(body):
        raise CheckpointError(f"{path} is damaged (its bytes are not those that were written): use an earlier checkpoint")
    parse(_Marker, body, path)
    return {name: body[name] for name in ("facts", "shapes", "files")}


def read_marker(path: Path) -> dict[str, Any]:
    """The marker of a sharded checkpoint.

    Raises:
        CheckpointError: there is none, it is damaged, or the files are not those that it names, or of another size.
    """
    try:
        size = (path / MARKER).stat().st_size
        if size > LARGEST_MARKER:
            raise CheckpointError(f"{path / MARKER} has {size:,} bytes, which no marker has: use an earlier checkpoint")
        text = (path / MARKER).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is no whole checkpoint: it has no {MARKER}, which is written last") from error
    except OSError as error:
        raise CheckpointError(f"can't read {path / MARKER} ({error.strerror})") from error
    marker = parse_marker(text, path / MARKER)
    for name, expected in marker["files"].items():
        file = path / name
        found_size = file.stat().st_size if file.is_file() else None
        if found_size != expected["bytes"]:
            found = "is missing" if found_size is None else f"has {found_size:,} bytes"
            raise CheckpointError(f"{file} {found}, expected {expected['bytes']:,} bytes: use an earlier checkpoint")
    if strangers := {file.name for file in path.glob("*.safetensors")} - set(marker["files"]):
        raise CheckpointError(f"{path} holds {', '.join(sorted(strangers))}, which its {MARKER} does not name: delete it")
    return marker


def is_half(path: Path) -> bool:
    """Whether a folder is a checkpoint that was never finished."""
    return any(path.glob("shard-*.safetensors")) and not (path / MARKER).exists()


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
    """Copy the saved tensors into ``targets``, whatever layout they were saved and are laid out in.

    Raises:
        CheckpointError: the shards do not hold them.
    """
    if targets:
        with _quiet(), _readable(path):
            dcp.load(targets, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)


def shard_dtypes(path: Path) -> dict[str, torch.dtype]:
    """Each tensor's type, by the heads of the shards.

    Raises:
        CheckpointError: they can't be read.
    """
    with _quiet(), _readable(path):
        metadata = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    return {name: each.properties.dtype for name, each in metadata.items()}  # type: ignore[union-attr]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What PyTorch and safetensors raise for shards of other content than the marker says, as one error."""
    try:
        yield
    except (CheckpointException, SafetensorError, OSError, ValueError, KeyError, AssertionError) as error:
        raise CheckpointError(f"{path} can't be read ({_first_line(error)}): use an earlier checkpoint") from error


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
    sync_folder(path.parent)


def _first_line(error: BaseException) -> str:
    causes = [str(each[0]) if isinstance(each, tuple) else str(each) for each in getattr(error, "failures", {}).values()]
    return (causes or str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

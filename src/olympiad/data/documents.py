"""Tokenised documents, in memory or in memory-mapped shards on disk.

A prepared folder holds, written in this order and each file aside and renamed:

    SOURCE-00000.tokens    token ids, uint16 (uint32 for a vocabulary above 65,536), documents one after another
    SOURCE-00000.mask      one byte a token: 1 where it is to be predicted
    SOURCE-00000.offsets   where documents begin, int64, and one more: where the last one ends
    SOURCE-00000.rows      one JSON object a document: id, subject, level
    tokenizer.json         what made the ids
    manifest.json          everything else, last: without it the folder holds nothing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from olympiad.tokenizer import Rendered

from .rows import DataError

MANIFEST = "manifest.json"
KINDS = ("tokens", "mask", "rows", "offsets")
FORMAT = 1


class Documents(Protocol):
    """Where a data set takes its tokens from."""

    lengths: np.ndarray
    """Tokens of each document, int64."""

    def __getitem__(self, document: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of one document."""

    def name(self, document: int) -> str:
        """The id of the problem that it was."""

    @property
    def fingerprint(self) -> str:
        """Of all tokens and masks."""


class MemoryDocuments:
    """Documents that were rendered just now."""

    def __init__(self, rendered: Sequence[Rendered], names: Sequence[str]) -> None:
        self._documents = [(np.array(r.ids, np.int32), np.array(r.loss_mask, np.bool_)) for r in rendered]
        self._names = list(names)
        self.lengths = np.array([len(ids) for ids, _ in self._documents], np.int64)

    def __getitem__(self, document: int) -> tuple[np.ndarray, np.ndarray]:
        return self._documents[document]

    def name(self, document: int) -> str:
        return self._names[document]

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for ids, mask in self._documents:
            digest.update(len(ids).to_bytes(4, "little") + ids.tobytes() + mask.tobytes())
        return digest.hexdigest()


class ShardWriter:
    """Writes the documents of one source into shards of up to ``shard_tokens`` tokens."""

    def __init__(self, folder: Path, source: str, vocab_size: int, shard_tokens: int = 250_000_000) -> None:
        self.folder, self.source, self.shard_tokens = folder, source, shard_tokens
        self.dtype = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)
        self.shards: list[dict[str, Any]] = []
        self._files: dict[str, BinaryIO] = {}
        self._stem, self._tokens, self._targets = "", 0, 0

    def add(self, ids: np.ndarray, mask: np.ndarray, lengths: np.ndarray, rows: Sequence[dict[str, str]]) -> None:
        """Append documents: their tokens one after another, and the length and description of each."""
        if not len(lengths):
            return
        if self._files and self._tokens + len(ids) > self.shard_tokens:
            self._finish()
        if not self._files:
            self._stem = f"{self.source}-{len(self.shards):05d}"
            self._files = {
                kind: (self.folder / f"{self._stem}.{kind}.partial").open("wb") for kind in ("tokens", "mask", "rows")
            }
            self._tokens, self._targets = 0, 0
            self._digests, self._lengths = {kind: hashlib.sha256() for kind in KINDS}, [np.zeros(1, np.int64)]
        pieces = {
            "tokens": ids.astype(self.dtype).tobytes(),
            "mask": mask.astype(np.uint8).tobytes(),
            "rows": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode(),
        }
        for kind, piece in pieces.items():
            self._files[kind].write(piece)
            self._digests[kind].update(piece)
        self._tokens += len(ids)
        self._targets += int(mask.sum())
        self._lengths.append(lengths.astype(np.int64))

    def close(self) -> list[dict[str, Any]]:
        """What the manifest says of each shard."""
        if self._files:
            self._finish()
        return self.shards

    def _finish(self) -> None:
        offsets = np.cumsum(np.concatenate(self._lengths), dtype=np.int64)
        (self.folder / f"{self._stem}.offsets.partial").write_bytes(offsets.tobytes())
        self._digests["offsets"].update(offsets.tobytes())
        for file in self._files.values():
            file.close()
        for kind in KINDS:
            (self.folder / f"{self._stem}.{kind}.partial").replace(self.folder / f"{self._stem}.{kind}")
        self.shards.append(
            {
                "name": self._stem,
                "documents": len(offsets) - 1,
                "tokens": self._tokens,
                "targets": self._targets,
                "dtype": self.dtype.name,
                "sha256": hashlib.sha256("".join(self._digests[kind].hexdigest() for kind in KINDS).encode()).hexdigest(),
            }
        )
        self._files = {}


class ShardDocuments:
    """The documents of some sources of a prepared folder, one source after another."""

    def __init__(self, folder: Path, manifest: dict[str, Any], sources: Sequence[str]) -> None:
        self._folder = folder
        self._shards = [shard for source in sources for shard in manifest["sources"][source]["shards"]]
        offsets = [self._offsets(shard) for shard in self._shards]
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(each) for each in offsets)])
        self._starts = np.concatenate([np.zeros(0, np.int64), *(each[:-1] for each in offsets)])
        self._first = np.cumsum([0, *(shard["documents"] for shard in self._shards)])
        self._maps: dict[str, np.ndarray] = {}

    def _offsets(self, shard: dict[str, Any]) -> np.ndarray:
        expected = {
            "offsets": 8 * (shard["documents"] + 1),
            "tokens": shard["tokens"] * np.dtype(shard["dtype"]).itemsize,
            "mask": shard["tokens"],
        }
        for kind, size in expected.items():
            file = self._folder / f"{shard['name']}.{kind}"
            found = file.stat().st_size if file.exists() else None
            if found != size:
                what = "is missing" if found is None else f"has {found:,} bytes, the manifest says {size:,}"
                raise DataError(f"{file} {what}: prepare the folder again")
        return np.fromfile(self._folder / f"{shard['name']}.offsets", np.int64)

    def _map(self, shard: dict[str, Any], kind: str, dtype: str) -> np.ndarray:
        name = f"{shard['name']}.{kind}"
        if name not in self._maps:
            self._maps[name] = np.memmap(self._folder / name, dtype, "r")
        return self._maps[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # a copy in another process maps the files itself

    def _shard(self, document: int) -> int:
        return int(np.searchsorted(self._first, document, side="right")) - 1

    def __getitem__(self, document: int) -> tuple[np.ndarray, np.ndarray]:
        shard = self._shards[self._shard(document)]
        piece = slice(start := int(self._starts[document]), start + int(self.lengths[document]))
        return self._map(shard, "tokens", shard["dtype"])[piece], self._map(shard, "mask", "bool")[piece]

    def name(self, document: int) -> str:
        return str(self.row(document)["id"])

    def row(self, document: int) -> dict[str, Any]:
        """Id, subject and level."""
        place = self._shard(document)
        with (self._folder / f"{self._shards[place]['name']}.rows").open("rb") as lines:
            for number, line in enumerate(lines, start=int(self._first[place])):
                if number == document:
                    return dict(json.loads(line))
        raise DataError(f"{self._shards[place]['name']}.rows in {self._folder} ends too early: prepare the folder again")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Id, subject and level of every document."""
        for shard in self._shards:
            with (self._folder / f"{shard['name']}.rows").open("rb") as lines:
                yield from map(json.loads, lines)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("".join(shard["sha256"] for shard in self._shards).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``olympiad data prepare`` wrote about a folder.

    Raises:
        DataError: there is none, or another version of this package wrote it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        begun = " (it was begun: run olympiad data prepare again)" if (folder / "work").is_dir() else ""
        raise DataError(f"{folder} holds no prepared data, there is no {MANIFEST}{begun}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"can't read {folder / MANIFEST} ({error}): prepare the folder again") from error
    if manifest.get("format") != FORMAT:
        raise DataError(f"{folder} has format {manifest.get('format')!r}, expected {FORMAT}: prepare it again")
    return dict(manifest)

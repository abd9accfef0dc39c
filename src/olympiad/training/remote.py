"""Checkpoints on storage that outlives the machine, under any URL that fsspec knows: the run's folder once more.

URL/step_8/shard-....safetensors ... URL/step_8/state.json     the marker last, as in the run's folder
URL/best_model.pt, URL/best_model.pt.json                      a marker for files too: how old it is
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from .errors import CheckpointError
from .layout import Layout
from .sharded import MARKER, parse_marker
from .state import damage_of, open_checkpoint


class Remote:
    """The checkpoints of a run's folder on remote storage; all methods are called by all ranks together.

    Args:
        superseded: of names that are there and the newest one, those to let go.

    Raises:
        CheckpointError: there is no such storage, or the package that reaches it is missing.
    """

    def __init__(self, url: str, folder: Path, layout: Layout, superseded: Callable[[list[str], str], list[str]]) -> None:
        self.url, self.folder, self.layout, self._superseded = url, folder, layout, superseded
        self._waiting: list[Path] = []
        try:
            self.storage, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise CheckpointError(f"checkpoints.remote = {url!r} can't be used: {error}") from error
        self.root = root.rstrip("/")

    def upload(self, path: Path) -> str:
        """Copy a whole checkpoint, and those that could not be copied before; what failed, or nothing."""
        waiting = [each for each in self._waiting if each != path and each.exists()]
        failed, self._waiting = "", []
        for each in self.layout.agree([*waiting, path]):
            if failure := self._together(self._put, each) or self._together(self._seal, each):
                self._waiting.append(each)
                failed = f"can't copy {each.name} to {self.url} ({failure}); it is tried again with the next checkpoint"
        return failed

    def names(self) -> list[str]:
        """The whole checkpoints, the newest first.

        Raises:
            CheckpointError: the storage can't be reached.
        """
        found: list[tuple[list[float], str]] = []
        if failure := self._together(self._look, found):
            raise CheckpointError(f"can't look for checkpoints in {self.url} ({failure})")
        return self.layout.agree([name for _, name in sorted(found, reverse=True)])

    def fetch_newest(self, on_damaged: Callable[[CheckpointError], None]) -> Path | None:
        """Copy the newest checkpoint that is whole into the folder; ``on_damaged`` hears of those that are not.

        Raises:
            CheckpointError: the storage can't be reached.
        """
        for name in self.names():
            steps = (self._make_room, self._get, self._get_marker)
            failure = next(filter(None, (self._together(step, name) for step in steps)), "")
            damage = damage_of(self.folder / name, self.layout)
            if damage is None:
                return self.folder / name
            on_damaged(CheckpointError(f"can't fetch {name} from {self.url} ({failure})") if failure else damage)
        return None

    def _together(self, work: Callable[[Any], object], argument: object) -> str:
        """What went wrong on any rank; it waits for all."""
        failure = ""
        try:
            work(argument)
        except Exception as error:  # each storage has its own: botocore's, aiohttp's, ...
            failure = f"{type(error).__name__}: {str(error).partition(os.linesep)[0]:.200}"
        return next(filter(None, self.layout.gather(failure)), "")

    def _put(self, path: Path) -> None:
        """This rank's share, under names that count for nothing yet."""
        target = f"{self.root}/{path.name}"
        self.storage.makedirs(target if path.is_dir() else self.root, exist_ok=True)
        if path.is_dir():
            if self.layout.is_first:
                self._remove(f"{target}/{MARKER}")  # an earlier one of this name: no longer whole
            for file in sorted(path.glob("*.safetensors"))[self.layout.rank :: self.layout.world_size]:
                self.storage.put_file(str(file), f"{target}/{file.name}")
        elif self.layout.is_first:
            self.storage.put_file(str(path), f"{target}.partial")

    def _seal(self, path: Path) -> None:
        """The marker, and then the end of what it supersedes."""
        target = f"{self.root}/{path.name}"
        if not self.layout.is_first:
            return
        if path.is_dir():
            for name in set(self._names(target)) - {file.name for file in path.iterdir()}:
                self._remove(f"{target}/{name}")  # of an earlier one, by more processes
            self.storage.put_file(str(path / MARKER), f"{target}/{MARKER}")
        else:
            facts = open_checkpoint(path).facts
            self.storage.mv(f"{target}.partial", target)
            self.storage.pipe_file(f"{target}.json", json.dumps({name: facts[name] for name in _AGE}).encode())
        for name in self._superseded(self._names(self.root), path.name):
            self._remove(f"{self.root}/{name}.json" if name.endswith(".pt") else f"{self.root}/{name}/{MARKER}")
            self._remove(f"{self.root}/{name}")

    def _remove(self, path: str) -> None:
        if self.storage.exists(path):
            self.storage.rm(path, recursive=True)

    def _names(self, folder: str) -> list[str]:
        self.storage.invalidate_cache()
        paths = self.storage.ls(folder, detail=False) if self.storage.exists(folder) else []
        return [each.rstrip("/").rpartition("/")[2] for each in paths]

    def _look(self, found: list[tuple[list[float], str]]) -> None:
        present = self._names(self.root) if self.layout.is_first else []
        for name in present:
            try:
                if name.endswith(".pt") and f"{name}.json" in present:
                    facts = json.loads(self.storage.cat_file(f"{self.root}/{name}.json"))
                elif self.storage.exists(f"{self.root}/{name}/{MARKER}"):
                    facts = self._marker(name)["facts"]
                else:
                    continue
                found.append(([float(facts[each]) for each in _AGE], name))
            except (CheckpointError, ValueError, TypeError, KeyError):
                continue  # no marker of ours

    def _marker(self, name: str) -> dict[str, Any]:
        text = self.storage.cat_file(f"{self.root}/{name}/{MARKER}")
        return parse_marker(text, Path(f"{self.url}/{name}/{MARKER}"))

    def _make_room(self, name: str) -> None:
        if self.layout.is_first and not name.endswith(".pt"):
            shutil.rmtree(self.folder / name, ignore_errors=True)  # a damaged one: else nothing would be fetched
            (self.folder / name).mkdir(parents=True)

    def _get(self, name: str) -> None:
        if not name.endswith(".pt"):
            files = sorted(self._marker(name)["files"])  # plain names: parse_marker lets no others pass
            for file in files[self.layout.rank :: self.layout.world_size]:
                self.storage.get_file(f"{self.root}/{name}/{file}", str(self.folder / name / file))

    def _get_marker(self, name: str) -> None:
        if self.layout.is_first:
            path = self.folder / name if name.endswith(".pt") else self.folder / name / MARKER
            aside = path.with_name(f".{path.name}.partial")
            self.storage.get_file(f"{self.root}/{path.relative_to(self.folder)}", str(aside))
            os.replace(aside, path)


_AGE = ("run_started", "step", "epoch")

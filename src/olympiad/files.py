"""Writing where the user says: into a file whole or not at all, through links, and straight into pipes and devices."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from .errors import UserError

MOST_LINKS = 40  # as many as Linux follows
_DESCRIPTORS = re.compile(r"/proc/[^/]+(/task/[^/]+)?/fd|/dev/fd")


class OutputError(UserError):
    """What was to be written can't be."""


def file_behind(path: Path) -> Path | None:
    """The regular file, there or yet to be, that ``path`` leads to by its links; None for a pipe or a device.

    /dev/stdout is a pipe here whatever the shell made of it: behind ``>> all.jsonl`` is a file that others write too.

    Raises:
        OutputError: it is a folder, or can't be reached.
    """
    try:
        link = path
        for _ in range(MOST_LINKS):
            if _DESCRIPTORS.fullmatch(os.path.realpath(link.parent)):
                return None
            if not link.is_symlink():
                break
            link = link.parent / os.readlink(link)
        kind = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}") from error
    if stat.S_ISDIR(kind):
        raise OutputError(f"can't write {path}: it is a folder, give the name of a file")
    return Path(os.path.realpath(path)) if stat.S_ISREG(kind) else None


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """A text to fill: a file has it when the block ends without an error, and is as it was otherwise.

    Raises:
        OutputError: it can't be written.
        BrokenPipeError: whoever read the pipe has gone.
    """
    target = file_behind(path)
    try:
        if target is None:
            with path.open("a", encoding="utf-8") as file:
                yield file
            return
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"can't write {path}: it is read-only")
        aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            with aside.open("w", encoding="utf-8") as file:
                yield file
            if target.exists():
                shutil.copymode(target, aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}") from error


def beside(path: Path) -> TextIO:
    """Where to tell what was written to ``path``: a pipe may be the standard output, which then holds nothing else."""
    return sys.stderr if file_behind(path) is None else sys.stdout

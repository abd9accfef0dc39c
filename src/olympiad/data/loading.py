"""Problem sets as lists, from a local folder or from the Hugging Face Hub."""

from __future__ import annotations

import difflib
import glob
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from .rows import DataError, RowError, read_rows
from .schema import MathProblem
from .sources import SOURCES, Source, Split

OnError = Literal["raise", "skip"]


class MathDatasetLoader:
    """Load problem sets as lists of :class:`MathProblem`.

    Args:
        data_dir: a local folder (see ``docs/data.md`` for its layout); the environment variable ``OLYMPIAD_DATA`` where
            absent; the Hugging Face Hub where that is absent too.
        on_error: what to do with a row that can't be read: ``"raise"`` stops at the first, ``"skip"`` goes on, warns,
            and keeps them all in ``errors``.
    """

    def __init__(self, data_dir: str | os.PathLike[str] | None = None, on_error: OnError = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}, expected 'raise' or 'skip'")
        self.data_dir = data_folder(data_dir)
        self.on_error = on_error
        self.errors: list[RowError] = []

    def load_math_dataset(
        self,
        split: str = "train",
        subjects: Sequence[str] | None = None,
        levels: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[MathProblem]:
        """MATH (Hendrycks et al. 2021, arXiv:2103.03874): ``split`` is ``"train"`` (7,500) or ``"test"`` (5,000)."""
        problems: Iterator[MathProblem] = iter(self._problems(SOURCES["math"], split))
        if subjects is not None:
            wanted = {_plain_subject(subject) for subject in subjects}
            problems = (problem for problem in problems if _plain_subject(problem.subject) in wanted)
        if levels is not None:
            names = {f"Level {level}" for level in levels}
            problems = (problem for problem in problems if problem.level in names)
        return self._take(problems, limit, f"math ({split})")

    def load_gsm8k(self, split: str = "train", limit: int | None = None) -> list[MathProblem]:
        """GSM8K (Cobbe et al. 2021, arXiv:2110.14168): ``split`` is ``"train"`` (7,473) or ``"test"`` (1,319)."""
        return self._take(self._problems(SOURCES["gsm8k"], split), limit, f"gsm8k ({split})")

    def load_aops(self, split: str = "train", limit: int | None = None) -> list[MathProblem]:
        """Contest problems with solutions, AoPS style: AIME from a local folder, NuminaMath-CoT from the Hub."""
        return self._take(self._problems(SOURCES["aops"], split), limit, f"aops ({split})")

    def load(self, source: str | Source, split: str = "train", limit: int | None = None) -> list[MathProblem]:
        """Any set of problems: a name of :data:`olympiad.data.sources.SOURCES`, or a :func:`custom_source`."""
        source = find_source(source) if isinstance(source, str) else source
        return self._take(self._problems(source, split), limit, f"{source.name} ({split})")

    def _take(self, problems: Iterator[MathProblem], limit: int | None, name: str) -> list[MathProblem]:
        before = len(self.errors)
        taken = list(islice(problems, limit))
        skipped = self.errors[before:]
        if skipped:
            warnings.warn(f"{name}: skipped {len(skipped)} rows that can't be read, the first is {skipped[0]}", stacklevel=3)
        if not taken and limit != 0:
            raise DataError(f"{name} holds no problem that fits: check the files, subjects and levels")
        return taken

    def _problems(self, source: Source, split: str) -> Iterator[MathProblem]:
        for file in _each_file(source, split, self.data_dir):
            for line, row in read_rows(file):
                if not isinstance(row, RowError):
                    if not source.accept(row):
                        continue
                    try:
                        problem = source.to_item(row, row_id(source, split, file, line))
                        if not isinstance(problem, MathProblem):
                            raise DataError(f"{source.name} holds texts, no problems")
                        if not problem.problem.strip():
                            raise DataError("the problem is empty")
                        yield problem
                        continue
                    except DataError as error:
                        row = RowError(file, line, str(error))
                if self.on_error == "raise":
                    raise DataError(f"{row} (on_error='skip' goes on without such rows)")
                self.errors.append(row)


def find_source(name: str) -> Source:
    """The registry's source of this name.

    Raises:
        DataError: there is none; the message lists all.
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SOURCES)}"
        raise DataError(f"there is no data set {name!r}; {advice}")
    return SOURCES[name]


def row_id(source: Source, split: str, file: Path, line: int) -> str:
    """The id of a row that has none of its own; with the folder, since files of two folders may share their name."""
    place = os.fsencode(f"{file.parent.name}/{file.stem}").decode("utf-8", "replace")  # a file name may be no text
    return f"{source.name}/{split}/{place}/{line}"


def data_folder(data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder with the problem sets: this one, or OLYMPIAD_DATA's, or none."""
    folder = data_dir if data_dir is not None else os.environ.get("OLYMPIAD_DATA") or None
    return None if folder is None else Path(folder)


def source_files(source: Source, split: str, data_dir: Path | None = None) -> list[Path]:
    """The files of a split: in ``data_dir`` or OLYMPIAD_DATA, else fetched from the Hub, all of them.

    Raises:
        DataError: no such split, folder or file.
    """
    return list(_each_file(source, split, data_folder(data_dir)))


def _each_file(source: Source, split: str, data_dir: Path | None) -> Iterator[Path]:
    """The same, each fetched only as it is asked for."""
    if split not in source.splits:
        raise DataError(f"{source.name} has no split {split!r}, only {', '.join(map(repr, source.splits))}")
    wanted = source.splits[split]
    if files := local_files(wanted, data_dir):
        yield from files
    elif wanted.hub_files and (data_dir is None or not wanted.local):
        yield from (fetch_from_hub(source.hub_repository, file) for file in wanted.hub_files)
    elif wanted.every:
        raise DataError(f"{source.name}: each of these has to match a file: {', '.join(wanted.local)}")
    elif data_dir is not None and data_dir.is_dir():
        hub = f"; unset OLYMPIAD_DATA to load {source.hub_repository} from the Hugging Face Hub" if wanted.hub_files else ""
        raise DataError(f"{data_dir} holds no {source.name} ({split}): expected {' or '.join(wanted.local)}{hub}")
    else:
        missing = f"{source.name} is not on the Hugging Face Hub" if data_dir is None else f"there is no folder {data_dir}"
        raise DataError(
            f"{missing}: set OLYMPIAD_DATA (or data_dir) to the folder with the problem sets"
            + (", or unset it to load from the Hugging Face Hub" if wanted.hub_files else "")
        )


def local_files(split: Split, data_dir: Path | None) -> list[Path]:
    """The split's files that lie here: those of the first place that has any, or of every place."""
    base, places = data_dir or Path(), []
    for pattern in split.local:
        if data_dir is not None or os.path.isabs(pattern):
            places.append(sorted(base / name for name in glob.glob(pattern, root_dir=base, recursive=True)))
            if places[-1] and not split.every:
                return places[-1]
    return list(dict.fromkeys(chain(*places))) if split.every and all(places) else []


def _plain_subject(subject: str) -> str:
    """One spelling for "Counting & Probability" and "counting_and_probability"."""
    return subject.casefold().replace("_", " ").replace("&", "and")


def fetch_from_hub(repository: str, file: str) -> Path:
    """The local copy of a file of a data set on the Hugging Face Hub, downloaded once and kept in its cache.

    Raises:
        DataError: the Hub can't be reached, or has no such file.
    """
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise DataError(
            "loading from the Hugging Face Hub needs huggingface_hub: pip install huggingface_hub pyarrow"
        ) from error
    try:
        try:
            return Path(hf_hub_download(repository, file, repo_type="dataset", local_files_only=True))
        except LocalEntryNotFoundError:
            # Where nothing answers (a firewall), hf_hub_download tries for six minutes: this asks once, for ten seconds.
            with suppress(HfHubHTTPError):
                get_hf_file_metadata(hf_hub_url(repository, file, repo_type="dataset"))
            return Path(hf_hub_download(repository, file, repo_type="dataset"))
    except (OSError, ValueError, HTTPError) as error:  # all of the library's look-up, data and network errors
        cause = error.__cause__ or error  # the library says "check your connection", its cause that the status was 404
        reason = next(iter(str(cause).splitlines()), "no more is said")
        raise DataError(
            f"can't fetch {file} of {repository} from the Hugging Face Hub ({type(cause).__name__}: {reason}): "
            "check the connection, or set OLYMPIAD_DATA to a folder that holds the data"
        ) from error

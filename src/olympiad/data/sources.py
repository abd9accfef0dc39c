"""The data sets: one small entry each, read from a local folder or from the Hugging Face Hub.

source entry ─ files ─ rows ─ row mapping ─ MathProblem
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from .preprocessing import last_boxed, solution_answer
from .rows import DataError, Row, RowError, read_rows, text_field
from .schema import MathProblem

OnError = Literal["raise", "skip"]

_MATH_SUBJECTS = "algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra precalculus"


@dataclass(frozen=True)
class Source:
    """Where a data set is, and how one of its rows becomes a problem.

    ``local``: per split, the places in a data folder where its files may lie, as glob patterns, the first that matches
    wins. ``hub_files``: per split, the files in the Hub's repository. ``accept``: which of its rows belong to the set.
    """

    name: str
    to_problem: Callable[[Row, str], MathProblem]
    local: Mapping[str, Sequence[str]]
    hub_repository: str
    hub_files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    accept: Callable[[Row], bool] = lambda row: True


def _math_problem(row: Row, row_id: str) -> MathProblem:
    solution = text_field(row, "solution")
    return MathProblem(
        id=text_field(row, "id", row_id),
        problem=text_field(row, "problem"),
        solution=solution,
        answer=text_field(row, "answer", last_boxed(solution) or ""),
        subject=text_field(row, "type", ""),
        level=text_field(row, "level", ""),
        source="math",
    )


def _gsm8k_problem(row: Row, row_id: str) -> MathProblem:
    worked = text_field(row, "answer")
    solution = re.sub(r"<<[^<>]*>>", "", worked)  # the calculator's annotations
    return MathProblem(
        id=row_id,
        problem=text_field(row, "question"),
        solution=solution.rpartition("####")[0].strip() or solution,
        answer=(solution_answer(worked) or "").replace(",", ""),
        subject="Arithmetic",
        source="gsm8k",
    )


def _aops_problem(row: Row, row_id: str) -> MathProblem:
    solution = text_field(row, "solution")
    return MathProblem(
        id=text_field(row, "id", row_id),
        problem=text_field(row, "problem"),
        solution=solution,
        answer=text_field(row, "answer", last_boxed(solution) or ""),
        subject=text_field(row, "subject", ""),
        level=text_field(row, "difficulty", ""),
        source="aops",
        metadata={name: row[name] for name in ("year", "aime_number", "problem_number", "source") if name in row},
    )


SOURCES = {
    source.name: source
    for source in (
        Source(
            "math",
            _math_problem,
            local={
                # JSONL, or the authors' own layout: one JSON file a problem, in a folder a subject
                split: (f"math/{split}.jsonl", f"MATH/{split}/*/*.json", f"{split}/*/*.json")
                for split in ("train", "test")
            },
            hub_repository="EleutherAI/hendrycks_math",
            hub_files={
                split: [f"{subject}/{split}-00000-of-00001.parquet" for subject in _MATH_SUBJECTS.split()]
                for split in ("train", "test")
            },
        ),
        Source(
            "gsm8k",
            _gsm8k_problem,
            local={split: (f"gsm8k/{split}.jsonl",) for split in ("train", "test")},
            hub_repository="openai/gsm8k",
            hub_files={split: [f"main/{split}-00000-of-00001.parquet"] for split in ("train", "test")},
        ),
        Source(
            "aops",
            _aops_problem,
            local={"train": ("aime/*_solutions.jsonl", "aops/train.jsonl")},
            hub_repository="AI-MO/NuminaMath-CoT",
            hub_files={"train": [f"data/train-0000{i}-of-00005.parquet" for i in range(5)]},
            # Of that collection only what people posted: no rewritten, synthetic, MATH or GSM8K problems.
            accept=lambda row: row.get("source", "aops_forum") in ("aops_forum", "amc_aime", "olympiads"),
        ),
    )
}


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
        folder = data_dir if data_dir is not None else os.environ.get("OLYMPIAD_DATA") or None
        self.data_dir = None if folder is None else Path(folder)
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
        if split not in source.local:
            raise DataError(f"{source.name} has no split {split!r}, only {', '.join(map(repr, source.local))}")
        for file in self._files(source, split):
            stem = f"{source.name}/{split}/{file.parent.name}/{file.stem}"  # files of two folders may share their name
            for line, row in read_rows(file):
                if not isinstance(row, RowError):
                    if not source.accept(row):
                        continue
                    try:
                        problem = source.to_problem(row, f"{stem}/{line}")
                        if not problem.problem.strip():
                            raise DataError("the problem is empty")
                        yield problem
                        continue
                    except DataError as error:
                        row = RowError(file, line, str(error))
                if self.on_error == "raise":
                    raise DataError(f"{row} (on_error='skip' goes on without such rows)")
                self.errors.append(row)

    def _files(self, source: Source, split: str) -> Iterator[Path]:
        if self.data_dir is None:
            yield from (fetch_from_hub(source.hub_repository, file) for file in source.hub_files.get(split, ()))
            return
        if not self.data_dir.is_dir():
            raise DataError(
                f"there is no folder {self.data_dir}: set OLYMPIAD_DATA (or data_dir) to the folder with the "
                "problem sets, or unset it to load from the Hugging Face Hub"
            )
        for pattern in source.local[split]:
            files = sorted(self.data_dir.glob(pattern))
            if files:
                yield from files
                return
        raise DataError(f"{self.data_dir} holds no {source.name} ({split}): expected {' or '.join(source.local[split])}")


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

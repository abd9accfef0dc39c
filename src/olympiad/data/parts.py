"""One part of one source, cleaned, compared with the evaluation sets, and tokenised: what one worker does at a time.

    part of a file ─ rows ─ problems ─ cleaned ─ not contaminated ─ tokens, keys and signatures, in an Arrow file

Every engine runs these same functions; what comes out depends on the part alone.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from olympiad.tokenizer import MathTokenizer, Segment, render

from .cleaning import CleaningOptions, clean, clean_texts
from .datasets import problem_segments
from .decontamination import EvaluationIndex
from .duplicates import NUM_HASHES, numbers_key, signatures
from .loading import row_id
from .rows import DataError, Part, RowError, read_rows
from .schema import MathProblem, TextDocument
from .sources import Source

BATCH_ROWS = 500
BATCH_CHARACTERS = 4_000_000  # the memory of a worker does not depend on how long rows are
EXAMPLES = 5
EXAMPLE_CHARACTERS = 600
HIT_CHARACTERS = 2_000


_ANSWER = " = "  # near duplicates agree in the numbers and names of their answers, too: else another thing is asked


@dataclass(frozen=True)
class Task:
    """A part, the source that it is of, and how the file looked when the parts were made."""

    number: int
    name: str
    source: Source
    split: str
    part: Part
    size: int
    modified: int
    cleaning: CleaningOptions


@dataclass(frozen=True)
class _Row:
    """A row that stays; ``text`` is what makes two rows duplicates."""

    number: int
    text: str
    segments: list[Segment]
    id: str
    subject: str = ""
    level: str = ""
    answer: str = ""

    @property
    def description(self) -> str:
        return json.dumps({"id": self.id, "subject": self.subject, "level": self.level}, ensure_ascii=False)


@dataclass
class Cleaner:
    """Does tasks; one for each worker process.

    Args:
        work: folder for what comes out: ``NUMBER.arrow``, and then ``NUMBER.json``, the summary, which says it is whole.
    """

    work: Path
    tokenizer_json: str
    index: EvaluationIndex
    decontaminate: bool
    deduplicate: str
    _summary: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> MathTokenizer:
        return MathTokenizer.from_json(self.tokenizer_json)

    def __call__(self, task: Task) -> dict[str, Any]:
        """The summary: ``rows``, ``kept``, ``rejected`` by reason with ``examples``, ``hits`` on evaluation problems.

        Raises:
            DataError: the file changed, ended too early, or the result can't be written.
        """
        import pyarrow as arrow

        self._summary = {"rows": 0, "kept": 0, "rejected": Counter(), "examples": {}, "hits": []}
        target = self.work / f"{task.number:05d}.arrow"
        aside = target.with_suffix(f".{os.getpid()}.partial")
        try:
            with arrow.OSFile(str(aside), "wb") as sink, arrow.ipc.new_file(sink, _schema()) as writer:
                for batch in self._batches(task):
                    writer.write_batch(batch)
            replace_synced(aside, target)
            check_unchanged(task)
            self._summary["name"] = task.name
            write_aside(target.with_suffix(".json"), json.dumps(self._summary, ensure_ascii=False))
        except OSError as error:
            raise write_error(target, error) from error
        finally:
            aside.unlink(missing_ok=True)
        return self._summary

    def _batches(self, task: Task) -> Iterator[Any]:
        kept: list[_Row] = []
        for number, item in self._items(task):
            kept += self._cleaned(number, item, task)
            if (
                len(kept) >= BATCH_ROWS
                or sum(len(row.text) for row in kept[-1:]) > BATCH_CHARACTERS // 10
                or (len(kept) % 50 == 49 and sum(len(row.text) for row in kept) > BATCH_CHARACTERS)
            ):
                yield self._encoded(kept)
                kept = []
        if kept:
            yield self._encoded(kept)

    def _items(self, task: Task) -> Iterator[tuple[int, Any]]:
        """Each row's number with the problem or text that it holds."""
        for number, row in read_rows(task.part):
            if isinstance(row, RowError):
                self._summary["rows"] += 1
                self._reject("unreadable", row_id(task.source, task.split, task.part.file, number), "", row.reason)
            elif task.source.accept(row):
                self._summary["rows"] += 1
                id = row_id(task.source, task.split, task.part.file, number)
                try:
                    yield number, task.source.to_item(row, id)
                except DataError as error:
                    self._reject("unreadable", id, "", str(error))

    def _cleaned(self, number: int, item: MathProblem | TextDocument, task: Task) -> Iterator[_Row]:
        """The row that a problem or text becomes; nothing if it is rejected."""
        if isinstance(item, TextDocument):
            documents, rejected = clean_texts([item], task.cleaning)
            for document, reason, detail in rejected:
                self._reject(reason, document.id, document.text, detail)
            for document in documents:
                if self._allowed(document.id, number, document.text, task):
                    yield _Row(number, document.text, [Segment("text", document.text)], document.id)
            return
        result = clean([item], task.cleaning)
        for rejection in result.rejections:
            self._reject(rejection.reason, item.id, item.problem, rejection.detail)
        for problem in result.problems:
            if self._allowed(problem.id, number, problem.problem, task):
                text = f"{problem.problem}\n{problem.solution}" if self.deduplicate == "solution" else problem.problem
                yield _Row(number, text, problem_segments(problem), problem.id, problem.subject, problem.level, problem.answer)

    def _allowed(self, id: str, number: int, statement: str, task: Task) -> bool:
        """Whether the text is no evaluation problem; those that are, are noted."""
        matches = self.index.matches(statement)
        for match in matches:
            hit = {"id": id, "file": task.part.file.name, "row": number, "evaluate": match.number}
            self._summary["hits"].append(hit | {"rule": match.rule, "score": match.score, "text": statement[:HIT_CHARACTERS]})
        if matches and self.decontaminate:
            self._reject("contaminated", id, statement, f"{matches[0].rule}, score {matches[0].score}")
        return not (matches and self.decontaminate)

    def _reject(self, reason: str, id: str, text: str, detail: str) -> None:
        self._summary["rejected"][reason] += 1
        examples = self._summary["examples"].setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append({"id": id, "text": text[:EXAMPLE_CHARACTERS], "detail": detail[:EXAMPLE_CHARACTERS]})

    def _encoded(self, kept: list[_Row]) -> Any:
        import pyarrow as arrow

        self._summary["kept"] += len(kept)
        rendered = [render(self.tokenizer, row.segments) for row in kept]
        texts = [row.text for row in kept]
        offsets = np.cumsum([0, *map(len, rendered)], dtype=np.int32)
        ids = np.fromiter(chain.from_iterable(document.ids for document in rendered), np.uint32, offsets[-1])
        mask = np.fromiter(chain.from_iterable(document.loss_mask for document in rendered), np.uint8, offsets[-1])
        columns = [
            arrow.array([row.number for row in kept], arrow.int64()),
            arrow.array([row.description for row in kept]),
            arrow.array([int(MathProblem("", text).key[:16], 16) for text in texts], arrow.uint64()),
            arrow.array([int(numbers_key(row.text + _ANSWER + row.answer)) for row in kept], arrow.uint64()),
            arrow.FixedSizeListArray.from_arrays(arrow.array(signatures(texts).ravel()), NUM_HASHES),
            arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(ids)),
            arrow.ListArray.from_arrays(arrow.array(offsets), arrow.array(mask)),
        ]
        return arrow.record_batch(columns, schema=_schema())


def _schema() -> Any:
    import pyarrow as arrow

    return arrow.schema(
        {
            "number": arrow.int64(),
            "row": arrow.string(),
            "key": arrow.uint64(),
            "numbers": arrow.uint64(),
            "signature": arrow.list_(arrow.uint32(), NUM_HASHES),
            "ids": arrow.list_(arrow.uint32()),
            "mask": arrow.list_(arrow.uint8()),
        }
    )


def check_unchanged(task: Task) -> None:
    """Raise DataError where the file is not the one that the parts were made of."""
    file = task.part.file
    try:
        now = file.stat()
    except OSError as error:
        raise DataError(f"{file} disappeared while it was read: bring it back and run the same command again") from error
    if (now.st_size, now.st_mtime_ns) != (task.size, task.modified):
        raise DataError(f"{file} changed while it was read: run again, with --restart, when it stays as it is")


def write_aside(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    aside.write_text(text, encoding="utf-8")
    replace_synced(aside, path)


def replace_synced(aside: Path, path: Path) -> None:
    """Give a file its name when its bytes are on the disk."""
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def write_error(path: Path, error: OSError) -> DataError:
    """What to tell about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(f"no room left to write {path}: free some and run the same command again, finished parts are kept")
    return DataError(f"can't write {path}: {error.strerror or error}")

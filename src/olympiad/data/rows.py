"""Rows out of files, with an error that names file, line and reason for each one that can't be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olympiad.errors import UserError

Row = dict[str, Any]


class DataError(UserError, ValueError):
    """Data that can't be used; the message says where it is, what is wrong, and what to do."""


@dataclass(frozen=True)
class RowError:
    """One row that can't be read."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


def read_rows(file: Path) -> Iterator[tuple[int, Row | RowError]]:
    """Each row of a JSONL or Parquet file with its line (row) number, counted from 1; a ``.json`` file is one row.

    Raises:
        DataError: the file itself can't be read.
    """
    reader = {".parquet": _parquet_rows, ".json": _json_row}.get(file.suffix, _jsonl_rows)
    try:
        yield from reader(file)
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror or error}") from error


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Row | RowError]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _parsed(line, file, number)


def _json_row(file: Path) -> Iterator[tuple[int, Row | RowError]]:
    yield 1, _parsed(file.read_bytes(), file, 1)


def _parsed(text: bytes, file: Path, number: int) -> Row | RowError:
    try:
        row = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return RowError(file, number, f"not UTF-8 (byte {error.start}: {error.reason})")
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        return RowError(file, number, f"not JSON ({error})")
    if isinstance(row, dict):
        return row
    return RowError(file, number, f"holds a {type(row).__name__}, expected an object with named fields")


def _parquet_rows(file: Path) -> Iterator[tuple[int, Row | RowError]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise DataError(f"reading {file} needs pyarrow: pip install huggingface_hub pyarrow") from error
    number = 0
    try:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=1_000):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (arrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a whole Parquet file ({error}): delete {file.resolve()} to fetch it again") from error


def text_field(row: Row, name: str, default: str | None = None) -> str:
    """The row's field as text.

    Raises:
        DataError: it is missing or null (and there is no default) or holds something else.
    """
    value = row.get(name)
    if value is None:
        value = default
    if value is None:
        missing = f"field {name!r} is null" if name in row else f"no field {name!r}"
        raise DataError(f"{missing}; the row has {', '.join(map(repr, row)) or 'none'}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"field {name!r} holds a {type(value).__name__}, expected text: {value!r:.80}")
    text = str(value)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise DataError(f"field {name!r} is not Unicode: it holds half of a surrogate pair")
    return text

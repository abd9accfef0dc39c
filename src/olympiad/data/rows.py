"""Rows out of files, whole or in parts, with an error that names file, line and reason for each one that can't be read."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, cast

from olympiad.errors import UserError

Row = dict[str, Any]

MAX_LINE_BYTES = 16_000_000
MAX_WHOLE_BYTES = 1_000_000_000  # of a file whose format has to be read in one piece
_BOM = b"\xef\xbb\xbf"


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


@dataclass(frozen=True)
class Part:
    """What one worker reads: bytes ``start`` to ``stop`` of a JSONL file, or these row groups of a Parquet file.

    Other formats are one part. ``stop`` -1 is the end; ``first_row`` is the number of the first line or row, from 1.
    """

    file: Path
    start: int = 0
    stop: int = -1
    first_row: int = 1


@dataclass(frozen=True)
class Scan:
    """A file's fingerprint and its parts, which together hold each of its rows once."""

    file: Path
    sha256: str
    num_bytes: int
    parts: tuple[Part, ...]


def scan(file: Path, part_bytes: int = 8_000_000) -> Scan:
    """Fingerprint a file and cut it into parts of about ``part_bytes``, in one pass.

    Raises:
        DataError: the file can't be read.
    """
    is_lines = file.suffix != ".gz" and _reader(file) is _jsonl_rows
    digest, position, start, row, first_row = hashlib.sha256(), 0, 0, 1, 1
    parts: list[Part] = []
    with _explained(file):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                seen = 0
                while is_lines and (end := chunk.find(b"\n", max(seen, start + part_bytes - 1 - position))) >= 0:
                    row += chunk.count(b"\n", seen, end + 1)
                    seen = end + 1
                    parts.append(Part(file, start, position + seen, first_row))
                    start, first_row = position + seen, row
                row += chunk.count(b"\n", seen)
                position += len(chunk)
        if _reader(file) is _parquet_rows:
            parts = _row_group_parts(file, part_bytes)
        elif not is_lines:
            parts = [Part(file)]
        elif start < position:
            parts.append(Part(file, start, position, first_row))
    return Scan(file, digest.hexdigest(), position, tuple(parts))


def read_rows(source: Path | Part) -> Iterator[tuple[int, Row | RowError]]:
    """Each row of a file, or of a part of one, with its line (row) number, counted from 1.

    ``.json`` holds an object or a list of them, ``.csv`` names its fields in the first row, ``.txt``, ``.md`` and
    ``.tex`` are one row with the field ``text``, ``.parquet`` is Parquet; all others are JSONL. ``.gz`` may follow.

    Raises:
        DataError: the file itself can't be read.
    """
    part = source if isinstance(source, Part) else Part(source)
    with _explained(part.file):
        yield from _reader(part.file)(part)


def _reader(file: Path) -> Any:
    suffix = Path(file.name.removesuffix(".gz")).suffix
    text = dict.fromkeys((".txt", ".md", ".tex"), _text_rows)
    return {".parquet": _parquet_rows, ".json": _json_rows, ".csv": _csv_rows, **text}.get(suffix, _jsonl_rows)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Errors of the file system and of gzip as errors for users."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"{file} ends too early ({error}): fetch or pack it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is damaged, or no gzip file ({error}): fetch or pack it again") from error
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror or error}") from error


def _open(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def _whole(file: Path) -> bytes:
    with _open(file) as stream:
        content = stream.read(MAX_WHOLE_BYTES + 1)
    if len(content) > MAX_WHOLE_BYTES:
        raise DataError(f"{file} is too large for its format (over {MAX_WHOLE_BYTES:,} bytes): split it, or make it JSONL")
    return content


def _lines(stream: IO[bytes], part: Part) -> Iterator[tuple[int, bytes | RowError]]:
    """The lines of the part; of one that is too long no more than the limit is ever held."""
    position, number = part.start, part.first_row
    while (part.stop < 0 or position < part.stop) and (line := stream.readline(MAX_LINE_BYTES + 1)):
        position += len(line)
        if len(line) > MAX_LINE_BYTES:
            while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
                position += len(line)
            yield number, RowError(part.file, number, f"longer than {MAX_LINE_BYTES:,} bytes")
        else:
            yield number, line
        number += 1


def _jsonl_rows(part: Part) -> Iterator[tuple[int, Row | RowError]]:
    with _open(part.file) as stream:
        stream.seek(part.start)
        for number, line in _lines(stream, part):
            if isinstance(line, RowError):
                yield number, line
            elif line.strip(_BOM + b" \t\r\n"):
                yield number, _as_row(_parsed(line, part.file, number), part.file, number)


def _json_rows(part: Part) -> Iterator[tuple[int, Row | RowError]]:
    document = _parsed(_whole(part.file), part.file, 1)
    if isinstance(document, RowError) and "Extra data" in document.reason:
        yield from _jsonl_rows(part)  # much that is called .json is JSONL
    else:
        items = document if isinstance(document, list) else [document]
        yield from ((number, _as_row(item, part.file, number)) for number, item in enumerate(items, start=1))


def _parsed(text: bytes, file: Path, number: int) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return RowError(file, number, f"not UTF-8 (byte {error.start}: {error.reason})")
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        return RowError(file, number, f"not JSON ({error})")


def _as_row(value: Any, file: Path, number: int) -> Row | RowError:
    if isinstance(value, dict | RowError):
        return value
    return RowError(file, number, f"holds a {type(value).__name__}, expected an object with named fields")


def _text_rows(part: Part) -> Iterator[tuple[int, Row | RowError]]:
    content = _whole(part.file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield 1, RowError(part.file, line, f"not UTF-8 (byte {error.start} of the file: {error.reason})")
        return
    yield 1, RowError(part.file, 1, "holds NUL bytes, which no text does") if "\0" in text else {"text": text}


def _csv_rows(part: Part) -> Iterator[tuple[int, Row | RowError]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    too_long: list[RowError] = []
    names: list[str] = []
    with _open(part.file) as stream:
        table = csv.reader(_csv_lines(stream, part, too_long), strict=True)
        try:
            for cells in table:
                yield from ((error.line, error) for error in too_long)
                too_long.clear()
                if not names:
                    names = cells
                    if len(set(names)) < len(names):
                        raise DataError(f"{part.file} names a column twice: {', '.join(names)}")
                elif cells:
                    yield table.line_num, _csv_row(names, cells, part.file, table.line_num)
        except csv.Error as error:
            raise DataError(
                f"{part.file}, line {table.line_num}: not CSV ({error}): mend this line, nothing after it can be read"
            ) from error
    yield from ((error.line, error) for error in too_long)


def _csv_lines(stream: IO[bytes], part: Part, too_long: list[RowError]) -> Iterator[str]:
    for number, line in _lines(stream, part):
        if isinstance(line, RowError):
            too_long.append(line)
            line = b"\n"  # keeps the count of lines
        yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8", "surrogateescape")


def _csv_row(names: Sequence[str], cells: Sequence[str], file: Path, number: int) -> Row | RowError:
    if len(cells) != len(names):
        return RowError(file, number, f"has {len(cells)} cells, the first row names {len(names)}: {', '.join(names)}")
    if any(re.search("[\udc80-\udcff]", cell) for cell in cells):
        return RowError(file, number, "not UTF-8")
    return dict(zip(names, cells, strict=True))


@contextmanager
def _parquet_file(file: Path) -> Iterator[Any]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise DataError(f"reading {file} needs pyarrow: pip install huggingface_hub pyarrow") from error
    try:
        with parquet.ParquetFile(file) as opened:
            yield opened
    except (arrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file system's, not the format's
            raise
        raise DataError(
            f"{file} is not a whole Parquet file ({str(error).strip()}): delete {file.resolve()} to fetch it again"
        ) from error


def _parquet_rows(part: Part) -> Iterator[tuple[int, Row | RowError]]:
    number = part.first_row
    with _parquet_file(part.file) as opened:
        groups = range(part.start, opened.num_row_groups if part.stop < 0 else part.stop)
        for batch in opened.iter_batches(batch_size=1_000, row_groups=groups):
            yield from enumerate(batch.to_pylist(), start=number)
            number += len(batch)


def _row_group_parts(file: Path, part_bytes: int) -> list[Part]:
    with _parquet_file(file) as opened:
        groups = [opened.metadata.row_group(group) for group in range(opened.num_row_groups)]
    first_rows = list(accumulate((group.num_rows for group in groups), initial=1))
    starts, held = [0], 0
    for number, group in enumerate(groups[:-1], start=1):
        held += group.total_byte_size
        if held >= part_bytes:
            starts.append(number)
            held = 0
    stops: Iterable[int] = [*starts[1:], len(groups)]
    return [Part(file, start, stop, first_rows[start]) for start, stop in zip(starts, stops, strict=True)]


def text_field(row: Row, name: str | Sequence[str], default: str | None = None) -> str:
    """The row's field as text; of several names, the first that the row has.

    Raises:
        DataError: it is missing or null (and there is no default) or holds something else.
    """
    names = [name] if isinstance(name, str) else name
    value, found = next(((row[name], name) for name in names if row.get(name) is not None), (default, ""))
    if value is None:
        null = next((f"field {name!r} is null" for name in names if name in row), None)
        missing = null or f"no field {' or '.join(map(repr, names))}"
        raise DataError(f"{missing}; the row has {', '.join(map(repr, row)) or 'none'}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"field {found!r} holds a {type(value).__name__}, expected text: {value!r:.80}")
    text = str(value)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise DataError(f"field {found!r} is not Unicode: it holds half of a surrogate pair")
    return text

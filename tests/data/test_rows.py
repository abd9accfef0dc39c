"""Rows out of every kind of file, whole and in parts, and what is said of files that are damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olympiad.data import DataError, rows
from olympiad.data.rows import Part, RowError, read_rows, scan, text_field

LINES = st.lists(
    st.sampled_from([b'{"n": 1}', b'{"t": "\xc3\xa9\xe2\x80\xa8"}', b"", b"  ", b"[1]", b"{", b'{"t": "\xe9"}', b"\0\0"]),
    max_size=12,
)


def contents(file: Path) -> list[tuple[int, Any]]:
    return [(number, row.reason if isinstance(row, RowError) else row) for number, row in read_rows(file)]


# --- parts -------------------------------------------------------------------------------------------------------


@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.integers(1, 80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_parts_hold_each_row_once(tmp_path: Path, lines: list[bytes], end: bytes, bom: bool, last: bool, size: int) -> None:
    """A row at a cut that is lost, read twice or halved, or numbers that begin anew with each part."""
    file = tmp_path / "a.jsonl"
    content = b"\xef\xbb\xbf" * bom + end.join(lines) + end * last
    file.write_bytes(content)
    scanned = scan(file, part_bytes=size)
    assert (scanned.sha256, scanned.num_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [(part.start, part.stop) for part in scanned.parts[1:]] == [
        (part.stop, following.stop) for part, following in zip(scanned.parts, scanned.parts[1:], strict=False)
    ]
    assert all(part.stop - part.start >= size for part in scanned.parts[:-1])
    assert [row for part in scanned.parts for row in read_rows(part)] == list(read_rows(file))


def test_parts_across_the_blocks_of_a_scan(tmp_path: Path) -> None:
    """Line numbers or cuts that go wrong where the megabyte ends that a scan reads at once."""
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"n": n, "t": "x" * (n % 977)}) + "\n" for n in range(6_000)), encoding="utf-8")
    parts = scan(file, part_bytes=300_000).parts
    assert len(parts) == 10
    assert [(number, row["n"]) for part in parts for number, row in read_rows(part)] == [(n + 1, n) for n in range(6_000)]


@pytest.mark.parametrize(("part_bytes", "expected"), [(1, 4), (10**9, 1)])
def test_parts_of_parquet(tmp_path: Path, part_bytes: int, expected: int) -> None:
    """Row groups read twice or left out, or row numbers that begin anew with each."""
    file = tmp_path / "rows.parquet"
    parquet.write_table(arrow.table({"n": list(range(2_500))}), file, row_group_size=700)
    parts = scan(file, part_bytes).parts
    assert len(parts) == expected
    assert (
        [row for part in parts for row in read_rows(part)] == list(read_rows(file)) == [(n + 1, {"n": n}) for n in range(2_500)]
    )


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.txt", "a.jsonl.gz"])
def test_other_formats_are_one_part(tmp_path: Path, name: str) -> None:
    """A cut in the middle of a quoted cell, an array or a compressed stream."""
    (tmp_path / name).write_bytes(b"x" * 100)
    assert scan(tmp_path / name, part_bytes=10).parts == (Part(tmp_path / name),)


# --- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("one.json", b'\xef\xbb\xbf{\n "n": 1\n}', [(1, {"n": 1})]),
        ("list.json", b'[{"n": 1}, 5, {"n": 2}]', [(1, {"n": 1}), (2, "holds a int, expected an object with named fields"), (3, {"n": 2})]),
        ("lines.json", b'{"n": 1}\n\n{"n": 2}\n', [(1, {"n": 1}), (3, {"n": 2})]),
        ("a.csv", b'\xef\xbb\xbfq,a\r\n"Say ""x"",\r\nnow",1\r\n\r\nz,2', [(3, {"q": 'Say "x",\r\nnow', "a": "1"}), (5, {"q": "z", "a": "2"})]),
        ("short.csv", b"q,a\nx\ny,2\n", [(2, "has 1 cells, the first row names 2: q, a"), (3, {"q": "y", "a": "2"})]),
        ("latin.csv", b"q,a\ncaf\xe9,1\ny,2\n", [(2, "not UTF-8"), (3, {"q": "y", "a": "2"})]),
        ("empty.csv", b"", []),
        ("a.tex", "é\r\nx".encode(), [(1, {"text": "é\r\nx"})]),
        ("latin.txt", b"x\ny \xe9", [(1, "not UTF-8 (byte 4 of the file: unexpected end of data)")]),
        ("a.md", b"x\0y", [(1, "holds NUL bytes, which no text does")]),
        ("nul.jsonl", b'{"n": 1}\n\0\0\0\n{"n": 2}', [(1, {"n": 1}), (2, "not JSON (Expecting value: line 1 column 1 (char 0))"), (3, {"n": 2})]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_formats(tmp_path: Path, name: str, content: bytes, expected: list[tuple[int, Any]], packed: bool) -> None:
    """A format that loses rows, one bad row that ends the file, or a message on the wrong line."""
    file = tmp_path / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(content) if packed else content)
    assert contents(file) == expected


def test_bad_byte_is_on_its_line_of_a_text(tmp_path: Path) -> None:
    """A book with one bad byte, and no word of where."""
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n\xff")
    [(_, error)] = read_rows(tmp_path / "a.txt")
    assert str(error).startswith(f"{tmp_path / 'a.txt'}, line 3: not UTF-8")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
def test_too_long_line_is_skipped_unheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Gigabytes without a line end that fill the memory, or that end the file."""
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 1_000)
    good = [b"n", b"1", b"2"] if name == "a.csv" else [b'{"n": "1"}', b"", b'{"n": "2"}']
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wb") as stream:
        stream.write(good[0] + b"\n" + good[1] + b"\n" + b"x" * 20_000_000 + b"\n" + good[2] + b"\n" + b"y" * 1_001)
    tracemalloc.start()
    read = contents(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [number for number, row in read if row == "longer than 1,000 bytes"] == [3, 5]
    assert [row["n"] for _, row in read if isinstance(row, dict)] == ["1", "2"]
    assert peak < 8_000_000
    assert sum(len(list(read_rows(part))) for part in scan(tmp_path / name, part_bytes=1).parts) == 4


def test_line_of_just_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line after one of just the limit swallowed with it."""
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 10)
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 10}\n{"n": 100}\n{"n": 2}\n')
    assert contents(tmp_path / "a.jsonl") == [(1, {"n": 10}), (2, "longer than 10 bytes"), (3, {"n": 2})]


# --- files that can't be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "changed", "no gzip"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    """Good rows lost with the bad end, half a file taken for the whole, or a bare zlib error."""
    file = tmp_path / "a.jsonl.gz"
    lines = b"".join(json.dumps({"n": hashlib.sha256(str(n).encode()).hexdigest()}).encode() + b"\n" for n in range(20_000))
    packed = gzip.compress(lines)
    half = len(packed) // 2
    changed = packed[:half] + bytes(255 - byte for byte in packed[half : half + 64]) + packed[half + 64 :]
    file.write_bytes({"cut": packed[:half], "changed": changed, "no gzip": lines}[damage])
    read = []
    with pytest.raises(
        DataError, match=r"a\.jsonl\.gz (ends too early|is damaged, or no gzip file) \(.*fetch or pack it again"
    ):
        read.extend(number for number, row in read_rows(file) if isinstance(row, dict))  # extend keeps what came first
    assert damage == "no gzip" or len(read) > 5_000


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv", "a.json", "a.txt", "a.jsonl.gz"])
def test_vanished_file(tmp_path: Path, name: str) -> None:
    """A traceback for a file that was deleted after it was found."""
    with pytest.raises(DataError, match=rf"can't read .*{name}: .*No such file"):
        list(read_rows(Part(tmp_path / name)))
    with pytest.raises(DataError, match=rf"can't read .*{name}: .*No such file"):
        scan(tmp_path / name)


def test_damaged_parquet_is_named_by_its_scan(tmp_path: Path) -> None:
    """A traceback out of pyarrow while parts are made."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"\0" * 50 + b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet is not a whole Parquet file .*delete"):
        scan(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'q,a\nx,1\n"y,2\n', "line 3: not CSV .*mend this line"), (b"q,q\nx,1\n", "names a column twice: q, q")],
)
def test_csv_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    """An open quote that swallows the rest of a file without a word."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / "a.csv"))


def test_file_too_large_for_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 40 GB .json read into memory."""
    monkeypatch.setattr(rows, "MAX_WHOLE_BYTES", 10)
    (tmp_path / "a.json").write_bytes(b'{"n": 1000}')
    with pytest.raises(DataError, match=r"a\.json is too large .*make it JSONL"):
        list(read_rows(tmp_path / "a.json"))


def test_text_field_of_several_names() -> None:
    """A null that hides the name that holds the text, or an error that does not say which names were tried."""
    assert text_field({"a": None, "b": 2}, ("a", "b")) == "2"
    with pytest.raises(DataError, match=r"no field 'x' or 'y'; the row has 'a'"):
        text_field({"a": 1}, ("x", "y"))
    with pytest.raises(DataError, match=r"field 'b' holds a dict"):
        text_field({"a": None, "b": {}}, ("a", "b"))

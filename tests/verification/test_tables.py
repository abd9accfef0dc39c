"""The tables of pairs: what is equal is called correct, and nothing else is."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from olympiad.verification import verify

TABLES = sorted((Path(__file__).parent / "pairs").glob("*.jsonl"))
DATA = os.environ.get("OLYMPIAD_DATA", "")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judged(table: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs called correct that are not equal, and equal ones that are not called correct."""
    verdicts = [verify(row["gold"], row["pred"]) for row in table]
    false = [row for row, verdict in zip(table, verdicts, strict=True) if verdict.correct and not row["equivalent"]]
    missed = [row for row, verdict in zip(table, verdicts, strict=True) if not verdict.correct and row["equivalent"]]
    return false, missed


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_our_tables(path: Path) -> None:
    """A rule that accepts what is not equal, or refuses a spelling that people use."""
    table = rows(path)
    false, missed = judged(table)
    assert not false
    assert len(missed) <= 0.03 * len(table), missed


def test_the_tables_can_fail() -> None:
    """Tables of one kind, or too small to say anything."""
    table = [row for path in TABLES for row in rows(path)]
    assert len(table) >= 1_500
    assert sum(not row["equivalent"] for row in table) >= 0.4 * len(table)
    labels = {(row["gold"], row["pred"]): row["equivalent"] for row in table}
    assert len(labels) >= 0.99 * len(table)
    assert all(labels[row["gold"], row["pred"]] == row["equivalent"] for row in table)
    assert sum(count >= 5 for count in Counter(row["category"] for row in table).values()) >= 30


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="OLYMPIAD_DATA names no folder with the problem sets")
def test_the_peers_pairs() -> None:
    """Pairs of the peers' own suites that were right before."""
    table = [row for row in rows(Path(DATA) / "grading" / "dev.jsonl") if row["tier"] == "core"]
    false, missed = judged(table)
    assert len(false) == 0
    assert len(missed) <= 0.01 * len(table), missed

"""First errors found on ProcessBench, without a judge.

    OLYMPIAD_DATA=folder python benchmarks/steps.py [--half even|odd]

Columns: false wrong, the share of human-verified correct solutions in which a step is called wrong; precision, how many
of the reported first errors are the labelled ones; recall, the share of the erroneous solutions whose first error is
found; correct, the share of the correct solutions in which none is reported; F1, the harmonic mean of the last two;
coverage, the share of the steps with at least one decided claim.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from olympiad.evaluation.statistics import process_f1
from olympiad.verification.steps import check_steps

COLUMNS = ("subset", "solutions", "false wrong", "precision", "recall", "correct", "F1", "coverage", "steps/s")


def measured(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The numbers of one subset."""
    start = time.perf_counter()
    reports = [check_steps(row["problem"], row["steps"]) for row in rows]
    seconds = time.perf_counter() - start
    labels = [row["label"] for row in rows]
    found = [-1 if report.first_error is None else report.first_error for report in reports]
    score = process_f1(labels, found)
    steps = sum(len(report.steps) for report in reports)
    return {
        "false wrong": 1 - score.correct,
        "precision": score.precision,
        "recall": score.erroneous,
        "correct": score.correct,
        "F1": score.f1,
        "coverage": sum(step.status != "unchecked" for report in reports for step in report.steps) / max(1, steps),
        "steps/s": steps / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("even", "odd"), help="only the rows of even or odd number")
    arguments = parser.parse_args()
    if "OLYMPIAD_DATA" not in os.environ:
        parser.error("set OLYMPIAD_DATA to the folder that holds processbench/*.jsonl")
    folder = Path(os.environ["OLYMPIAD_DATA"]) / "processbench"
    table = Table(*COLUMNS, title="ProcessBench, first errors found by algebra alone")
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = rows if arguments.half is None else rows[arguments.half == "odd" :: 2]
        numbers = measured(rows)
        cells = [f"{numbers[name]:,.0f}" if name == "steps/s" else f"{numbers[name]:.1%}" for name in COLUMNS[2:]]
        table.add_row(path.stem, str(len(rows)), *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

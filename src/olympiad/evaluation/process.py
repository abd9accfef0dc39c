"""ProcessBench: does the step checker find the first wrong step?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olympiad.data.rows import RowError, read_rows
from olympiad.verification import check_steps

from .errors import EvaluationError
from .statistics import ProcessScore, process_f1


def score_file(file: Path) -> ProcessScore:
    """The step checker's score on rows of ProcessBench.

    Raises:
        DataError: the file can't be read.
        EvaluationError: a row lacks "problem", "steps" or "label".
    """
    labels: list[int | None] = []
    found: list[int | None] = []
    for line, row in read_rows(file):
        if isinstance(row, RowError):
            raise EvaluationError(str(row))
        fields: list[Any] = [row.get(name) for name in ("problem", "steps", "label")]
        problem, steps, label = fields
        fits = isinstance(problem, str) and isinstance(steps, list) and all(isinstance(step, str) for step in steps)
        if not fits or isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < len(steps or []):
            raise EvaluationError(
                f'{file}, line {line}: expected "problem" (a text), "steps" (texts) and "label" (the index of the first wrong '
                f"step, or -1); the row has {', '.join(map(repr, row))}"
            )
        labels.append(label)
        found.append(check_steps(problem, steps).first_error)
    if not labels:
        raise EvaluationError(f"{file} holds no rows")
    return process_f1(labels, found)

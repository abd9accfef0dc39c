"""Split problems into train, validation and test by the hash of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from .schema import MathProblem


class Splits(NamedTuple):
    train: list[MathProblem]
    validation: list[MathProblem]
    test: list[MathProblem]


def split_dataset(problems: Sequence[MathProblem], validation: float = 0.1, test: float = 0.1, seed: int = 0) -> Splits:
    """Split deterministically, whatever the order of the problems; copies of one problem stay together.

    Distinct problems are ranked by a hash of their text and ``seed``: the lowest are for validation, the highest for
    test. So each size is exact, and as a collection grows a problem hardly ever changes its split. Validation gets at
    least one problem out of two or more, training at least one of any.

    >>> from olympiad.data import create_sample_problems
    >>> [len(part) for part in split_dataset(create_sample_problems())]
    [2, 1, 0]
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} is {share}, expected a share from 0 up to 1")
    if validation + test >= 1:
        raise ValueError(f"validation ({validation}) and test ({test}) leave nothing to train on")
    keys = {problem.key for problem in problems}
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    num_validation, num_test = round(len(ranked) * validation), round(len(ranked) * test)
    if validation > 0:
        num_validation = max(num_validation, 1)
    num_validation = min(num_validation, max(len(ranked) - 1, 0))
    num_test = min(num_test, max(len(ranked) - num_validation - 1, 0))
    split_of = dict.fromkeys(ranked, 0)
    split_of |= dict.fromkeys(ranked[:num_validation], 1)
    split_of |= dict.fromkeys(ranked[len(ranked) - num_test :], 2)
    parts: tuple[list[MathProblem], ...] = ([], [], [])
    for problem in problems:
        parts[split_of[problem.key]].append(problem)
    return Splits(*parts)


def sample_problems(problems: Sequence[MathProblem], limit: int | None) -> list[MathProblem]:
    """``limit`` of the problems, picked by the hash of their text and in their own order; all where there is no limit.

    Files are sorted by subject or difficulty more often than not: their first rows stand for nothing.
    """
    if limit is None or limit >= len(problems):
        return list(problems)
    ranked = sorted(range(len(problems)), key=lambda row: (problems[row].key, row))
    return [problems[row] for row in sorted(ranked[:limit])]


def without(problems: Sequence[MathProblem], held_out: Sequence[MathProblem]) -> list[MathProblem]:
    """The problems whose text is not among those held out for validation and test."""
    keys = {problem.key for problem in held_out}
    return [problem for problem in problems if problem.key not in keys]

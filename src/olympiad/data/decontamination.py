"""Find training problems that are evaluation problems.

The rule, over the words of a problem's statement (LaTeX's formatting, drawings, case and punctuation do not count):

- ``exact``: the two statements have the same words.
- ``shingles``: of the runs of 13 words in the evaluation problem, at least a quarter stand in the training problem.
  Runs that stand in more than three evaluation problems say nothing about any of them ("m and n are relatively
  prime positive integers. Find m + n") and are left out of the count.

The score is that share, 1 for ``exact``. Statements under 13 words can only match exactly.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .preprocessing import normalize_text
from .rows import DataError, Row, RowError, read_rows, text_field

SHINGLE_WORDS = 13  # the length of GPT-3's overlap test (arXiv:2005.14165, appendix C)
LEAST_SHARE = 0.25
COMMON = 3

_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)  # to the end where it is left open: linear time
_FORMATTING = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|text(?:bf|it|rm)?|mathrm|mathbf|mathit|mbox|displaystyle|quad|qquad|(?=[dt]?frac)d?t?)"
    r"(?![A-Za-z])|\\[dt](?=frac|binom)|\\[ ,;:!]"
)
_WORD = re.compile(r"\w+")


def words(statement: str) -> list[str]:
    """The words that count, in order: letters and digits, no matter how they are typeset.

    >>> words(r"Find $\\dfrac{1}{2} + \\left(x\\right)$.") == words(r"find $\\frac12+(x)$") == ["find", "frac", "1", "2", "x"]
    False
    >>> words(r"Find $\\dfrac{1}{2} + \\left(x\\right)$.")
    ['find', 'frac', '1', '2', 'x']
    """
    plain = _FORMATTING.sub(lambda match: "\\" if match[0][1:] in ("d", "t") else " ", _DRAWING.sub(" ", statement))
    return _WORD.findall(plain.casefold())


def shingles(text: list[str], places: Iterable[int] | None = None) -> set[bytes]:
    """Each run of 13 words (that begins at one of ``places``), as a hash of 8 bytes."""
    starts = range(len(text) - SHINGLE_WORDS + 1) if places is None else places
    return {hashlib.blake2b(" ".join(text[start : start + SHINGLE_WORDS]).encode(), digest_size=8).digest() for start in starts}


def _outlines(text: list[str]) -> Iterator[tuple[str, str, str]]:
    """First, middle and last word of each run of 13 words."""
    return zip(text, text[SHINGLE_WORDS // 2 :], text[SHINGLE_WORDS - 1 :], strict=False)


@dataclass(frozen=True)
class Match:
    """A training statement that is (part of) evaluation problem ``number``."""

    number: int
    rule: str
    score: float


class EvaluationIndex:
    """Everything that must not be trained on, ready to be asked about one statement at a time.

    Args:
        statements: of the evaluation problems; a match gives their number in this order.
    """

    def __init__(self, statements: Iterable[str]) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        containing: dict[bytes, list[int]] = defaultdict(list)
        self._outlines: set[tuple[str, str, str]] = set()
        first_with: dict[str, int] = {}
        originals: list[int] = []  # of each problem, the first with its words: copies are not other problems
        for number, statement in enumerate(statements):
            text = words(normalize_text(statement))
            self._outlines.update(_outlines(text))
            plain = " ".join(text)
            first_with.setdefault(plain, number)
            self._exact[plain].append(number)
            originals.append(first_with[plain])
            for shingle in shingles(text):
                containing[shingle].append(number)
        self._containing = {
            shingle: numbers for shingle, numbers in containing.items() if len({originals[n] for n in numbers}) <= COMMON
        }
        self._sizes = Counter(number for numbers in self._containing.values() for number in numbers)

    def matches(self, statement: str) -> list[Match]:
        """The evaluation problems that ``statement``, a normalised text, gives away, by number."""
        text = words(statement)
        found = {number: Match(number, "exact", 1.0) for number in self._exact.get(" ".join(text), ()) if text}
        places = [start for start, outline in enumerate(_outlines(text)) if outline in self._outlines]  # few: hashing is slow
        shared = Counter(number for shingle in shingles(text, places) for number in self._containing.get(shingle, ()))
        for number, count in shared.items():
            share = count / self._sizes[number]
            if share >= LEAST_SHARE and number not in found:
                found[number] = Match(number, "shingles", round(share, 4))
        return sorted(found.values(), key=lambda match: match.number)


_STATEMENT_FIELDS = ("problem", "question", "prompt", "text")


def statement_of(row: Row) -> str:
    """The statement of a row of any set: "problem", "question", "prompt" or "text", or SVAMP's "Body" and "Question".

    Raises:
        DataError: the row has none of them.
    """
    for name in _STATEMENT_FIELDS:
        if row.get(name) is not None:
            return text_field(row, name)
    if "Body" in row and "Question" in row:
        return f"{text_field(row, 'Body')} {text_field(row, 'Question')}"
    raise DataError(f"no statement: expected one of {', '.join(_STATEMENT_FIELDS)}; the row has {', '.join(map(repr, row))}")


def _statements(file: Path) -> Iterator[tuple[int, str]]:
    """Number (from 0) and statement of each row."""
    for number, (line, row) in enumerate(read_rows(file)):
        if isinstance(row, RowError):
            raise DataError(str(row))
        try:
            yield number, statement_of(row)
        except DataError as error:
            raise DataError(f"{file}, line {line}: {error}") from error


def find_contamination(train: Iterable[Path], evaluate: Iterable[Path]) -> list[dict[str, Any]]:
    """Each pair of a training and an evaluation row that are one problem by the rule at the head of this file.

    Returns:
        ``{"train_file", "train_row", "evaluate_file", "evaluate_row", "rule", "score"}``, rows counted from 0, in the
        order of the training files.

    Raises:
        DataError: a file or a row can't be read.
    """
    held_out = [(str(file), number, statement) for file in evaluate for number, statement in _statements(file)]
    index = EvaluationIndex(statement for *_, statement in held_out)
    return [
        {
            "train_file": str(file),
            "train_row": number,
            "evaluate_file": held_out[match.number][0],
            "evaluate_row": held_out[match.number][1],
            "rule": match.rule,
            "score": match.score,
        }
        for file in train
        for number, statement in _statements(file)
        for match in index.matches(normalize_text(statement))
    ]

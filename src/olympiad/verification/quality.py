"""How good the reasoning of a solution is: named scores between 0 and 1, each defined by a formula.

They measure what can be computed from the text: whether steps hold, follow and lead somewhere. They do not measure insight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from .extraction import extract
from .steps import check_steps, split_steps

_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?![\w])|(?<=[a-z^_{(+\-*/=])\d+")
_CORRECTION = re.compile(
    r"\b(?:wait|actually|hold on|let me (?:re-?check|reconsider|redo|try again)|i made (?:a|an) (?:mistake|error)|that(?:'s| is) "
    r"(?:wrong|not right|incorrect)|on second thought|scratch that|oops|no,)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{3,}")
#: Numbers that need no source.
_FREE = frozenset(str(number) for number in range(13)) | {"100", "180", "360", "1000"}
#: Words of a step beyond which a longer solution of the same steps counts as padding.
WORDS_PER_STEP = 60


class Aggregate(NamedTuple):
    """A mean over solutions with its standard error; ``solutions`` is how many had the score."""

    mean: float
    standard_error: float
    solutions: int


def reasoning_quality(problem: str, solution: str) -> dict[str, float]:
    """Scores of one solution; see ``docs/reasoning-quality.md``. A score that a text gives no ground for is NaN.

    With S steps, of which V hold, W are wrong and the others can't be decided by algebra:

    - ``validity``: V / (V + W)
    - ``coverage``: (V + W) / S
    - ``completeness``: 1 if the text states a final answer and its last three steps contain it, 1/2 if it is stated
      without standing in them, 0 if there is none
    - ``redundancy``: share of steps that repeat an earlier one (nine tenths of its words) or bring no word and no number
      that was not there before
    - ``groundedness``: share of the numbers used in a step that the problem gives, an earlier step derived, or the step
      itself computes (stands right of an equals sign)
    - ``efficiency``: min(1, WORDS_PER_STEP S / words), less the redundant share
    - ``self_corrections``: 1 / (1 + c) for c places that take something back
    - ``format``: share of three: formulas are closed, the answer is boxed (or marked), there are at least two steps
    - ``language_consistency``: share of letters in the script that most of the text is written in

    >>> scores = reasoning_quality("What is 3 times 4 plus 5?", "First, 3 * 4 = 12.\\n\\nThen 12 + 5 = 17. So $\\\\boxed{17}$.")
    >>> scores["validity"], scores["completeness"], scores["groundedness"]
    (1.0, 1.0, 1.0)
    """
    steps = split_steps(solution)
    report = check_steps(problem, steps)
    statuses = [step.status for step in report.steps]
    valid, wrong = statuses.count("valid"), statuses.count("wrong")
    redundant = _redundant(steps)
    words = len(_WORD.findall(solution))
    return {
        "validity": _share(valid, valid + wrong),
        "coverage": _share(valid + wrong, len(steps)),
        "completeness": _completeness(solution, steps),
        "redundancy": _share(redundant, len(steps)),
        "groundedness": _groundedness(problem, steps),
        "efficiency": max(0.0, min(1.0, WORDS_PER_STEP * len(steps) / words) - redundant / len(steps)) if words else math.nan,
        "self_corrections": 1 / (1 + len(_CORRECTION.findall(solution))),
        "format": _format(solution, steps),
        "language_consistency": _language(solution),
    }


def aggregate(scores: Sequence[Mapping[str, float]]) -> dict[str, Aggregate]:
    """Mean and standard error of each score over many solutions; those without it (NaN) do not count.

    >>> aggregate([{"format": 1.0}, {"format": 0.0}, {"format": math.nan}])["format"]
    Aggregate(mean=0.5, standard_error=0.5, solutions=2)
    """
    result = {}
    for name in dict.fromkeys(name for each in scores for name in each):
        values = [each[name] for each in scores if name in each and not math.isnan(each[name])]
        count = len(values)
        mean = sum(values) / count if count else math.nan
        variance = sum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else math.nan
        result[name] = Aggregate(mean, math.sqrt(variance / count) if count > 1 else math.nan, count)
    return result


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _completeness(solution: str, steps: Sequence[str]) -> float:
    found = extract(solution)
    if found is None or found.rule == "bare":
        return 0.0 if found is None else 0.5
    answer = re.sub(r"\s+", "", found.text)
    ending = re.sub(r"\s+", "", "".join(steps[-3:]))
    marked = re.sub(r"\\boxed\{" + re.escape(answer) + r"\}|####" + re.escape(answer), "", ending)
    return 1.0 if answer and answer in (marked if len(steps) > 1 else ending) else 0.5


def _redundant(steps: Sequence[str]) -> int:
    seen_words: set[str] = set()
    earlier: list[set[str]] = []
    count = 0
    for step in steps:
        parts = {word.casefold() for word in _WORD.findall(step)} | set(_NUMBER.findall(step))
        repeats = any(parts and len(parts & other) >= 0.9 * len(parts | other) for other in earlier[-50:])
        count += bool(repeats or (parts and earlier and parts <= seen_words))
        seen_words |= parts
        earlier.append(parts)
    return count


def _groundedness(problem: str, steps: Sequence[str]) -> float:
    known = set(_NUMBER.findall(problem)) | _FREE
    used = grounded = 0
    for step in steps:
        computed = {number for side in re.split(r"=|\\approx|\bis\b|\\equiv", step)[1:] for number in _NUMBER.findall(side)}
        for number in _NUMBER.findall(step):
            used += 1
            grounded += number in known or number in computed
        known |= set(_NUMBER.findall(step))
    return _share(grounded, used)


def _format(solution: str, steps: Sequence[str]) -> float:
    plain = solution.replace(r"\$", "")
    closed = plain.count("$") % 2 == 0 and plain.count("{") == plain.count("}") and plain.count(r"\[") == plain.count(r"\]")
    found = extract(solution)
    marked = found is not None and found.rule in ("boxed", "####", "phrase")
    return (closed + marked + (len(steps) >= 2)) / 3


def _language(solution: str) -> float:
    letters = [character for character in re.sub(r"\\[A-Za-z]+|\$[^$]*\$", "", solution) if character.isalpha()]
    scripts = [_script(letter) for letter in letters]
    return max(map(scripts.count, set(scripts))) / len(scripts) if scripts else math.nan


_SCRIPTS = [
    (0, 0x250, "latin"),
    (0x370, 0x400, "greek"),
    (0x400, 0x530, "cyrillic"),
    (0x590, 0x700, "semitic"),
    (0x3040, 0xA000, "han"),
]


def _script(letter: str) -> str:
    return next((name for low, high, name in _SCRIPTS if low <= ord(letter) < high), "other")


assert all(a[1] <= b[0] for a, b in pairwise(_SCRIPTS))

"""Clean problems, and say why what is not taken was not taken."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .schema import MathProblem, ReasoningStep

_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
# Commands that change how mathematics looks and not what it says: one spelling each.
_APPEARANCE = [
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\(?:displaystyle|textstyle|scriptstyle)(?![A-Za-z])\s*"), ""),
    (re.compile(r"\\leq(?:slant)?(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\geq(?:slant)?(?![A-Za-z])"), r"\\ge"),
    (re.compile(r"\\(?:neq)(?![A-Za-z])"), r"\\ne"),
    (re.compile(r"(?<!\\)\\!"), ""),
]


def normalize_text(text: str) -> str:
    """One spelling for what reads the same: NFC, plain spaces and line ends, nothing invisible, one name per command.

    Not NFKC: that would turn ``x²`` into ``x2``.

    >>> normalize_text("x²\\u00a0=\\u200b \\\\dfrac12\\r\\n")
    'x² = \\\\frac12'
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _SPACES.sub(" ", _INVISIBLE.sub("", text))
    for pattern, plain in _APPEARANCE:
        text = pattern.sub(plain, text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r" ?\n ?", "\n", re.sub(r"\n{3,}", "\n\n", text)).strip()


def last_boxed(text: str) -> str | None:
    """What the last ``\\boxed{...}`` or ``\\fbox{...}`` holds, braces counted; None without one, or with one left open.

    >>> last_boxed(r"so $\\boxed{\\frac{1}{2}}$.")
    '\\\\frac{1}{2}'
    """
    start = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
    if start < 0:
        return None
    after = re.match(r"\\(?:boxed|fbox)\s*", text[start:])
    assert after is not None
    position = start + after.end()
    if position >= len(text):
        return None
    if text[position] != "{":  # \boxed 5: one character is the argument
        return text[position]
    depth = 0
    for end in range(position, len(text)):
        if text[end] in "{}" and (end == 0 or text[end - 1] != "\\"):
            depth += 1 if text[end] == "{" else -1
            if depth == 0:
                return text[position + 1 : end].strip()
    return None


def solution_answer(solution: str) -> str | None:
    """The final answer that a written solution states: its last box, or what follows its last ``####`` (GSM8K).

    >>> solution_answer("48/2 = 24\\n#### 1,024")
    '1,024'
    """
    boxed = last_boxed(solution)
    if boxed is not None:
        return boxed
    marked = re.findall(r"####[ \t]*([^\n]+)", solution)
    return marked[-1].strip() if marked else None


@dataclass(frozen=True)
class Rejection:
    """A problem that was not taken: ``reason`` is one of a few names, ``detail`` the numbers behind it."""

    problem: MathProblem
    reason: str
    detail: str


@dataclass(frozen=True)
class Preprocessed:
    problems: list[MathProblem]
    rejections: list[Rejection]

    @property
    def counts(self) -> Counter[str]:
        """How many were rejected for each reason."""
        return Counter(rejection.reason for rejection in self.rejections)


@dataclass(frozen=True)
class DataPreprocessor:
    """Normalise problems, find their answers, and reject what can't be learned from.

    Reasons: ``empty_problem``, ``short_problem``, ``long_problem``, ``empty_solution``, ``long_solution``,
    ``no_answer``, ``unbalanced_braces``, ``duplicate``.

    Args:
        require_solution: reject problems without a written solution.
        require_answer: reject problems whose answer is neither given nor found in the solution.
    """

    min_problem_characters: int = 10
    max_problem_characters: int = 10_000
    max_solution_characters: int = 50_000
    require_solution: bool = True
    require_answer: bool = True

    def preprocess(self, problems: Iterable[MathProblem]) -> Preprocessed:
        """Clean each problem; those that fail come back with the reason, none vanishes."""
        kept: list[MathProblem] = []
        rejections: list[Rejection] = []
        seen: dict[str, str] = {}
        for original in problems:
            problem = normalize_problem(original)
            fault = self._fault(problem)
            if fault is None and problem.key in seen:
                fault = "duplicate", f"the same problem as {seen[problem.key]}"
            if fault is not None:
                rejections.append(Rejection(original, *fault))
            else:
                seen[problem.key] = problem.id
                kept.append(problem)
        return Preprocessed(kept, rejections)

    def _fault(self, problem: MathProblem) -> tuple[str, str] | None:
        length, solution_length = len(problem.problem), len(problem.solution)
        if length == 0:
            return "empty_problem", "the problem has no text"
        if length < self.min_problem_characters:
            return "short_problem", f"{length} characters, expected at least {self.min_problem_characters}"
        if length > self.max_problem_characters:
            return "long_problem", f"{length} characters, expected at most {self.max_problem_characters}"
        if self.require_solution and solution_length == 0:
            return "empty_solution", "the problem has no solution"
        if solution_length > self.max_solution_characters:
            return "long_solution", f"{solution_length} characters, expected at most {self.max_solution_characters}"
        if self.require_answer and not problem.answer:
            return "no_answer", r"no answer is given, and the solution has no \boxed{} or ####"
        for name in ("problem", "solution"):
            text = re.sub(r"\\[{}]", "", getattr(problem, name))
            if text.count("{") != text.count("}"):
                return "unbalanced_braces", f"the {name} opens {text.count('{')} braces and closes {text.count('}')}"
        return None


def normalize_problem(problem: MathProblem) -> MathProblem:
    """The problem with all of its texts normalised, and its answer taken from the solution where none is given."""
    solution = normalize_text(problem.solution)
    return replace(
        problem,
        problem=normalize_text(problem.problem),
        solution=solution,
        answer=normalize_text(problem.answer) or solution_answer(solution) or "",
        steps=tuple(ReasoningStep(normalize_text(step.text), step.claim) for step in problem.steps),
    )

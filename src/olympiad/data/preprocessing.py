"""Clean problems, and say why what is not taken was not taken."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from .schema import MathProblem, ReasoningStep

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACES = re.compile(r"[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
# Commands that change how mathematics looks and not what it says: the first group goes, the others get one spelling.
_COMMAND = re.compile(r"((?:\\!|\\(?:display|text|script)style(?![A-Za-z])\s*)+)|\\(?:[A-Za-z]+|.)", re.DOTALL)
_PLAIN_COMMANDS = {
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\leq", r"\leqslant"), r"\le"),
    **dict.fromkeys((r"\geq", r"\geqslant"), r"\ge"),
    r"\neq": r"\ne",
}


def normalize_text(text: str) -> str:
    """One spelling for what reads the same: NFC, plain spaces and line ends, nothing invisible, one name per command.

    Not NFKC: that would turn ``x²`` into ``x2``.

    >>> normalize_text("x²\\u00a0=\\u200b \\\\dfrac12\\r\\n")
    'x² = \\\\frac12'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = unicodedata.normalize("NFC", _SPACES.sub(" ", _INVISIBLE.sub("", text)))
    text = re.sub(r"[ \t]+", " ", _COMMAND.sub(_plain_command, text))
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()
    return unicodedata.normalize("NFC", text)  # once more, for an accent that now follows a letter


def _plain_command(command: re.Match[str]) -> str:
    if not command[1]:
        return _PLAIN_COMMANDS.get(command[0], command[0])
    text, start, end = command.string, command.start(), command.end()
    before, after = text[max(start - 1, 0) : start], text[end : end + 1]
    # \alpha\!x is no \alphax, and an accent is not for the letter before the command
    return " " if (before.isalpha() and after.isalpha()) or not after.isascii() else ""


def last_boxed(text: str) -> str | None:
    """What the last ``\\boxed{...}`` or ``\\fbox{...}`` holds, braces counted; None without one, or with one left open.

    >>> last_boxed(r"so $\\boxed{\\frac{1}{2}}$.")
    '\\\\frac{1}{2}'
    """
    position = max((box.end() for box in _BOX.finditer(text)), default=len(text))
    if text[position : position + 1] != "{":  # \boxed 5: one character, or one command, is the argument
        argument = re.compile(r"[^\\{}$]|\\(?>[A-Za-z]+|.)(?!\s*[{\[])").match(text, position)
        return argument[0] if argument else None
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, position):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[position + 1 : brace.start()].strip()
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
    ``no_answer``, ``unbalanced_braces``, ``unbalanced_delimiters``, ``duplicate``; ``cleaning.clean`` has more.

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
        from .cleaning import CleaningOptions, first_fault  # here, since cleaning builds on this module

        checks = CleaningOptions(
            **asdict(self),
            languages="any",
            missing_figures="keep",
            multiple_choice="keep",
            proofs="keep",
            check_answer_agreement=False,
        )
        kept: list[MathProblem] = []
        rejections: list[Rejection] = []
        seen: dict[str, str] = {}
        for original in problems:
            problem = normalize_problem(original)
            fault = first_fault(problem, checks)
            if fault is None and problem.key in seen:
                fault = "duplicate", f"the same problem as {seen[problem.key]}"
            if fault is not None:
                rejections.append(Rejection(original, *fault))
            else:
                seen[problem.key] = problem.id
                kept.append(problem)
        return Preprocessed(kept, rejections)


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

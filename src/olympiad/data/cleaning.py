"""What can't be learned from, as a table of checks of one problem each.

In doubt a problem stays: a check that throws away good problems costs more than one that misses bad ones.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .preprocessing import Preprocessed, Rejection, normalize_problem, normalize_text, solution_answer
from .schema import MathProblem, TextDocument

KeepOrDrop = Literal["keep", "drop"]
SHORTEST_TEXT = 200  # characters


class CleaningOptions(BaseModel):
    """What is thrown away."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_problem_characters: int = Field(default=10, ge=0)
    max_problem_characters: int = Field(default=10_000, ge=1)
    max_solution_characters: int = Field(default=50_000, ge=1)
    require_solution: bool = True
    """Drop problems without a written solution."""
    require_answer: bool = True
    """Drop problems whose answer is neither given nor found in the solution."""
    broken_latex: KeepOrDrop = "drop"
    """Problems with a brace, dollar sign, \\left or \\begin that has no partner."""
    languages: Literal["en", "any"] = "en"
    missing_figures: KeepOrDrop = "drop"
    """Problems that point to a figure which is not there."""
    multiple_choice: KeepOrDrop = "drop"
    """Problems that list their possible answers."""
    proofs: KeepOrDrop = "drop"
    """Problems that ask for a proof and for no answer."""
    check_answer_agreement: bool = True
    """Drop problems whose answer is one number and whose solution ends in another."""


def clean(problems: Sequence[MathProblem], options: CleaningOptions) -> Preprocessed:
    """Normalise problems; those that fail a check of `CHECKS` come back with the first that they fail."""
    result = Preprocessed([], [])
    for original in problems:
        problem = normalize_problem(original)
        fault = first_fault(problem, options)
        if fault is None:
            result.problems.append(problem)
        else:
            result.rejections.append(Rejection(original, *fault))
    return result


def first_fault(problem: MathProblem, options: CleaningOptions) -> tuple[str, str] | None:
    """Reason and detail of the first check that a normalised problem fails."""
    for reason, check in CHECKS.items():
        detail = check(problem, options)
        if detail is not None:
            return reason, detail
    return None


def clean_texts(
    documents: Sequence[TextDocument], options: CleaningOptions
) -> tuple[list[TextDocument], list[tuple[TextDocument, str, str]]]:
    """The documents worth reading, normalised, and each other one with a reason (empty, short, not_english) and detail."""
    kept, rejected = [], []
    for document in documents:
        text = normalize_text(document.text)
        if not text:
            rejected.append((document, "empty", "the document has no text"))
        elif detail := _length(text, SHORTEST_TEXT):
            rejected.append((document, "short", detail))
        elif options.languages == "en" and (detail := _foreign(text)):
            rejected.append((document, "not_english", detail))
        else:
            kept.append(replace(document, text=text))
    return kept, rejected


def _length(text: str, least: int, most: float = math.inf) -> str | None:
    if least <= len(text) <= most:
        return None
    return f"{len(text)} characters, expected at " + (f"least {least}" if len(text) < least else f"most {most}")


ASYMPTOTE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)
_DELIMITER = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\(?:begin|end) ?\{[^{}]{1,40}\}|\\[^A-Za-z]|\$", re.DOTALL)
_PRICE = re.compile(r"\$ ?\.?\d[\d,.]*(?=[\s/]|$)")


def _unbalanced_braces(problem: MathProblem, options: CleaningOptions) -> str | None:
    for name, text in (("problem", problem.problem), ("solution", problem.solution)):
        text = re.sub(r"\\[\\{}]", "", text)
        if text.count("{") != text.count("}") and options.broken_latex == "drop":
            return f"the {name} opens {text.count('{')} braces and closes {text.count('}')}"
    return None


def _unbalanced_delimiters(problem: MathProblem, options: CleaningOptions) -> str | None:
    for name, text in (("problem", problem.problem), ("solution", problem.solution)):
        if options.broken_latex == "keep" or not ("\\" in text or re.search(r"\$[A-Za-z]", text)):
            continue  # dollar signs alone are money
        text = ASYMPTOTE.sub("", text)
        count = Counter(mark.replace(" ", "") for mark in _DELIMITER.findall(text))
        if count["$"] % 2 and not _PRICE.search(text):
            return f"the {name} has {count['$']} dollar signs, one without a partner"
        environments = sorted({mark[mark.index("{") :] for mark in count if mark.startswith((r"\begin", r"\end"))})
        partners = [(rf"\begin{environment}", rf"\end{environment}") for environment in environments]
        for opening, closing in ((r"\(", r"\)"), (r"\[", r"\]"), (r"\left", r"\right"), *partners):
            if count[opening] != count[closing]:
                return f"the {name} has {count[opening]} {opening} and {count[closing]} {closing}"
    return None


# Cyrillic to the scripts of East Asia; not Greek, which is mathematics.
_OTHER_SCRIPT = re.compile(
    "[\u0400-\u1dff\u3040-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc\uff66-\uffdc\U00020000-\U0003ffff]"
)
_ENGLISH = frozenset(
    "the of and to that what which how many find are if let by from each has have with when is in for all be was than were can "
    "he she they at there".split()
)
# German, French, Spanish, Italian, Portuguese, Dutch: common words that English texts do not use (a die is English).
_FOREIGN = frozenset(
    "der das und ist ein eine von mit für nicht auf dem den les est et une dans pour que du sont soit el los las una por con "
    "para es del il che di della sono um uma os dos são não het een voor zijn".split()
)


def _foreign(text: str) -> str | None:
    if not text.isascii():
        letters, others = sum(map(str.isalpha, text)), len(_OTHER_SCRIPT.findall(text))
        if others > 0.2 * letters:
            return f"{others} of {letters} letters are of another script"
    plain = re.sub(r"\$[^$]*\$|\\[A-Za-z]+", " ", ASYMPTOTE.sub("", text))
    words = re.findall(r"[^\W\d_]{2,}", plain.lower())
    english, foreign = (sum(word in common for word in words) for common in (_ENGLISH, _FOREIGN))
    if foreign > max(2, english) or (len(words) >= 25 and english < 0.04 * len(words)):
        return f"of {len(words)} words {english} are common English ones, {foreign} of other languages"
    return None


# A table may be all that was shown.
_DRAWING = re.compile(r"\[asy\]|\\draw\b|\\begin ?\{(?:tikz|asy|pspicture|picture|array|tabular|[a-z]?matrix)")
_PICTURE = r"(?:figure|diagram|picture|drawing|image|graph|grid|sketch|illustration|map)s?"
_SHOWN = r"(?:shown|pictured|depicted|illustrated)"
_FIGURE = re.compile(
    r"!\[|\[img\b|<img\b|<image|\\includegraphics"
    r"|\b(?:(?:in|see|from|on) (?:the |this |these |given |adjoining |plane |left |right |above ){1,3}(?:figure|diagram)s?"
    r"|in diagram|in figure \d|see (?:the )?(?:figure|diagram|picture)|the (?:figure|diagram|picture) shows"
    rf"|{_PICTURE} (?:(?:is|are|as) )?(?:(?:below|above)(?! (?:the|his|her|a)\b)|at (?:the )?(?:right|left)|{_SHOWN})"
    rf"|(?:following|accompanying|attached|adjacent|adjoining) {_PICTURE}"
    rf"|{_SHOWN} (?:below |above )?(?:in|on|by) (?:the|this) (?:\w+ )?{_PICTURE}"
    r"|(?:region|area|shape|solid|lattice|board|square|rectangle|triangle|polygon|hexagon|quadrilateral|circle|cube)s?"
    r" (?:\$[^$]{1,30}\$ )?(?:shown|pictured|depicted))\b",
    re.IGNORECASE,
)
# One of these is in each of its matches, and is found ten times as quickly.
_HINTS = "figure diagram picture drawing image graph grid sketch illustrat map shown depicted ![ [img <im".split()
_AS_SHOWN = re.compile(r"\bas (?:is )?shown\b|\b(?:shown|pictured|depicted) (?:below|above|here|at)\b", re.IGNORECASE)
_WRITTEN_OUT = re.compile(r"\||\b(?:table|array|pattern|rows?|list|sequence|series|equations?|data)\b", re.IGNORECASE)


def _missing_figure(problem: MathProblem, options: CleaningOptions) -> str | None:
    text = problem.problem
    lower = text.lower() if options.missing_figures == "drop" else ""
    if not any(hint in lower for hint in _HINTS) or _DRAWING.search(text):
        return None
    found = _FIGURE.search(text) or (None if _WRITTEN_OUT.search(text) else _AS_SHOWN.search(text))
    return f"says {found[0]!r} and has no drawing" if found else None


_OPTION = re.compile(r"(?<![\w)'(])(\(?) ?([A-C]) ?([).])(?![\w$^_])")
_LETTER = re.compile(r"[^\w\\]*(?:\\[a-z]+)?[^\w\\]*[A-F][^\w\\]*")
_ASKS_FOR_LETTER = re.compile(r"\b(?:enter|express|give|write) (?:your answer as|the letter)|should be a letter", re.IGNORECASE)


def _multiple_choice(problem: MathProblem, options: CleaningOptions) -> str | None:
    if options.multiple_choice == "keep":
        return None
    text = ASYMPTOTE.sub("", problem.problem)
    found: dict[tuple[str, str], str] = {}
    for opening, letter, closing in _OPTION.findall(re.sub(r"\\q?quad", " ", text)):
        letters = found.get((opening, closing), "") + letter
        if letters == "ABC":
            return f"lists its answers as {opening}A{closing} {opening}B{closing} {opening}C{closing}"
        if "ABC".startswith(letters):
            found[opening, closing] = letters
    if len(problem.answer) < 30 and _LETTER.fullmatch(problem.answer) and _ASKS_FOR_LETTER.search(text):
        return f"asks for a letter, the answer is {problem.answer}"
    return None


_PROVE = re.compile(r"\b(?:prove|show|verify|demonstrate) (?:\w+ )?that\b|\bprove:|\bprove the\b", re.IGNORECASE)
_ASKS = re.compile(
    r"\?|\b(?:find|compute|determine|evaluate|calculate|how many|what|which|give|express|solve|simplify|estimate|minimum|"
    r"maximum|least|smallest|largest|greatest)\b",
    re.IGNORECASE,
)
_PROOF = re.compile(r"(?:\\text)?\W*(?:see |the )*(?:proof|proved|proven|solution|qed|q\.e\.d)\W*", re.IGNORECASE)


def _proof_only(problem: MathProblem, options: CleaningOptions) -> str | None:
    if options.proofs == "keep":
        return None
    if _PROOF.fullmatch(problem.answer):
        return f"the answer is {problem.answer!r}"
    asked = _PROVE.search(problem.problem)
    return f"says {asked[0]!r} and asks for no answer" if asked and not _ASKS.search(problem.problem) else None


_DECORATION = re.compile(r"\\(?:left|right|text(?:bf)?|mathrm|mathbf|boxed)(?![A-Za-z])|\\[ ,;:!]|[\s${}()]")
_FRACTION = re.compile(r"\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d))")
_NUMBER = re.compile(r"([+-]?)(\d*\.?\d+|\d+\.)(?:/(\d+)|(?:e|\\times10\^|\\cdot10\^)([+-]?\d{1,3}))?")


def _number(answer: str) -> Fraction | None:
    """The answer as a number, if it is no more than that.

    >>> _number(r"$\\frac12$") == _number("0.5") == _number(r"5 \\times 10^{-1}") == Fraction(1, 2)
    True
    """
    plain = _FRACTION.sub(lambda part: f"{part[1] or part[2]}/{part[3] or part[4]}", answer) if len(answer) < 100 else ""
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _DECORATION.sub("", plain)).rstrip(".")
    found = _NUMBER.fullmatch(plain)
    if found is None or not int(found[3] or 1):
        return None
    return Fraction(found[1] + found[2]) / int(found[3] or 1) * Fraction(10) ** int(found[4] or 0)


def _answer_disagrees(problem: MathProblem, options: CleaningOptions) -> str | None:
    """Only for two numbers: what is no plain number may say the same in other words. Decimals may be rounded."""
    concluded = solution_answer(problem.solution) if options.check_answer_agreement else None
    if not concluded or concluded == problem.answer:
        return None
    ours, theirs = _number(problem.answer), _number(concluded)
    rounding = Fraction(1, 100) if "." in problem.answer + concluded else 0
    if ours is not None and theirs is not None and abs(ours - theirs) > rounding * abs(theirs):
        return f"the answer is {problem.answer}, the solution ends in {concluded}"
    return None


CHECKS: dict[str, Callable[[MathProblem, CleaningOptions], str | None]] = {
    "empty_problem": lambda it, _: None if it.problem else "the problem has no text",
    "short_problem": lambda it, options: _length(it.problem, options.min_problem_characters),
    "long_problem": lambda it, options: _length(it.problem, 0, options.max_problem_characters),
    "empty_solution": lambda it, options: (
        None if it.solution or not options.require_solution else "the problem has no solution"
    ),
    "long_solution": lambda it, options: _length(it.solution, 0, options.max_solution_characters),
    "no_answer": lambda it, options: (
        None if it.answer or not options.require_answer else r"no answer is given, and the solution has no \boxed{} or ####"
    ),
    "unbalanced_braces": _unbalanced_braces,
    "unbalanced_delimiters": _unbalanced_delimiters,
    "not_english": lambda it, options: _foreign(it.problem) if options.languages == "en" else None,
    "missing_figure": _missing_figure,
    "multiple_choice": _multiple_choice,
    "proof_only": _proof_only,
    "answer_disagrees": _answer_disagrees,
}
"""In the order in which they are tried: what is wrong with a normalised problem, or None."""

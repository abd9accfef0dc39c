"""Reads the numbers of a problem back from its LaTeX, so that tests can solve it another way than the generator did."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_INNERMOST_FRACTION = re.compile(r"\\frac\{([^{}]*)\}\{([^{}]*)\}")


def python_of(latex: str) -> str:
    """LaTeX as a Python expression over fractions.

    >>> python_of(r"2\\frac{1}{3} - 4 \\cdot k(k+1)")
    '(F(2)+((F(1))/(F(3)))) - F(4) * k*(k+F(1))'
    """
    text = latex.replace(r"\left", "").replace(r"\right", "")
    text = re.sub(r"\^\{(\w+)\}", r"^(\1)", text)  # an exponent in braces would hide the end of a fraction
    text = re.sub(r"_\{?(n\+[12]|n|\d+)\}?", lambda match: "_" + match[1].replace("+", "plus"), text)
    text = re.sub(r"(\d)\\frac\{(\d+)\}\{(\d+)\}", r"(\1+((\2)/(\3)))", text)  # a mixed number
    while "\\frac" in text:
        text = _INNERMOST_FRACTION.sub(r"((\1)/(\2))", text)
    text = text.replace(r"\times", "*").replace(r"\cdot", "*").replace(r"\div", "/").replace("^", "**")
    text = re.sub(r"(?<![\w_])(\d+)(?=[ak(n])(?!nplus)", r"\1*", text)  # 3a_n, 2k, 5(...)
    text = re.sub(r"(?<=\bk)\(|(?<=\))\(", "*(", text)  # k(k+1), (...)(...)
    return re.sub(r"(?<![\w.])(\d+)", r"F(\1)", text)


def value(latex: str, **names: Fraction | int) -> Fraction:
    """What an expression is worth."""
    return Fraction(eval(python_of(latex), {"F": Fraction}, names))


def integers(text: str) -> list[int]:
    """The numbers of a text, in order."""
    return [int(number) for number in re.findall(r"\d+", text)]


def formulas(text: str) -> list[str]:
    """What stands between dollar signs."""
    return re.findall(r"\$([^$]*)\$", text)


def simplest(approximation: Fraction) -> Fraction:
    """The fraction with a small denominator that is meant by a close approximation."""
    return approximation.limit_denominator(10**7)


def expanded(terms: str, joined_by: str = "+") -> list[str]:
    r"""All parts of a sum or product that is written with dots: its numbers change by the same steps.

    >>> expanded(r"1 \cdot 3 + 2 \cdot 4 + \cdots + 5 \cdot 7")
    ['1 \\cdot 3', '2 \\cdot 4', '3 \\cdot 5', '4 \\cdot 6', '5 \\cdot 7']
    """
    head, last = terms.split(rf" {joined_by} \cdots {joined_by} ") if joined_by else terms.split(r" \cdots ")
    first, second = head.split(f" {joined_by} ")[:2] if joined_by else re.findall(r"\\left.*?\\right\)", head)[:2]
    start, end = integers(first), integers(last)
    steps = [b - a for a, b in zip(start, integers(second), strict=True)]
    parts, now = [], start
    for _ in range(1_000):
        numbers = iter(now)
        parts.append(re.sub(r"\d+", lambda match: str(next(numbers)), first))  # noqa: B023
        if now == end:
            return parts
        now = [number + step for number, step in zip(now, steps, strict=True)]
    raise AssertionError(f"{terms} does not reach its end")


def first_that(check: Callable[[int], bool], start: int = 1, end: int = 20_000) -> int:
    """The one whole number that passes; there must not be another one."""
    found = [number for number in range(start, end) if check(number)]
    assert len(found) == 1, f"expected one solution, found {found[:3]}"
    return found[0]

"""Small pieces of English and LaTeX that the families share."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from random import Random
from typing import TypeVar

from olympiad.data.claims import latex_of

Phrasing = TypeVar("Phrasing")

NAMES = "Ada Ben Chloe Dan Elif Farah Goran Hana Ivan Jun Kofi Lena Mateo Nora Omar Priya Quinn Rosa Sven Tara".split()


def one_of(random: Random, *phrasings: Phrasing) -> Phrasing:
    """One of several ways to say the same."""
    return random.choice(phrasings)


def ask(random: Random, wanted: str) -> str:
    """A question for ``wanted``: "What is the area of the circle?", "Find the area of the circle." or the like."""
    return random.choice((f"What is {wanted}?", f"Find {wanted}.", f"Determine {wanted}.", f"Compute {wanted}."))


def names(random: Random, count: int) -> list[str]:
    """Different first names."""
    return random.sample(NAMES, count)


def latex(value: Fraction | int) -> str:
    """A number in LaTeX: an integer, or a fraction with its sign in front.

    >>> latex(Fraction(-3, 4)), latex(Fraction(4, 2))
    ('-\\\\frac{3}{4}', '2')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def polynomial(coefficients: Iterable[int | Fraction], variable: str = "x") -> str:
    """A polynomial in LaTeX, highest power first in ``coefficients``.

    >>> polynomial([1, -5, 6]), polynomial([-1, 0, 2]), polynomial([0])
    ('x^2 - 5x + 6', '-x^2 + 2', '0')
    """
    coefficients = list(coefficients)
    text = ""
    for place, coefficient in enumerate(coefficients):
        power = len(coefficients) - 1 - place
        if coefficient == 0:
            continue
        sign = ("-" if not text else " - ") if coefficient < 0 else ("" if not text else " + ")
        size = abs(Fraction(coefficient))
        number = "" if size == 1 and power > 0 else latex(size)
        letter = (
            "" if power == 0 else variable if power == 1 else f"{variable}^{{{power}}}" if power > 9 else f"{variable}^{power}"
        )
        text += sign + number + letter
    return text or "0"


def claim_polynomial(coefficients: Iterable[int | Fraction], variable: str = "x") -> str:
    """The same polynomial as a claim reads it.

    >>> claim_polynomial([1, -5, 6])
    '(1)*x^2 + (-5)*x^1 + (6)*x^0'
    """
    coefficients = list(coefficients)
    degree = len(coefficients) - 1
    return " + ".join(f"({coefficient})*{variable}^{degree - place}" for place, coefficient in enumerate(coefficients))


def listed(items: Iterable[object]) -> str:
    """Items with commas and "and".

    >>> listed([1, 2, 3]), listed(["a", "b"])
    ('1, 2 and 3', 'a and b')
    """
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def sentence(text: str) -> str:
    """The text with a capital first letter.

    >>> sentence("the price of a bicycle")
    'The price of a bicycle'
    """
    return text[:1].upper() + text[1:]


def ordinal(number: int) -> str:
    """A place in a row.

    >>> ordinal(2), ordinal(11), ordinal(23)
    ('2nd', '11th', '23rd')
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def signed(terms: Iterable[int | Fraction]) -> str:
    """Terms as a sum, for a claim or for :func:`formula`.

    >>> signed([-1, Fraction(1, 2), -3])
    '-1 + 1/2 - 3'
    """
    text = " ".join(f"{'-' if term < 0 else '+'} {abs(term)}" for term in terms)
    return text[2:] if text.startswith("+") else text.replace("- ", "-", 1)


def formula(expression: str) -> str:
    """An expression, written as in a claim, in LaTeX.

    >>> formula("(r - 2)*(s - 2)/3")
    '\\\\frac{(r - 2)(s - 2)}{3}'
    """
    return latex_of(f"{expression} = 0").removesuffix(" = 0")

"""Claims such as ``"3*(x + 2) = 3*x + 6"``, decided exactly, without ``eval`` and without tolerance, and their LaTeX.

Grammar, loosest first; every character has to be consumed::

    claim    sum (relation sum)+            relation: = != < <= > >=   ("a = b = c" is a chain)
    sum      product (("+" | "-") product)*
    product  unary (("*" | "/") unary)*
    unary    ("-" | "+") unary | power
    power    factorial ("^" unary)?
    factorial atom "!"*
    atom     integer | decimal | variable | name "(" sum ("," sum)* ")" | "(" sum ")"

Functions: ``mod(a, b)``, ``gcd``, ``lcm``, ``binom(n, k)``, ``floor``, ``abs``, ``min``, ``max``, ``sqrt`` (of a perfect
square of a rational; of anything else the claim can't be decided, and is an error).

An equation with variables is an identity. It is tested at enough points to be one: more than its degree in each.
"""

from __future__ import annotations

import math
import operator
import random
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

Value = Fraction | int  # whole numbers stay int: an identity is then decided four times as fast

_TOKEN = re.compile(r"\s*(\d+\.\d+|\d+|[A-Za-z_]\w*|<=|>=|!=|[-+*/^!(),=<>])")
_RELATIONS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
MAX_EXPONENT = 10_000


class ClaimError(ValueError):
    """A claim that can't be read or decided."""


def _integers(*values: Value) -> list[int]:
    if any(value.denominator != 1 for value in values):
        raise ClaimError(f"expected whole numbers, got {', '.join(map(str, values))}")
    return [int(value) for value in values]


def _square_root(value: Value) -> Value:
    if value < 0:
        raise ClaimError(f"the square root of {value} is not real")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise ClaimError(f"the square root of {value} is irrational: claim its square instead")
    return root


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "mod": lambda a, b: a - b * (a // b),
    "gcd": lambda *values: Fraction(math.gcd(*_integers(*values))),
    "lcm": lambda *values: Fraction(math.lcm(*_integers(*values))),
    "binom": lambda n, k: Fraction(math.comb(*_integers(n, k))),
    "floor": lambda a: Fraction(a // 1),
    "abs": abs,
    "min": min,
    "max": max,
    "sqrt": _square_root,
}


def _power(base: Value, exponent: Value) -> Value:
    (whole,) = _integers(exponent)
    if abs(whole) > MAX_EXPONENT:
        raise ClaimError(f"the exponent {whole} is too large")
    if base == 0 and whole < 0:
        raise ClaimError("division by zero")
    return base**whole if whole >= 0 else Fraction(base) ** whole


def _quotient(left: Value, right: Value) -> Value:
    if right == 0:
        raise ClaimError("division by zero")
    return Fraction(left, right)


#: A parsed expression: ("+", left, right), ("neg", inner), ("group", inner), ("number", "12"), ("call", "gcd", a, b), ...
Tree = tuple[Any, ...]
Link = tuple[Tree, str, Tree]


class _Parser:
    """Recursive descent; each method returns the tree of what it read."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, position = text, [], 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise ClaimError(f"can't read {text[position:].strip()[:20]!r} in the claim {text!r}")
            self.tokens.append(match[1])
            position = match.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise ClaimError(f"expected {expected or 'more'}, got {token or 'the end'} in the claim {self.text!r}")
        self.at += 1
        return token

    def claim(self) -> list[Link]:
        links, left = [], self.sum()
        while self.peek() in _RELATIONS:
            relation, right = self.take(), self.sum()
            links.append((left, relation, right))
            left = right
        if not links or self.at != len(self.tokens):
            raise ClaimError(f"{self.text!r} is no claim: expected a relation between two expressions")
        return links

    def sum(self) -> Tree:
        return self._left_to_right(self.product, "+-")

    def product(self) -> Tree:
        return self._left_to_right(self.unary, "*/")

    def _left_to_right(self, part: Callable[[], Tree], operators: str) -> Tree:
        left = part()
        while self.peek() and self.peek() in operators:
            left = (self.take(), left, part())
        return left

    def unary(self) -> Tree:
        if self.peek() in ("-", "+"):
            sign, inner = self.take(), self.unary()
            return ("neg", inner) if sign == "-" else inner
        return self.power()

    def power(self) -> Tree:
        base = self.factorial()
        if self.peek() == "^":
            self.take()
            return ("^", base, self.unary())
        return base

    def factorial(self) -> Tree:
        inner = self.atom()
        while self.peek() == "!":
            self.take()
            inner = ("!", inner)
        return inner

    def atom(self) -> Tree:
        token = self.take()
        if token == "(":
            inner = self.sum()
            self.take(")")
            return ("group", inner)
        if token[0].isdigit():
            return ("number", token)
        if not token.isidentifier():
            raise ClaimError(f"expected a number or a variable, got {token!r} in the claim {self.text!r}")
        if self.peek() != "(" or token not in _FUNCTIONS:
            return ("variable", token)
        self.take("(")
        arguments = [self.sum()]
        while self.peek() == ",":
            self.take()
            arguments.append(self.sum())
        self.take(")")
        return ("call", token, *arguments)


def _factorial(value: Value) -> Value:
    (whole,) = _integers(value)
    if not 0 <= whole <= 1_000:
        raise ClaimError(f"the factorial of {whole} is out of range")
    return math.factorial(whole)


_OPERATORS: dict[str, Callable[..., Value]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "^": _power,
    "!": _factorial,
    "neg": operator.neg,
    "group": lambda inner: inner,
}


def _value(tree: Tree, at: Mapping[str, Value]) -> Value:
    kind = tree[0]
    if kind == "number":
        return Fraction(tree[1]) if "." in tree[1] else int(tree[1])
    if kind == "variable":
        return at[tree[1]]
    if kind == "call":
        arguments = [_value(argument, at) for argument in tree[2:]]
        try:
            return Fraction(_FUNCTIONS[tree[1]](*arguments))
        except (TypeError, ValueError) as error:
            raise ClaimError(f"{tree[1]} of {', '.join(map(str, arguments))}: {error}") from error
    return _OPERATORS[kind](*(_value(part, at) for part in tree[1:]))


def _variables(tree: Tree) -> set[str]:
    if tree[0] == "variable":
        return {tree[1]}
    return {name for part in tree[1:] if isinstance(part, tuple) for name in _variables(part)}


@lru_cache(maxsize=1)
def _points() -> list[int]:
    return [(-1) ** place * point for place, point in enumerate(random.Random("claims").sample(range(2, 10_000), 64))]


def holds(claim: str, **values: Value | int) -> bool:
    """Whether ``claim`` is true; with variables that have no value in ``values``, whether it is an identity.

    Identities are tested at 32 points, so an equation of polynomials of a degree under 32 in one variable is decided
    exactly, and one in several by the Schwartz-Zippel lemma with an error under (degree / 10,000)^32.

    Raises:
        ClaimError: the claim can't be read, or not be decided exactly.

    >>> holds("12*7 = 84"), holds("(x + 1)^2 = x^2 + 2*x + 1"), holds("(x + 1)^2 = x^2 + 1")
    (True, True, False)
    >>> holds("x^2 - 5*x + 6 = 0", x=2)
    True
    """
    links = _parsed(claim)
    at: dict[str, Value] = {name: Fraction(value) for name, value in values.items()}
    free = sorted({name for left, _, right in links for name in _variables(left) | _variables(right)} - set(at))
    if free and any(relation != "=" for _, relation, _ in links):
        raise ClaimError(f"{claim!r} has variables, and no number of points decides a relation other than =")
    points = _points()
    for number in range(32 if free else 1):
        at |= {name: points[(number * (place + 1) + 7 * place) % 64] for place, name in enumerate(free)}
        if not all(_RELATIONS[relation](_value(left, at), _value(right, at)) for left, relation, right in links):
            return False
    return True


@lru_cache(maxsize=16)  # a step is printed and checked: parsed once
def _parsed(claim: str) -> list[Link]:
    return _Parser(claim).claim()


def latex_of(claim: str) -> str:
    r"""A claim as it is written in a solution.

    >>> print(latex_of("2*(x + 3)/4 = 12*7^10 - 1"))
    \frac{2(x + 3)}{4} = 12 \cdot 7^{10} - 1
    """
    links = _parsed(claim)
    return _latex(links[0][0]) + "".join(f" {_SIGNS.get(relation, relation)} {_latex(right)}" for _, relation, right in links)


_SIGNS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne"}
_CALLS = {
    "mod": r"{} \bmod {}",
    "binom": r"\binom{{{}}}{{{}}}",
    "lcm": r"\operatorname{{lcm}}({}, {})",
    "floor": r"\left\lfloor {} \right\rfloor",
    "abs": r"\left|{}\right|",
    "sqrt": r"\sqrt{{{}}}",
}


def _latex(tree: Tree) -> str:
    kind, *parts = tree
    if kind in ("number", "variable"):
        return r"\pi" if parts[0] == "pi" else str(parts[0])
    if kind == "call":
        inside = parts[0] == "mod"  # the only one without brackets of its own
        arguments = [f"({_latex(part)})" if inside and part[0] in "+-" else _latex(part) for part in parts[1:]]
        return _CALLS[parts[0]].format(*arguments) if parts[0] in _CALLS else rf"\{parts[0]}({', '.join(arguments)})"
    if kind == "/":  # a fraction needs no brackets
        negative = parts[0][0] == "neg"
        above, below = (
            _latex(part[1] if part[0] == "group" else part) for part in ((parts[0][1] if negative else parts[0]), parts[1])
        )
        return rf"{'-' * negative}\frac{{{above}}}{{{below}}}"
    texts = [_latex(part) for part in parts]
    if kind == "group":
        return rf"\left({texts[0]}\right)" if r"\frac" in texts[0] else f"({texts[0]})"
    if kind == "^":
        return f"{texts[0]}^{texts[1]}" if len(texts[1]) == 1 else f"{texts[0]}^{{{texts[1]}}}"
    if kind == "*":
        dot = texts[1][0].isdigit() or parts[1][0] in ("/", "neg", "call") or texts[0][-1] == "!"
        if dot:
            return rf"{texts[0]} \cdot {texts[1]}"
        return texts[0] + " " * (texts[0].endswith(r"\pi") and texts[1][0].isalpha()) + texts[1]
    return {"neg": "-{}", "!": "{}!", "+": "{} + {}", "-": "{} - {}"}[kind].format(*texts)

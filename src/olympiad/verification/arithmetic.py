"""Numbers, exact as far as they go, then 50 digits; and the functions of them, bounded in size."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mpmath import MPContext

MAX_BITS = 60_000


MAX_SIZE = 20_000  # bits before or behind the point of an irrational number


MAX_FACTORIAL = 5_000


DIGITS = 50


Value = Any  # int, Fraction, mpf, mpc, or a list of rows


mp = MPContext()  # our own: the precision of mpmath's global one may be changed by anybody, at any time
mp.dps = DIGITS + 15


mpf, mpc = mp.mpf, mp.mpc


class UndecidableError(Exception):
    """The value does not exist, or computing it would take too much."""


def is_exact(value: Value) -> bool:
    return isinstance(value, int | Fraction)


def is_real(value: Value) -> bool:
    return not isinstance(value, mpc) or value.imag == 0


def to_mp(value: Value) -> Value:
    return (
        mpf(value.numerator) / value.denominator
        if isinstance(value, Fraction)
        else mpf(value)
        if isinstance(value, int)
        else value
    )


def plain(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        return int(value)
    return value


def bounded(value: Value) -> Value:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise UndecidableError("a number of too many digits")
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise UndecidableError("a number of too many digits")
    return value


def add(left: Value, right: Value) -> Value:
    if isinstance(left, list) or isinstance(right, list):
        if not (isinstance(left, list) and isinstance(right, list)) or [len(r) for r in left] != [len(r) for r in right]:
            raise UndecidableError("matrices of different shape")
        return [[add(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]
    return bounded(left + right) if is_exact(left) == is_exact(right) else to_mp(left) + to_mp(right)


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, list) and isinstance(right, list):
        if len(left[0]) != len(right):
            raise UndecidableError("matrices whose shapes do not fit")
        columns = list(zip(*right, strict=True))
        return [[_dot(row, column) for column in columns] for row in left]
    if isinstance(left, list) or isinstance(right, list):
        matrix, factor = (left, right) if isinstance(left, list) else (right, left)
        return [[multiply(factor, cell) for cell in row] for row in matrix]
    return bounded(left * right) if is_exact(left) == is_exact(right) else to_mp(left) * to_mp(right)


def _dot(row: Any, column: Any) -> Value:
    total: Value = 0
    for a, b in zip(row, column, strict=True):
        total = add(total, multiply(a, b))
    return total


def power(base: Value, exponent: Value) -> Value:
    """base^exponent: exact for whole exponents within bounds."""
    if isinstance(exponent, list):
        raise UndecidableError("a matrix as an exponent")
    if is_exact(exponent) and exponent.denominator == 1:
        exponent = int(exponent)
        if base == 0 and exponent <= 0:
            raise UndecidableError("zero to the power of zero or less")
        if is_exact(base):
            size = max(Fraction(base).numerator.bit_length(), Fraction(base).denominator.bit_length())
            if size > 1 and abs(exponent) * size > MAX_BITS:
                raise UndecidableError("a power of too many digits")
            return Fraction(base) ** exponent if exponent < 0 or isinstance(base, Fraction) else base**exponent
        if base and abs(exponent) * max(abs(mp.mag(base)), 1) > MAX_SIZE * 8:
            raise UndecidableError("a power of too many digits")
        return mp.power(base, exponent)
    if is_exact(base) and is_exact(exponent):
        root = exact_root(Fraction(base), exponent.denominator) if base >= 0 and exponent.denominator < 1000 else None
        if root is not None:
            return power(root, exponent.numerator)
    if base and exponent and mp.mag(to_mp(exponent)) + mp.mag(abs(mp.mag(to_mp(base))) + 1) > 16:
        raise UndecidableError("a power of too many digits")
    return mp.power(to_mp(base), to_mp(exponent))


def exact_root(value: Fraction, index: int) -> Fraction | int | None:
    """The rational root, if there is one; of a negative number where the index is odd."""
    if not 0 < index < 1000 or (value < 0 and index % 2 == 0):
        return None
    parts = []
    for part in (abs(value.numerator), value.denominator):
        guess = math.isqrt(part) if index == 2 else round(part ** (1 / index)) if part < 2**900 else -1
        found = next((root for root in (guess - 1, guess, guess + 1) if root >= 0 and root**index == part), None)
        if found is None:
            return None
        parts.append(found)
    return plain(Fraction(parts[0] if value >= 0 else -parts[0], parts[1]))


def matrix_power(base: list[list[Value]], exponent: Value) -> Value:
    if exponent == -1 and len(base) == len(base[0]) <= 6:
        return mp.inverse(mp.matrix([[to_mp(cell) for cell in row] for row in base])).tolist()
    if not (isinstance(exponent, int) and 1 <= exponent <= 100):
        raise UndecidableError("such a power of a matrix")
    result = base
    for _ in range(exponent - 1):
        result = multiply(result, base)
    return result


def determinant(matrix: Value) -> Value:
    if not isinstance(matrix, list) or len(matrix) != len(matrix[0]) or len(matrix) > 6:
        raise UndecidableError("the determinant of that")
    if len(matrix) == 1:
        return matrix[0][0]
    total: Value = 0
    for column, cell in enumerate(matrix[0]):
        minor = [[*row[:column], *row[column + 1 :]] for row in matrix[1:]]
        total = add(total, multiply((-1) ** column, multiply(cell, determinant(minor))))
    return total


def _whole(*values: Value) -> list[int]:
    if not all(is_exact(value) and value.denominator == 1 for value in values):
        raise UndecidableError("expected whole numbers")
    return [int(value) for value in values]


def _gcd(*values: Value) -> Value:
    if not all(map(is_exact, values)):
        raise UndecidableError("expected fractions")
    common = math.lcm(*(Fraction(value).denominator for value in values))
    return Fraction(math.gcd(*(int(value * common) for value in values)), common)


def _binomial(n: Value, k: Value) -> Value:
    if is_exact(n) and is_exact(k) and n.denominator == k.denominator == 1:
        if not 0 <= n <= 20_000:
            raise UndecidableError("a binomial coefficient of that size")
        return math.comb(int(n), int(k)) if k >= 0 else 0
    return mp.binomial(to_mp(n), to_mp(k))


def _floor(value: Value) -> Value:
    if is_exact(value):
        return value // 1
    if not is_real(value):
        raise UndecidableError("the floor of a complex number")
    close = mp.nint(mp.re(value))
    if abs(close - mp.re(value)) < mpf(10) ** -(DIGITS - 5):
        return int(close)
    return int(mp.floor(mp.re(value)))


def _modulo(left: Value, right: Value) -> Value:
    if right == 0 or not (is_exact(left) and is_exact(right)):
        raise UndecidableError("such a remainder")
    return left - right * (left // right)


def _log(value: Value, base: Value | None = None) -> Value:
    if value == 0:
        raise UndecidableError("the logarithm of zero")
    if base is not None and is_exact(base) and is_exact(value) and base not in (0, 1) and value > 0 and base > 0:
        guess = round(float(mp.log(to_mp(value)) / mp.log(to_mp(base))))
        if abs(guess) < 10_000 and power(base, guess) == value:
            return guess
    return mp.log(to_mp(value)) / (1 if base is None else mp.log(to_mp(base)))


_LARGE = frozenset("exp sinh cosh".split())
_WITH_POLES = frozenset("tan sec cot csc coth csch".split())


def _of_real(name: str) -> Callable[[Value], Value]:
    """A function of mpmath, bounded in size, without a value at its poles."""
    function = getattr(mp, name)

    def of(value: Value) -> Value:
        if name in _LARGE and abs(value) > MAX_SIZE:
            raise UndecidableError("a number of too many digits")
        result = function(to_mp(value))
        if abs(result) < mpf(10) ** -(DIGITS + 5):  # the sine of pi is 0
            return 0
        if name in _WITH_POLES and abs(result) > mpf(10) ** (DIGITS - 5):
            raise UndecidableError("it is infinite")
        return result

    return of


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def of(*values: Value) -> Value:
        if not all(map(is_real, values)):
            raise UndecidableError("the largest of complex numbers")
        return choose(values, key=lambda value: mp.re(to_mp(value)))

    return of


FUNCTION_VALUES: dict[str, Callable[..., Value]] = {
    **{name: _of_real(name) for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch exp arg".split()},
    **{f"arc{name}": _of_real(f"a{name}") for name in "sin cos tan cot sec csc sinh tanh".split()},
    "arcosh": _of_real("acosh"), "cis": lambda value: mp.exp(mpc(0, 1) * to_mp(value)), "arccosh": _of_real("acosh"),
    "log": _log, "ln": _log, "log10": lambda value: _log(value, 10), "logbase": _log, "abs": abs, "floor": _floor,
    "ceil": lambda value: -_floor(-value), "mod": _modulo, "gcd": _gcd, "binom": _binomial,
    "lcm": lambda *values: math.lcm(*_whole(*values)), "max": _extreme(max), "min": _extreme(min),
    "conj": lambda value: mp.conj(to_mp(value)),
    "Re": lambda value: mp.re(to_mp(value)), "Im": lambda value: mp.im(to_mp(value)),
    "sgn": lambda value: int(mp.sign(mp.re(to_mp(value)))), "sign": lambda value: int(mp.sign(mp.re(to_mp(value)))),
    "cbrt": lambda value: -mp.cbrt(-to_mp(value)) if is_real(value) and value < 0 else mp.cbrt(to_mp(value)),
    "sqrt": lambda value: mp.sqrt(to_mp(value)),
}  # fmt: skip


def same(left: Value, right: Value) -> bool:
    """Whether two values are one: exactly, or to DIGITS digits where one is irrational."""
    if isinstance(left, list) or isinstance(right, list):
        if not (isinstance(left, list) and isinstance(right, list)) or [len(r) for r in left] != [len(r) for r in right]:
            return False
        return all(same(a, b) for rows in zip(left, right, strict=True) for a, b in zip(*rows, strict=True))
    if is_exact(left) and is_exact(right):
        return bool(left == right)
    a, b = to_mp(left), to_mp(right)
    return bool(abs(a - b) <= mpf(10) ** -(DIGITS - 8) * max(abs(a), abs(b), mpf(10) ** -(DIGITS // 2)))

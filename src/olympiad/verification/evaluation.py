"""The value of an expression: exact integers and fractions as far as they go, then 50 digits; bounded in every way.

There is no ``eval`` here and no code is made from the text: a tree is walked, and each kind of node is computed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from mpmath import MPContext

from .parsing import Tree

MAX_BITS = 60_000
MAX_SIZE = 20_000  # bits before or behind the point of an irrational number
SECONDS = 0.7  # for one comparison
MAX_FACTORIAL = 5_000
MAX_TERMS = 2_000
MAX_OPERATIONS = 50_000
DIGITS = 50

Value = Any  # int, Fraction, mpf, mpc, or a list of rows

mp = MPContext()  # our own: the precision of mpmath's global one may be changed by anybody, at any time
mp.dps = DIGITS + 15
mpf, mpc = mp.mpf, mp.mpc


class UndecidableError(Exception):
    """The value does not exist, or computing it would take too much."""


_deadline = [math.inf]


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Within it, all evaluations together take no longer; what comes after raises UndecidableError."""
    before = _deadline[0]
    _deadline[0] = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline[0] = before


class Evaluator:
    """Values of trees where the variables have the values of ``at``.

    Args:
        at: a value for each variable; names that are not there raise.
        salt: functions that nobody defined have other values with another one.
    """

    def __init__(self, at: Mapping[str, Value] | None = None, salt: int = 0) -> None:
        self.at, self.salt = dict(at or {}), salt
        self.operations = 0

    def value(self, tree: Tree) -> Value:
        """The value: exact where it is rational, else with DIGITS digits.

        Raises:
            UndecidableError: it is undefined, infinite, or too large.
        """
        try:
            result = _plain(self._value(tree))
        except UndecidableError:
            raise
        except (ZeroDivisionError, ValueError, OverflowError, TypeError, mp.NoConvergence, NotImplementedError) as error:
            raise UndecidableError(f"it has no value ({error})") from error
        except RecursionError as error:
            raise UndecidableError("it is nested too deeply") from error
        for cell in [cell for row in result for cell in row] if isinstance(result, list) else [result]:
            if isinstance(cell, mpf | mpc) and not mp.isfinite(cell):
                raise UndecidableError("it is infinite or undefined")
        return result

    def _value(self, tree: Tree) -> Value:
        self.operations += 1
        if self.operations > MAX_OPERATIONS or time.monotonic() > _deadline[0]:
            raise UndecidableError("it takes too many steps")
        value = self._of_kind(tree)
        if isinstance(value, mpf | mpc) and value and mp.isfinite(value) and abs(mp.mag(value)) > MAX_SIZE:
            raise UndecidableError("a number of too many digits")
        return value

    def _of_kind(self, tree: Tree) -> Value:
        kind = tree[0]
        if kind == "number":
            return tree[1].numerator if tree[1].denominator == 1 else tree[1]
        if kind == "constant":
            if tree[1] == "infty":
                raise UndecidableError("it is infinite")
            return {"pi": mp.pi, "e": mp.e, "i": mpc(0, 1)}[tree[1]] * 1
        if kind == "variable":
            if tree[1] not in self.at:
                raise UndecidableError(f"{tree[1]} has no value")
            return self.at[tree[1]]
        return getattr(self, _METHODS.get(kind, "_unknown"))(tree)

    def _unknown(self, tree: Tree) -> Value:
        raise UndecidableError(f"a {tree[0]} has no value")

    def _dots(self, tree: Tree) -> Value:
        raise UndecidableError("dots have no value")

    def _negative(self, tree: Tree) -> Value:
        return multiply(-1, self._value(tree[1]))

    def _plus(self, tree: Tree) -> Value:
        return add(self._value(tree[1]), self._value(tree[2]))

    def _minus(self, tree: Tree) -> Value:
        return add(self._value(tree[1]), multiply(-1, self._value(tree[2])))

    def _times(self, tree: Tree) -> Value:
        return multiply(self._value(tree[1]), self._value(tree[2]))

    def _over(self, tree: Tree) -> Value:
        left, right = self._value(tree[1]), self._value(tree[2])
        if isinstance(right, list):
            raise UndecidableError("division by a matrix")
        if right == 0 or (not _exact(right) and abs(right) < mpf(10) ** -(DIGITS - 5)):
            raise UndecidableError("division by zero")
        return multiply(left, Fraction(1) / right if _exact(right) else 1 / right)

    def _raised(self, tree: Tree) -> Value:
        base, exponent = self._value(tree[1]), self._value(tree[2])
        if isinstance(base, list):
            return _matrix_power(base, exponent)
        return power(base, exponent)

    def _root(self, tree: Tree) -> Value:
        inner, index = self._value(tree[1]), self._value(tree[2])
        if index == 0:
            raise UndecidableError("a root of index zero")
        if _exact(inner) and _exact(index) and index.denominator == 1:
            exact = _exact_root(Fraction(inner), int(index))
            if exact is not None:
                return exact
        if _real(inner) and inner < 0 and index % 2 == 1:
            return -mp.root(-_number(inner), int(index))
        return mp.power(_number(inner), 1 / _number(index))

    def _factorial(self, tree: Tree) -> Value:
        inner = self._value(tree[1])
        if _exact(inner) and inner.denominator == 1:
            if not 0 <= inner <= MAX_FACTORIAL:
                raise UndecidableError(f"the factorial of {inner}")
            return math.factorial(int(inner)) if tree[0] == "factorial" else math.prod(range(int(inner), 0, -2))
        if abs(inner) > MAX_FACTORIAL or tree[0] != "factorial":
            raise UndecidableError("the factorial of a large number")
        return mp.gamma(inner + 1)

    def _degree(self, tree: Tree) -> Value:
        return multiply(self._value(tree[1]), mp.pi / 180)

    def _matrix(self, tree: Tree) -> Value:
        return [[self._value(cell) for cell in row] for row in tree[1]]

    def _transpose(self, tree: Tree) -> Value:
        inner = self._value(tree[1])
        return [list(row) for row in zip(*inner, strict=True)] if isinstance(inner, list) else inner

    def _call(self, tree: Tree) -> Value:
        arguments = [self._value(argument) for argument in tree[2]]
        if tree[1] == "det":
            return _determinant(arguments[0])
        if any(isinstance(argument, list) for argument in arguments) or tree[1] not in _FUNCTIONS:
            raise UndecidableError(f"{tree[1]} of that")
        return _FUNCTIONS[tree[1]](*arguments)

    def _apply(self, tree: Tree) -> Value:
        """A function that nobody defined has some value, the same for the same arguments."""
        arguments = [self._value(argument) for argument in tree[2]]
        if any(isinstance(argument, list) for argument in arguments):
            raise UndecidableError("a function of a matrix")
        name = f"{tree[1]}({','.join(mp.nstr(_number(argument), 25) for argument in arguments)})"
        value = arbitrary(f"{self.salt}:{name}" if self.salt else name)
        return -value * 40 if self.salt % 2 else value

    def _repeated(self, tree: Tree) -> Value:
        kind, variable, lower, upper, body = tree
        first = self._value(lower)
        if upper == ("constant", "infty"):
            return self._series(kind, variable, first, body)
        last = self._value(upper)
        if not (_exact(first) and _exact(last)) or first.denominator != 1 or last.denominator != 1:
            raise UndecidableError("a sum between bounds that are not whole")
        if last - first > MAX_TERMS:
            raise UndecidableError(f"a sum of {last - first} terms")
        total: Value = 0 if kind == "sum" else 1
        outside = self.at.get(variable)
        for index in range(int(first), int(last) + 1):
            self.at[variable] = index
            total = add(total, self._value(body)) if kind == "sum" else multiply(total, self._value(body))
        self._restore(variable, outside)
        return total

    def _restore(self, variable: str, outside: Value) -> None:
        if outside is None:
            self.at.pop(variable, None)
        else:
            self.at[variable] = outside

    def _series(self, kind: str, variable: str, first: Value, body: Tree) -> Value:
        if kind != "sum":
            raise UndecidableError("an infinite product")
        outside = self.at.get(variable)

        def term(index: Value) -> Value:
            self.at[variable] = int(index)
            return _number(self._value(body))

        for index in (400, 800):  # nsum finds values for series that have none
            if abs(term(index)) * index > mpf(1) / 100:
                raise UndecidableError("a series that may not converge")
        total = mp.nsum(term, [int(first), mp.inf], maxterms=500, tol=mpf(10) ** -(DIGITS - 10))
        self._restore(variable, outside)
        return total

    def _limit(self, tree: Tree) -> Value:
        _, variable, point, body = tree
        if "apply" in str(body):
            raise UndecidableError("a limit of a function that nobody knows")
        outside = self.at.get(variable)

        def function(at: Value) -> Value:
            self.at[variable] = at
            return _number(self._value(body))

        infinite = point == ("constant", "infty")
        where = mp.inf if infinite else _number(self._value(point))
        result = mp.limit(function, where)
        near = (mpf(10) ** 8, mpf("2.3e8")) if infinite else (where + mpf(10) ** -8, where - mpf(10) ** -8)
        if any(abs(function(at) - result) > mpf(10) ** -4 * (1 + abs(result)) for at in near):
            raise UndecidableError("a limit that may not exist")
        self._restore(variable, outside)
        close = mp.nint(result * 10**12) / 10**12
        return close if abs(close - result) < mpf(10) ** -15 else result


_METHODS = {
    "+": "_plus", "-": "_minus", "*": "_times", "/": "_over", "^": "_raised", "root": "_root", "negative": "_negative",
    "factorial": "_factorial", "factorial2": "_factorial", "degree": "_degree", "matrix": "_matrix", "call": "_call",
    "transpose": "_transpose", "apply": "_apply", "sum": "_repeated", "prod": "_repeated", "lim": "_limit", "dots": "_dots",
}  # fmt: skip


def arbitrary(name: str) -> Value:
    """Some number between 1/2 and 3 that belongs to a name."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return mpf(int.from_bytes(digest, "big")) / 2**128 * 5 / 2 + mpf(1) / 2


def _exact(value: Value) -> bool:
    return isinstance(value, int | Fraction)


def _real(value: Value) -> bool:
    return not isinstance(value, mpc) or value.imag == 0


def _number(value: Value) -> Value:
    return (
        mpf(value.numerator) / value.denominator
        if isinstance(value, Fraction)
        else mpf(value)
        if isinstance(value, int)
        else value
    )


def _plain(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        return int(value)
    return value


def _bounded(value: Value) -> Value:
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
    return _bounded(left + right) if _exact(left) == _exact(right) else _number(left) + _number(right)


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, list) and isinstance(right, list):
        if len(left[0]) != len(right):
            raise UndecidableError("matrices whose shapes do not fit")
        columns = list(zip(*right, strict=True))
        return [[_dot(row, column) for column in columns] for row in left]
    if isinstance(left, list) or isinstance(right, list):
        matrix, factor = (left, right) if isinstance(left, list) else (right, left)
        return [[multiply(factor, cell) for cell in row] for row in matrix]
    return _bounded(left * right) if _exact(left) == _exact(right) else _number(left) * _number(right)


def _dot(row: Any, column: Any) -> Value:
    total: Value = 0
    for a, b in zip(row, column, strict=True):
        total = add(total, multiply(a, b))
    return total


def power(base: Value, exponent: Value) -> Value:
    """base^exponent: exact for whole exponents within bounds."""
    if isinstance(exponent, list):
        raise UndecidableError("a matrix as an exponent")
    if _exact(exponent) and exponent.denominator == 1:
        exponent = int(exponent)
        if base == 0 and exponent <= 0:
            raise UndecidableError("zero to the power of zero or less")
        if _exact(base):
            size = max(Fraction(base).numerator.bit_length(), Fraction(base).denominator.bit_length())
            if size > 1 and abs(exponent) * size > MAX_BITS:
                raise UndecidableError("a power of too many digits")
            return Fraction(base) ** exponent if exponent < 0 or isinstance(base, Fraction) else base**exponent
        if abs(exponent) * max(abs(mp.mag(base)), 1) > MAX_SIZE * 8:
            raise UndecidableError("a power of too many digits")
        return mp.power(base, exponent)
    if _exact(base) and _exact(exponent):
        root = _exact_root(Fraction(base), exponent.denominator) if base >= 0 and exponent.denominator < 1000 else None
        if root is not None:
            return power(root, exponent.numerator)
    if base and exponent and mp.mag(_number(exponent)) + mp.mag(abs(mp.mag(_number(base))) + 1) > 16:
        raise UndecidableError("a power of too many digits")
    return mp.power(_number(base), _number(exponent))


def _exact_root(value: Fraction, index: int) -> Fraction | int | None:
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
    return _plain(Fraction(parts[0] if value >= 0 else -parts[0], parts[1]))


def _matrix_power(base: list[list[Value]], exponent: Value) -> Value:
    if exponent == -1 and len(base) == len(base[0]) <= 6:
        return mp.inverse(mp.matrix([[_number(cell) for cell in row] for row in base])).tolist()
    if not (isinstance(exponent, int) and 1 <= exponent <= 100):
        raise UndecidableError("such a power of a matrix")
    result = base
    for _ in range(exponent - 1):
        result = multiply(result, base)
    return result


def _determinant(matrix: Value) -> Value:
    if not isinstance(matrix, list) or len(matrix) != len(matrix[0]) or len(matrix) > 6:
        raise UndecidableError("the determinant of that")
    if len(matrix) == 1:
        return matrix[0][0]
    total: Value = 0
    for column, cell in enumerate(matrix[0]):
        minor = [[*row[:column], *row[column + 1 :]] for row in matrix[1:]]
        total = add(total, multiply((-1) ** column, multiply(cell, _determinant(minor))))
    return total


def _whole(*values: Value) -> list[int]:
    if not all(_exact(value) and value.denominator == 1 for value in values):
        raise UndecidableError("expected whole numbers")
    return [int(value) for value in values]


def _gcd(*values: Value) -> Value:
    if not all(map(_exact, values)):
        raise UndecidableError("expected fractions")
    common = math.lcm(*(Fraction(value).denominator for value in values))
    return Fraction(math.gcd(*(int(value * common) for value in values)), common)


def _binomial(n: Value, k: Value) -> Value:
    if _exact(n) and _exact(k) and n.denominator == k.denominator == 1:
        if not 0 <= n <= 20_000:
            raise UndecidableError("a binomial coefficient of that size")
        return math.comb(int(n), int(k)) if k >= 0 else 0
    return mp.binomial(_number(n), _number(k))


def _floor(value: Value) -> Value:
    if _exact(value):
        return value // 1
    if not _real(value):
        raise UndecidableError("the floor of a complex number")
    close = mp.nint(mp.re(value))
    if abs(close - mp.re(value)) < mpf(10) ** -(DIGITS - 5):
        return int(close)
    return int(mp.floor(mp.re(value)))


def _modulo(left: Value, right: Value) -> Value:
    if right == 0 or not (_exact(left) and _exact(right)):
        raise UndecidableError("such a remainder")
    return left - right * (left // right)


def _log(value: Value, base: Value | None = None) -> Value:
    if value == 0:
        raise UndecidableError("the logarithm of zero")
    if base is not None and _exact(base) and _exact(value) and base not in (0, 1) and value > 0 and base > 0:
        guess = round(float(mp.log(_number(value)) / mp.log(_number(base))))
        if abs(guess) < 10_000 and power(base, guess) == value:
            return guess
    return mp.log(_number(value)) / (1 if base is None else mp.log(_number(base)))


def _of_real(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    def of(value: Value) -> Value:
        if abs(value) > MAX_SIZE and function in (mp.exp, mp.sinh, mp.cosh):
            raise UndecidableError("a number of too many digits")
        result = function(_number(value))
        if abs(result) < mpf(10) ** -(DIGITS + 5):  # the sine of pi is 0
            return 0
        if abs(result) > mpf(10) ** (DIGITS - 5) and function in (mp.tan, mp.sec, mp.cot, mp.csc, mp.sech, mp.csch, mp.coth):
            raise UndecidableError("it is infinite")
        return result

    return of


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def of(*values: Value) -> Value:
        if not all(map(_real, values)):
            raise UndecidableError("the largest of complex numbers")
        return choose(values, key=lambda value: mp.re(_number(value)))

    return of


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: _of_real(getattr(mp, name)) for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch exp arg".split()},
    **{f"arc{name}": _of_real(getattr(mp, f"a{name}")) for name in "sin cos tan cot sec csc sinh tanh".split()},
    "arcosh": _of_real(mp.acosh), "cis": _of_real(lambda value: mp.exp(mpc(0, 1) * value)), "arccosh": _of_real(mp.acosh),
    "log": _log, "ln": _log, "log10": lambda value: _log(value, 10), "logbase": _log, "abs": abs, "floor": _floor,
    "ceil": lambda value: -_floor(-value), "mod": _modulo, "gcd": _gcd, "binom": _binomial,
    "lcm": lambda *values: math.lcm(*_whole(*values)), "max": _extreme(max), "min": _extreme(min),
    "conj": lambda value: mp.conj(_number(value)),
    "Re": lambda value: mp.re(_number(value)), "Im": lambda value: mp.im(_number(value)),
    "sgn": lambda value: int(mp.sign(mp.re(_number(value)))), "sign": lambda value: int(mp.sign(mp.re(_number(value)))),
    "cbrt": lambda value: -mp.cbrt(-_number(value)) if _real(value) and value < 0 else mp.cbrt(_number(value)),
    "sqrt": lambda value: mp.sqrt(_number(value)),
}  # fmt: skip


def same(left: Value, right: Value) -> bool:
    """Whether two values are one: exactly, or to DIGITS digits where one is irrational."""
    if isinstance(left, list) or isinstance(right, list):
        if not (isinstance(left, list) and isinstance(right, list)) or [len(r) for r in left] != [len(r) for r in right]:
            return False
        return all(same(a, b) for rows in zip(left, right, strict=True) for a, b in zip(*rows, strict=True))
    if _exact(left) and _exact(right):
        return bool(left == right)
    a, b = _number(left), _number(right)
    return bool(abs(a - b) <= mpf(10) ** -(DIGITS - 8) * max(abs(a), abs(b), mpf(10) ** -(DIGITS // 2)))

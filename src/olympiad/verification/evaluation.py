"""The value of an expression: exact integers and fractions as far as they go, then 50 digits; bounded in every way.

There is no ``eval`` here and no code is made from the text: a tree is walked, and each kind of node is computed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from .arithmetic import (
    DIGITS,
    FUNCTION_VALUES,
    MAX_FACTORIAL,
    MAX_SIZE,
    UndecidableError,
    Value,
    add,
    determinant,
    exact_root,
    is_exact,
    is_real,
    matrix_power,
    mp,
    mpc,
    mpf,
    multiply,
    plain,
    power,
    to_mp,
)
from .expressions import Tree

SECONDS = 0.7  # for one comparison
MAX_TERMS = 2_000
MAX_OPERATIONS = 50_000


_deadline = [math.inf]


def clear_time_limit() -> None:
    _deadline[0] = math.inf


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """Within it, all evaluations together take no longer; what comes after raises UndecidableError."""
    before = _deadline[0]
    _deadline[0] = min(before, time.thread_time() + seconds)
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
            result = plain(self._value(tree))
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
        if self.operations > MAX_OPERATIONS or time.thread_time() > _deadline[0]:
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
        if right == 0 or (not is_exact(right) and abs(right) < mpf(10) ** -(DIGITS - 5)):
            raise UndecidableError("division by zero")
        return multiply(left, Fraction(1) / right if is_exact(right) else 1 / right)

    def _raised(self, tree: Tree) -> Value:
        base, exponent = self._value(tree[1]), self._value(tree[2])
        if isinstance(base, list):
            return matrix_power(base, exponent)
        return power(base, exponent)

    def _root(self, tree: Tree) -> Value:
        inner, index = self._value(tree[1]), self._value(tree[2])
        if index == 0:
            raise UndecidableError("a root of index zero")
        if is_exact(inner) and is_exact(index) and index.denominator == 1:
            exact = exact_root(Fraction(inner), int(index))
            if exact is not None:
                return exact
        if is_real(inner) and inner < 0 and index % 2 == 1:
            return -mp.root(-to_mp(inner), int(index))
        return mp.power(to_mp(inner), 1 / to_mp(index))

    def _factorial(self, tree: Tree) -> Value:
        inner = self._value(tree[1])
        if is_exact(inner) and inner.denominator == 1:
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
            return determinant(arguments[0])
        if any(isinstance(argument, list) for argument in arguments) or tree[1] not in FUNCTION_VALUES:
            raise UndecidableError(f"{tree[1]} of that")
        return FUNCTION_VALUES[tree[1]](*arguments)

    def _apply(self, tree: Tree) -> Value:
        """A function that nobody defined has some value, the same for the same arguments."""
        arguments = [self._value(argument) for argument in tree[2]]
        if any(isinstance(argument, list) for argument in arguments):
            raise UndecidableError("a function of a matrix")
        name = f"{tree[1]}({','.join(mp.nstr(to_mp(argument), 25) for argument in arguments)})"
        value = arbitrary(f"{self.salt}:{name}" if self.salt else name)
        return -value * 40 if self.salt % 2 else value

    def _repeated(self, tree: Tree) -> Value:
        kind, variable, lower, upper, body = tree
        first = self._value(lower)
        if upper == ("constant", "infty"):
            return self._series(kind, variable, first, body)
        last = self._value(upper)
        if not (is_exact(first) and is_exact(last)) or first.denominator != 1 or last.denominator != 1:
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
            return to_mp(self._value(body))

        for index in (400, 800):  # nsum finds values for series that have none
            if abs(term(index)) * index > mpf(1) / 100:
                raise UndecidableError("a series that may not converge")
        total = mp.nsum(term, [int(first), mp.inf], maxterms=500, tol=mpf(10) ** -(DIGITS - 10))
        self._restore(variable, outside)
        return total

    def _integral(self, tree: Tree) -> Value:
        _, variable, lower, upper, body = tree
        ends = [mp.inf if end == ("constant", "infty") else to_mp(self._value(end)) for end in (lower, upper)]
        outside = self.at.get(variable)

        def function(at: Value) -> Value:
            self.at[variable] = at
            return to_mp(self._value(body))

        result, error = mp.quad(function, ends, error=True)
        self._restore(variable, outside)
        if not error < mpf(10) ** -(DIGITS - 5):
            raise UndecidableError("an integral that can't be computed to enough digits")
        return result

    def _limit(self, tree: Tree) -> Value:
        _, variable, point, body = tree
        if "apply" in str(body):
            raise UndecidableError("a limit of a function that nobody knows")
        outside = self.at.get(variable)

        def function(at: Value) -> Value:
            self.at[variable] = at
            return to_mp(self._value(body))

        infinite = point == ("constant", "infty")
        where = mp.inf if infinite else to_mp(self._value(point))
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
    "transpose": "_transpose", "apply": "_apply", "sum": "_repeated", "prod": "_repeated", "lim": "_limit", "int": "_integral", "dots": "_dots",
}  # fmt: skip


def arbitrary(name: str) -> Value:
    """Some number between 1/2 and 3 that belongs to a name."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return mpf(int.from_bytes(digest, "big")) / 2**128 * 5 / 2 + mpf(1) / 2

"""Sets of real numbers as unions of intervals: what interval notation, inequalities and set builders have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .arithmetic import UndecidableError, Value, mp, mpf, multiply, same
from .evaluation import Evaluator
from .expressions import Tree, walk
from .parsing import Answer

INFINITY = mpf("inf")


@dataclass(frozen=True)
class Interval:
    low: Value
    low_closed: bool
    high: Value
    high_closed: bool


Intervals = list[Interval]
EVERYTHING: Intervals = [Interval(-INFINITY, False, INFINITY, False)]


def less(left: Value, right: Value) -> bool:
    """Strictly less, where nearly equal irrational numbers are equal."""
    if any(isinstance(value, mpf) and mp.isinf(value) for value in (left, right)):
        return bool(_as_mp(left) < _as_mp(right))
    return not same(left, right) and bool(_as_mp(left) < _as_mp(right))


def _as_mp(value: Value) -> Any:
    return mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def variables(tree: Any) -> set[str]:
    """Free variables of a tree; an applied function counts as one where nothing is free in it."""
    found: set[str] = set()
    bound: set[str] = set()

    def visit(part: Tree) -> None:
        if part[0] == "variable":
            found.add(part[1])
        elif part[0] in ("sum", "prod", "lim", "int"):
            bound.add(part[1])

    walk(tree, visit)
    return found - bound


def mentions(tree: Any, *kinds: str) -> bool:
    """Whether a tree of one of these kinds is in it."""
    found = False

    def visit(part: Tree) -> None:
        nonlocal found
        found = found or part[0] in kinds

    walk(tree, visit)
    return found


def unknowns(answer: Any) -> set[Tree]:
    """What relations are about: variables, and named values such as f(x)."""
    if not isinstance(answer, tuple | list):
        return set()
    if answer and answer[0] == "chain":
        return {atom for side in answer[1] for atom in _atoms(side)}
    return {atom for part in answer if isinstance(part, tuple | list) for atom in unknowns(part)}


def _atoms(side: Any) -> set[Tree]:
    if not isinstance(side, tuple):
        return set()
    if side and side[0] in ("variable", "apply"):
        return {side}
    return {atom for part in side if isinstance(part, tuple | list) for atom in _atoms(tuple(part))}


def endpoint(answer: Answer) -> Value:
    """A bound of an interval, which may be infinite."""
    if answer[0] != "expression":
        raise UndecidableError("a bound that is no number")
    tree = answer[1]
    sign = 1
    while tree[0] == "negative":
        sign, tree = -sign, tree[1]
    if tree == ("constant", "infty"):
        return sign * INFINITY
    if mentions(tree, "apply"):
        raise UndecidableError("a bound that nobody knows")
    value = Evaluator().value(tree)
    if isinstance(value, list) or (not isinstance(value, int | Fraction) and mp.im(value) != 0):
        raise UndecidableError("a bound that is no real number")
    return multiply(sign, value if isinstance(value, int | Fraction) else mp.re(value))


def normal(intervals: Sequence[Interval]) -> Intervals:
    """Sorted, without empty ones, touching ones joined."""
    kept = [i for i in intervals if less(i.low, i.high) or (same_end(i.low, i.high) and i.low_closed and i.high_closed)]
    kept.sort(key=lambda i: (float("-inf") if i.low == -INFINITY else _as_mp(i.low), not i.low_closed))
    result: Intervals = []
    for each in kept:
        before = result[-1] if result else None
        touches = before is not None and (
            less(each.low, before.high) or (same_end(each.low, before.high) and (each.low_closed or before.high_closed))
        )
        if before is None or not touches:
            result.append(each)
        elif less(before.high, each.high) or (same_end(before.high, each.high) and each.high_closed):
            result[-1] = Interval(before.low, before.low_closed, each.high, each.high_closed)
    return result


def same_end(left: Value, right: Value) -> bool:
    if any(isinstance(value, mpf) and mp.isinf(value) for value in (left, right)):
        return bool(_as_mp(left) == _as_mp(right))
    return same(left, right)


def intersection(left: Intervals, right: Intervals) -> Intervals:
    found = []
    for a in left:
        for b in right:
            low, low_closed = (a.low, a.low_closed) if less(b.low, a.low) else (b.low, b.low_closed)
            if same_end(a.low, b.low):
                low_closed = a.low_closed and b.low_closed
            high, high_closed = (a.high, a.high_closed) if less(a.high, b.high) else (b.high, b.high_closed)
            if same_end(a.high, b.high):
                high_closed = a.high_closed and b.high_closed
            found.append(Interval(low, low_closed, high, high_closed))
    return normal(found)


def complement(intervals: Intervals) -> Intervals:
    result, low, closed = [], -INFINITY, False
    for each in normal(intervals):
        result.append(Interval(low, closed, each.low, not each.low_closed))
        low, closed = each.high, not each.high_closed
    result.append(Interval(low, closed, INFINITY, False))
    return normal(result)


def equal(left: Intervals, right: Intervals) -> bool:
    a, b = normal(left), normal(right)
    return len(a) == len(b) and all(
        same_end(x.low, y.low) and same_end(x.high, y.high) and (x.low_closed, x.high_closed) == (y.low_closed, y.high_closed)
        for x, y in zip(a, b, strict=True)
    )


def as_intervals(answer: Answer) -> Intervals:
    """The real numbers that an answer describes.

    Raises:
        UndecidableError: it describes no set of reals, or one that can't be computed.
    """
    kind = answer[0]
    if kind == "brackets" and len(answer[2]) == 2 and answer[1] in "([" and answer[3] in ")]":
        low, high = map(endpoint, answer[2])
        if not less(low, high) and not (same_end(low, high) and answer[1] == "[" and answer[3] == "]"):
            raise UndecidableError("an interval that ends before it begins")
        return normal([Interval(low, answer[1] == "[", high, answer[3] == "]")])
    if kind == "set" or kind == "list":
        points = [endpoint(item) for item in answer[1]]
        return normal([Interval(point, True, point, True) for point in points])
    if kind == "union":
        return normal([*as_intervals(answer[1]), *as_intervals(answer[2])])
    if kind == "intersection":
        return intersection(as_intervals(answer[1]), as_intervals(answer[2]))
    if kind == "difference":
        return intersection(as_intervals(answer[1]), complement(as_intervals(answer[2])))
    if kind == "numbers" and answer[1] == "R":
        return EVERYTHING
    if kind in ("all", "any"):
        if len(answer[1]) > 60:
            raise UndecidableError("too many relations")
        sets = [as_intervals(item) for item in answer[1]]
        result = sets[0]
        for other in sets[1:]:
            result = intersection(result, other) if kind == "all" else normal([*result, *other])
        return result
    if kind == "builder":
        return as_intervals(answer[1])
    if kind == "labelled":
        return as_intervals(answer[2])
    if kind == "chain":
        return _chain(answer)
    if kind == "expression":
        point = endpoint(answer)
        return [Interval(point, True, point, True)]
    raise UndecidableError(f"a {kind} is no set of real numbers")


def _chain(answer: Answer) -> Intervals:
    sides, relations = answer[1], answer[2]
    if relations == ("in",):
        return as_intervals(sides[1])
    if relations == ("ne",) and sides[1][0] == "expression" and sides[1][1][0] in ("pm", "mp"):
        _, zero, size = sides[1][1]
        both = [("expression", (sign, zero, size)) for sign in ("+", "-")]
        return intersection(*(_solution(sides[0], "ne", bound) for bound in both))
    result = EVERYTHING
    for left, relation, right in zip(sides, relations, sides[1:], strict=False):
        result = intersection(result, _solution(left, relation, right))
    return result


_FLIPPED = {"<": ">", ">": "<", "le": "ge", "ge": "le", "=": "=", "ne": "ne"}


def _solution(left: Answer, relation: str, right: Answer) -> Intervals:
    """Solutions of one relation in one unknown: a variable, a named value such as f(x), |linear|, or up to quadratic."""
    if relation not in _FLIPPED or left[0] != "expression" or right[0] != "expression":
        raise UndecidableError("such a relation")
    a, b = left[1], right[1]
    if _atom(b) and not variables(a):
        a, b, relation = b, a, _FLIPPED[relation]
        left, right = right, left
    if _atom(a) and not variables(b):
        return _compared(endpoint(right), relation)
    for x, y, sign in ((a, b, relation), (b, a, _FLIPPED[relation])):
        if x[:2] == ("call", "abs") and not variables(y) and len(variables(x)) == 1:
            inner, bound = ("expression", x[2][0]), ("expression", y)
            inside = intersection(_solution(inner, sign, bound), _solution(("expression", ("negative", x[2][0])), sign, bound))
            if sign in ("<", "le"):
                return inside
            outside = normal([*_solution(inner, sign, bound), *_solution(("expression", ("negative", x[2][0])), sign, bound)])
            return outside
    return _polynomial(("-", a, b), relation)


def _atom(tree: Tree) -> bool:
    return tree[0] in ("variable", "apply") and (tree[0] == "variable" or bool(tree[2]))


def _compared(bound: Value, relation: str) -> Intervals:
    if relation in ("<", "le"):
        return [Interval(-INFINITY, False, bound, relation == "le")]
    if relation in (">", "ge"):
        return [Interval(bound, relation == "ge", INFINITY, False)]
    point = [Interval(bound, True, bound, True)]
    return point if relation == "=" else complement(point)


def _polynomial(tree: Tree, relation: str) -> Intervals:
    """Where a polynomial of degree one or two is positive, negative or zero."""
    names = variables(tree)
    if len(names) != 1:
        raise UndecidableError("a relation in several unknowns")
    (name,) = names
    at = [Evaluator({name: point}).value(tree) for point in range(6)]
    if not all(isinstance(value, int | Fraction) for value in at):
        raise UndecidableError("a relation that is no polynomial with rational coefficients")
    second = Fraction(at[2] - 2 * at[1] + at[0], 2)
    first = at[1] - at[0] - second
    if any(at[x] != at[0] + first * x + second * x * x for x in (3, 4, 5)):
        raise UndecidableError("a relation of degree above two")
    if second == 0:
        if first == 0:
            raise UndecidableError("a relation without an unknown")
        return _compared(-Fraction(at[0]) / first, relation if first > 0 else _FLIPPED[relation])
    discriminant = first * first - 4 * second * at[0]
    if discriminant < 0:
        positive = second > 0
        holds = (relation in (">", "ge", "ne")) == positive if relation in ("<", ">", "le", "ge") else relation == "ne"
        return EVERYTHING if holds else []
    root = Evaluator().value(("root", ("number", Fraction(discriminant), ""), ("number", Fraction(2), "2")))
    low, high = sorted((_half(first, root, sign, second) for sign in (-1, 1)), key=lambda value: float(_as_mp(value)))
    inside = (relation in ("<", "le")) == (second > 0)
    closed = relation in ("le", "ge", "=")
    if relation == "=":
        return normal([Interval(low, True, low, True), Interval(high, True, high, True)])
    if relation == "ne":
        return complement(normal([Interval(low, True, low, True), Interval(high, True, high, True)]))
    between = [Interval(low, closed, high, closed)]
    return normal(between) if inside else complement([Interval(low, not closed, high, not closed)])


def _half(first: Value, root: Value, sign: int, second: Fraction) -> Value:
    if isinstance(root, int | Fraction):
        return Fraction(-first + sign * root) / (2 * second)
    return (_as_mp(Fraction(-first)) + sign * root) / _as_mp(Fraction(2 * second))

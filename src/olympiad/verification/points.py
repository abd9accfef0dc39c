"""Are two expressions one function? Their values at points, and what points alone can't tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from .arithmetic import DIGITS, UndecidableError, Value, mp, mpc, mpf, same
from .evaluation import Evaluator, arbitrary
from .expressions import Tree, walk
from .intervals import mentions, variables

LEAST_POINTS = 2


#: Points at which expressions in variables are compared: positive, of both signs, then whole numbers.
_POINTS: tuple[tuple[Value, ...], ...] = (
    tuple(Fraction(n, 7) for n in (11, 16, 9, 23, 5, 13, 18, 26, 8, 19)),
    tuple(Fraction(n, 11) for n in (27, 8, 31, 14, 40, 19, 10, 29, 17, 25)),
    tuple(Fraction(n, 13) for n in (-7, 22, -31, 17, 41, -11, 8, -28, 19, -5)),
    tuple(Fraction(n, 17) for n in (-29, -13, 35, -46, 21, 9, -38, 12, -25, 44)),
    (3, 5, 4, 7, 6, 2, 9, 8, 11, 10),
    (6, 2, 7, 3, 9, 5, 4, 11, 8, 12),
    (2, 9, 3, 8, 4, 7, 5, 6, 12, 13),
)


def values_at_points(gold: Tree, answer: Tree) -> Any:
    """Both values at each point where both have one, and one of them is real only if both are."""
    names = sorted(variables(gold) | variables(answer))
    if mentions(gold, "dots") or mentions(answer, "dots"):
        gold, answer = _without_dots(gold), _without_dots(answer)
    complex_names = (
        (set(names) if "conj" in _called((gold, answer)) else {"z", "w"}) & set(names)
        if mentions((gold, answer), "call") and _of_complex((gold, answer))
        else set()
    )
    for number, point in enumerate(
        _POINTS + (_FAR_POINTS if _PIECES & _called((gold, answer)) or mentions((gold, answer), "root") else ())
    ):
        at = {name: point[place] if place < len(point) else arbitrary(f"{name}{number}") for place, name in enumerate(names)}
        at |= {name: mpc(arbitrary(f"re {name}{number}"), arbitrary(f"im {name}{number}")) for name in complex_names}
        try:
            left, right = Evaluator(at, number).value(gold), Evaluator(at, number).value(answer)
        except UndecidableError as error:
            if "too" in str(error):
                raise
            continue
        if not complex_names and _all_real(left) != _all_real(right):
            if ("abs" in _called(gold)) != ("abs" in _called(answer)):
                raise UndecidableError("a logarithm or root of a size against one of the number itself")
            continue
        yield left, right


def zeros_differ(gold: Tree, answer: Tree) -> bool:
    """Whether a real zero of one, found by secants, is none of the other: equations that are not proportional may be one set."""
    names = sorted(variables(gold) | variables(answer))
    for tree, other in ((gold, answer), (answer, gold)):
        for point in _POINTS[:4]:
            at = {name: point[place] if place < len(point) else arbitrary(name) for place, name in enumerate(names)}
            for name in sorted(variables(tree)):
                start = as_mp(at[name])
                try:
                    zero = mp.findroot(lambda x: as_mp(Evaluator({**at, name: x}).value(tree)), (start, start + 1), maxsteps=30)  # noqa: B023
                    if _is_real(zero) and abs(as_mp(Evaluator({**at, name: mp.re(zero)}).value(other))) > 1e-10:
                        return True
                except UndecidableError as error:
                    if "too" in str(error):
                        raise
                except (ValueError, ZeroDivisionError, TypeError):
                    continue
    return False


_PIECES = {"abs", "floor", "ceil", "max", "min", "sgn", "sign", "mod", "gcd", "lcm"}


_FAR_POINTS: tuple[tuple[Value, ...], ...] = tuple(
    tuple(Fraction((-1) ** (place * (row + 1) // 2 + row) * (1811 + 977 * place), 1 + row) for place in range(10))
    for row in range(6)
)


def has_value(tree: Tree, names: Sequence[str]) -> bool:
    """Whether an expression has a value anywhere; dots have one if the terms around them do."""
    for number, point in enumerate(_POINTS):
        try:
            Evaluator(dict(zip(names, point, strict=False)), number).value(tree)
            return True
        except UndecidableError as error:
            if str(error) == "dots have no value":
                return True
    return False


def _called(tree: Any) -> set[str]:
    names: set[str] = set()

    def visit(part: Tree) -> None:
        if part[0] == "call":
            names.add(part[1])

    walk(tree, visit)
    return names


def _of_complex(tree: Any) -> bool:
    return bool(_called(tree) & {"abs", "Re", "Im", "conj", "arg"})


def check_pieces(gold: Tree, answer: Tree) -> None:
    """Floors, maxima and the like can agree at any points and differ elsewhere: both sides must have the same ones."""
    pieces: list[list[Tree]] = [[], []]
    for tree, found in zip((gold, answer), pieces, strict=True):

        def visit(part: Tree, found: list[Tree] = found) -> None:
            if (
                part[0] == "call"
                and part[1] in _PIECES - {"abs", "gcd", "lcm"}
                and (variables(part) or mentions(part, "apply"))
            ):
                found.append(part)

        walk(tree, visit)
    for one, other in (pieces, pieces[::-1]):
        for piece in one:
            if not any(
                piece[1] == partner[1]
                and len(piece[2]) == len(partner[2])
                and all(_agree(a, b) for a, b in zip(sorted(piece[2], key=str), sorted(partner[2], key=str), strict=True))
                for partner in other
            ):
                raise UndecidableError(f"a {piece[1]} on one side only")


def multiplies_vectors(tree: Any) -> bool:
    """Whether two arrows are multiplied: which product is meant is not clear."""
    found = False

    def visit(part: Tree) -> None:
        nonlocal found
        arrows = [side for side in part[1:] if part[0] == "*" and _arrows(side)]
        found = found or len(arrows) > 1

    walk(tree, visit)
    return found


def _arrows(tree: Any) -> bool:
    return any(name.startswith(("vec(", "overrightarrow(")) for name in variables(tree))


def still_same(gold: Tree, answer: Tree, left: Value, right: Value) -> bool:
    """Irrational values that agree to 42 digits are computed again to 200: 10^50 is not the root of 10^100 + 1."""
    exact = all(isinstance(value, int | Fraction) for value in (left, right))
    if (
        exact
        or isinstance(left, list)
        or isinstance(right, list)
        or mentions((gold, answer), "lim", "int")
        or _infinite_sum((gold, answer))
    ):
        return True
    with mp.workdps(230):
        one, other = (as_mp(Evaluator().value(tree)) for tree in (gold, answer))
        return bool(abs(one - other) <= mpf(10) ** -200 * max(abs(one), abs(other), mpf(10) ** -20))


def _infinite_sum(tree: Any) -> bool:
    return mentions(tree, "sum", "prod") and ("constant", "infty") in _parts(tree)


def _parts(tree: Any) -> set[Any]:
    found: set[Any] = set()
    walk(tree, lambda part: found.add(part) if len(part) == 2 else None)
    return found


def _all_real(value: Value) -> bool:
    return all(_is_real(cell) for row in value for cell in row) if isinstance(value, list) else _is_real(value)


def _is_real(value: Value) -> bool:
    return isinstance(value, int | Fraction) or abs(mp.im(value)) < mpf(10) ** -(DIGITS - 10)


def _without_dots(tree: Any) -> Any:
    """t_1 + t_2 + \\cdots + t_n as a sum, a product likewise, where the last term gives the first ones for n = 1, 2."""
    if not isinstance(tree, tuple):
        return tree
    if tree and tree[0] in ("+", "*", "-") and mentions(tree[1:], "dots"):
        operator = "*" if tree[0] == "*" else "+"
        terms = _flattened(tree, operator)
        if terms.count(("dots",)) == 1:
            place = terms.index(("dots",))
            first, last = terms[:place], terms[place + 1 :]
            if first and len(last) == 1 and not any(mentions(term, "dots") for term in (*first, *last)):
                return _repeated(first, last[0], operator)
        raise UndecidableError("dots whose rule is not clear")
    return tuple(_without_dots(part) for part in tree)


def _flattened(tree: Tree, operator: str) -> list[Tree]:
    if tree[0] == operator and len(tree) == 3:
        return [*_flattened(tree[1], operator), *_flattened(tree[2], operator)]
    return [tree]


def _repeated(first: Sequence[Tree], last: Tree, operator: str) -> Tree:
    names = sorted(variables(last) & {"n", "k", "m", "N"}, key="nkmN".index)
    for name, skipped, start in product(names, range(max(len(first) - 1, 1)), (1, 0, 2)):  # v in v (1 - a_1) (1 - a_2) ...
        own = first[skipped:]
        terms = [_at(last, name, ("number", Fraction(start + place), str(start + place))) for place in range(len(own))]
        if all(_agree(term, wanted) for term, wanted in zip(terms, own, strict=True)):
            index = ("variable", "index of dots")
            lower = ("number", Fraction(start), str(start))
            body = _at(last, name, index)
            result: Tree = ("sum" if operator == "+" else "prod", index[1], lower, ("variable", name), body)
            for factor in first[:skipped]:
                result = (operator, factor, result)
            return result
    raise UndecidableError("dots whose rule is not clear")


def _at(tree: Any, name: str, value: Tree) -> Any:
    if tree == ("variable", name):
        return value
    return tuple(_at(part, name, value) for part in tree) if isinstance(tree, tuple) else tree


def _agree(left: Tree, right: Tree) -> bool:
    names = sorted(variables(left) | variables(right))
    at = {name: arbitrary(name) for name in names}
    try:
        return same(Evaluator(at).value(left), Evaluator(at).value(right))
    except UndecidableError:
        return False


def as_mp(value: Value) -> Any:
    return (
        mpf(value.numerator) / value.denominator
        if isinstance(value, Fraction)
        else mpf(value)
        if isinstance(value, int)
        else value
    )

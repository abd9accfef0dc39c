"""Whether two parsed answers say the same. Exact where values are exact; what can't be decided is not called wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from typing import Any

from .arithmetic import UndecidableError, Value, mp, mpf, multiply, same
from .evaluation import Evaluator
from .expressions import Tree
from .intervals import Intervals, as_intervals, mentions, unknowns, variables
from .intervals import equal as equal_intervals
from .parsing import Answer
from .points import LEAST_POINTS, as_mp, check_pieces, has_value, multiplies_vectors, still_same, values_at_points, zeros_differ
from .units import MULTIPLES, parse_unit, stem

MAX_ELEMENTS = 150


@dataclass(frozen=True)
class Conventions:
    """What counts as the same without being so in mathematics; see ``docs/verification.md``."""

    ignore_missing_units: bool = True
    ignore_percent_sign: bool = True
    long_decimals: int = 10
    """A decimal of so many significant digits stands for the exact value that rounds to it; 0: never."""
    rounding: bool = False
    """A decimal answer is right when the gold rounds to it, or it to the gold's digits."""
    labels: bool = True
    """x = 5 is 5."""


class Comparison:
    """One comparison; ``rule`` says afterwards what decided."""

    def __init__(self, conventions: Conventions | None = None) -> None:
        self.conventions = conventions or Conventions()
        self.rule = "structure"

    # ------------------------------------------------------------------------------------------------ any answers

    def equal(self, gold: Answer, answer: Answer) -> bool:
        """Whether both say the same.

        Raises:
            UndecidableError: it can't be decided.
        """
        if gold == answer and gold[0] == "chain" and all(side[1][:1] == ("variable",) for side in gold[1]):
            self.rule = "the same relations"
            return True
        gold, answer = settled(gold), settled(answer)
        kinds = {gold[0], answer[0]}
        if "contradiction" in kinds:
            return self._contradiction(gold, answer)
        if "labelled" in kinds:
            return self._labelled(gold, answer)
        if kinds == {"equation"}:
            return self._equations(gold, answer)
        if "equation" in kinds:
            self.rule = "an equation is no value"
            return False
        if "words" in kinds:
            raise UndecidableError("words against mathematics")
        if "congruence" in kinds:
            return self._congruences(gold, answer)
        if kinds & _RANGES or self._interval_against_point(gold, answer):
            return self._ranges(gold, answer)
        if kinds & {"list", "set", "brackets"} or _has_sign_choice(gold) or _has_sign_choice(answer):
            return self._collections(gold, answer)
        if "ratio" in kinds:
            return self._ratios(gold, answer)
        if kinds & {"quantity", "percent"}:
            return self._quantities(gold, answer)
        if gold[0] == "numbers" or answer[0] == "numbers":
            return gold == answer
        return self.trees(gold[1], answer[1])

    def _contradiction(self, gold: Answer, answer: Answer) -> bool:
        """A false equation of numbers: wrong where no side of it is right, and not to be decided where one is."""
        if gold[0] == "contradiction" or any(self.equal(gold, side) for side in answer[1]):
            raise UndecidableError("an equation that is false")
        self.rule = "no side of a false equation"
        return False

    def _labelled(self, gold: Answer, answer: Answer) -> bool:
        if gold[0] == answer[0]:
            (_, left, value, whole), (_, right, other, _) = gold, answer
            renamed = _rename(left, right, other)
            if renamed is not None:
                self.rule = "equal values of one name"
                return self.equal(value, renamed)
            if _is_tuple(left) and _is_tuple(right):
                one, two = _each_named(gold), _each_named(answer)
                if one and two and {str(item[1]) for item in one} == {str(item[1]) for item in two}:
                    return self._any_order(one, two)
                return self.equal(value, other)
            if whole is not None and answer[3] is not None and variables(whole) & variables(answer[3]) and not _constant(value):
                return self._equations(("equation", whole), ("equation", answer[3]))
            if self.equal(value, other):
                raise UndecidableError("equal values under different names")
            return False
        labelled, other = (gold, answer) if gold[0] == "labelled" else (answer, gold)
        if other[0] == "list" and _is_tuple(labelled[1]):
            items, named = _elements(other), _each_named(labelled)
            if named and all(item[0] == "labelled" for item in items):
                return self._any_order(named, items)
        if other[0] == "congruence":
            self.rule = "one number is no class of numbers"
            return False
        if other[0] == "equation":
            if labelled[3] is None:
                return False
            return self._equations(("equation", labelled[3]), other)
        if not self.conventions.labels:
            raise UndecidableError("a named value against a bare one")
        self.rule = "the value that is named"
        return self.equal(labelled[2], other) if labelled is gold else self.equal(other, labelled[2])

    def _equations(self, gold: Answer, answer: Answer) -> bool:
        """Up to a constant factor other than zero."""
        self.rule = "one side minus the other, up to a factor"
        if self._proportional(gold[1], answer[1], positive=False):
            return True
        if not zeros_differ(gold[1], answer[1]):
            raise UndecidableError("equations that may have the same solutions")
        return False

    def _proportional(self, gold: Tree, answer: Tree, positive: bool) -> bool:
        ratios: list[Value] = []
        for left, right in values_at_points(gold, answer):
            if same(left, 0) or same(right, 0):
                if same(left, 0) and same(right, 0):
                    continue
                return False
            if isinstance(left, list) or isinstance(right, list):
                raise UndecidableError("an equation of matrices")
            exact = isinstance(left, int | Fraction) and isinstance(right, int | Fraction)
            ratios.append(Fraction(left) / Fraction(right) if exact else as_mp(left) / as_mp(right))
            if not same(ratios[0], ratios[-1]):
                return False
        if len(ratios) < LEAST_POINTS:
            raise UndecidableError("too few points at which both have values")
        return not positive or bool(mp.re(as_mp(ratios[0])) > 0)

    def _congruences(self, gold: Answer, answer: Answer) -> bool:
        self.rule = "congruence"
        sides = [each for each in (gold, answer) if each[0] == "congruence"]
        if len(sides) == 1:
            bare = answer if gold[0] == "congruence" else gold
            if bare[0] == "labelled" or bare[0] == "equation":
                return False  # one number is no class of numbers
            sides.append(("congruence", bare, sides[0][2], None))
        names = {each[3] for each in sides if each[3] is not None and each[3][0] == "variable"}
        if len(names) > 1:
            raise UndecidableError("congruences of different unknowns")
        moduli, classes = [], []
        for each in sides:
            modulus = Evaluator().value(each[2])
            if not isinstance(modulus, int) or modulus == 0:
                raise UndecidableError("a congruence to a modulus that is no whole number")
            moduli.append(abs(modulus))
            classes.append(_residues(each[1], each[3], abs(modulus)))
        common = math.lcm(*moduli)
        if common > MAX_MODULUS and moduli[0] != moduli[1]:
            raise UndecidableError("moduli that are too large to compare")
        if moduli[0] != moduli[1]:
            classes = [{r + k * m for r in found for k in range(common // m)} for found, m in zip(classes, moduli, strict=True)]
        return classes[0] == classes[1]

    # ---------------------------------------------------------------------------------------------------- ranges

    def _interval_against_point(self, gold: Answer, answer: Answer) -> bool:
        """Whether pairs in brackets are to be read as intervals: one of them has to be one."""
        pairs = [each for each in (gold, answer) if each[0] == "brackets" and len(each[2]) == 2]
        return any((each[1], each[3]) in (("(", "]"), ("[", ")")) or _infinite(each) for each in pairs)

    def _ranges(self, gold: Answer, answer: Answer) -> bool:
        self.rule = "sets of real numbers"
        about = [unknowns(each) for each in (gold, answer)]
        if max(map(len, about)) > 1:
            return self._relations(gold, answer)
        if all(about) and about[0] != about[1]:
            raise UndecidableError("relations of different unknowns")
        sides: list[Intervals] = []
        try:
            sides = [as_intervals(gold), as_intervals(answer)]
        except UndecidableError:
            if gold[0] == answer[0] == "chain":
                return self._inequalities(gold, answer)
            if gold[0] == answer[0] == "brackets":
                return (gold[1], gold[3]) == (answer[1], answer[3]) and self._in_order(gold[2], answer[2])
            if gold[0] == answer[0] and gold[0] in ("union", "intersection", "all", "any"):
                left, right = ((each[1:] if isinstance(each[1][0], str) else each[1]) for each in (gold, answer))
                return self._any_order(list(left), list(right))
            if gold[0] in ("numbers", "builder") and gold[0] == answer[0] and gold[1] == answer[1]:
                return True
            raise
        return equal_intervals(*sides)

    def _relations(self, gold: Answer, answer: Answer) -> bool:
        """Relations in several unknowns: each has its partner."""
        self.rule = "relations, one by one"
        if gold[0] in ("all", "any") or answer[0] in ("all", "any"):
            if gold[0] != answer[0]:
                raise UndecidableError("relations of different number")
            return self._any_order(list(gold[1]), list(answer[1]))
        if gold[0] == answer[0] == "chain":
            return self._inequalities(gold, answer)
        raise UndecidableError("relations in several unknowns")

    def _inequalities(self, gold: Answer, answer: Answer) -> bool:
        """The same relations in several unknowns: differences up to a positive factor."""
        self.rule = "inequalities, up to a positive factor"
        if not (unknowns(gold) or unknowns(answer)):  # numbers that are compared: the same numbers
            return gold[2] == answer[2] and self._in_order(gold[1], answer[1])
        if "ne" in gold[2] or "ne" in answer[2]:
            if gold[2] != answer[2] or len(gold[1]) != 2:
                raise UndecidableError("such relations")
            one, other = (("-", each[1][0][1], each[1][1][1]) for each in (gold, answer))
            return self._proportional(one, other, positive=False)
        left, right = _differences(gold), _differences(answer)
        if len(left) != len(right):
            raise UndecidableError("inequalities of different length")
        for order in permutations(right) if len(right) <= 4 else [tuple(right)]:
            if all(
                strict == other and self._proportional(tree, candidate, positive=True)
                for (tree, strict), (candidate, other) in zip(left, order, strict=True)
            ):
                return True
        return False

    # ------------------------------------------------------------------------------------------------ collections

    def _collections(self, gold: Answer, answer: Answer) -> bool:
        self.rule = "elements"
        tuples = [each[0] == "brackets" for each in (gold, answer)]
        if all(tuples):
            if (gold[1], gold[3]) != (answer[1], answer[3]) and len(gold[2]) == 2:
                self.rule = "different brackets"
                return False
            return self._in_order(gold[2], answer[2])
        if any(tuples):
            bracket, other = (gold, answer) if tuples[0] else (answer, gold)
            if other[0] == "expression" and _column(other) is not None:
                return self._in_order(bracket[2], _column(other) or ())
            if other[0] == "set" and len(other[1]) != 1:
                raise UndecidableError("a tuple against a set")
            if other[0] == "list":
                items = _elements(other)
                if len(items) != 1 and all(item[0] != "brackets" for item in items):
                    return self._in_order(bracket[2], items) if tuples[0] else self._in_order(items, bracket[2])
            elif other[0] not in ("set", "list"):
                if len(bracket[2]) == 1:
                    return self.equal(bracket[2][0], other)
                return False
        left, right = _elements(gold), _elements(answer)
        if gold[0] == "set" or answer[0] == "set":
            left, right = self._distinct(left), self._distinct(right)
        if 1 in (len(left), len(right)) and len(left) != len(right):  # "4/10 or 2/5" is one answer
            left, right = self._distinct(left), self._distinct(right)
        both_named = all(item[0] == "labelled" for item in [*left, *right])
        named = [item[0] == "labelled" for item in (*left, *right)]
        if any(named) and not both_named and all(item[0] == "labelled" for item in left) and len({str(i[1]) for i in left}) > 1:
            names = [str(item[1]) for item in left]
            if names != sorted(names):
                raise UndecidableError("named values against values whose order is not said")
            return self._in_order([item[2] for item in left], right)
        return self._any_order(left, right)

    def _in_order(self, left: Sequence[Answer], right: Sequence[Answer]) -> bool:
        return len(left) == len(right) and all(self._element(a, b) for a, b in zip(left, right, strict=True))

    def _any_order(self, left: Sequence[Answer], right: Sequence[Answer]) -> bool:
        if len(left) != len(right):
            return False
        if len(left) > MAX_ELEMENTS:
            raise UndecidableError(f"more than {MAX_ELEMENTS} elements")
        rest, undecided = list(right), None
        for item in left:
            for place, candidate in enumerate(rest):
                try:
                    found = self._element(item, candidate)
                except UndecidableError as error:
                    found, undecided = False, error
                if found:
                    del rest[place]
                    break
            else:
                if undecided is not None:
                    raise undecided
                return False
        return True

    def _element(self, left: Answer, right: Answer) -> bool:
        if "words" in (left[0], right[0]) or left == right == ("expression", ("dots",)):
            return left == right
        return self.equal(left, right)

    def _distinct(self, items: Sequence[Answer]) -> list[Answer]:
        if len(items) > MAX_ELEMENTS:
            raise UndecidableError(f"more than {MAX_ELEMENTS} elements")
        kept: list[Answer] = []
        for item in items:
            if not any(self._element(item, other) for other in kept):
                kept.append(item)
        return kept

    # ----------------------------------------------------------------------------------------------------- values

    def _ratios(self, gold: Answer, answer: Answer) -> bool:
        self.rule = "ratio"
        if gold[0] != answer[0]:
            ratio, other = (gold, answer) if gold[0] == "ratio" else (answer, gold)
            if len(ratio[1]) != 2 or other[0] != "expression":
                return False
            return self.trees(("/", *ratio[1]), other[1])
        left, right = gold[1], answer[1]
        if len(left) != len(right):
            return False
        if any(part == ("dots",) for part in (*left, *right)):
            return all(a == b if ("dots",) in (a, b) else self.trees(a, b) for a, b in zip(left, right, strict=True))
        return all(self.trees(("*", left[0], b), ("*", right[0], a)) for a, b in zip(left[1:], right[1:], strict=True))

    def _quantities(self, gold: Answer, answer: Answer) -> bool:
        if "percent" in (gold[0], answer[0]):
            self.rule = "percentage"
            percent, other = (gold, answer) if gold[0] == "percent" else (answer, gold)
            if gold[0] == answer[0]:
                return self.trees(gold[1], answer[1])
            if other[0] == "quantity":
                if stem(other[2]) not in ("percent", "percentage", "pct"):
                    raise UndecidableError("a percentage against a quantity with a unit")
                return self.trees(gold[1], answer[1])
            if self.conventions.ignore_percent_sign and self.trees(gold[1], answer[1]) and _above_one(percent[1]):
                return True  # 50% for 50; but half a percent is no half
            hundredth = ("/", percent[1], ("number", Fraction(100), "100"))
            return self.trees(hundredth, other[1]) if percent is gold else self.trees(other[1], hundredth)
        self.rule = "units"
        gold, answer = _with_letter_unit(gold, answer), _with_letter_unit(answer, gold)
        if gold[0] != answer[0]:
            quantity, bare = (gold, answer) if gold[0] == "quantity" else (answer, gold)
            if quantity[2] == "degree" and same_or_none(self, ("degree", quantity[1]), bare[1]):
                return True
            factor = _multiple(quantity[2])
            value = quantity[1] if factor == 1 else ("*", quantity[1], ("number", Fraction(factor), str(factor)))
            if not self.conventions.ignore_missing_units and parse_unit(quantity[2])[0]:
                raise UndecidableError("a unit on one side only")
            return self.trees(value, bare[1]) if quantity is gold else self.trees(bare[1], value)
        (dimensions, size, words), (other_dimensions, other_size, other_words) = parse_unit(gold[2]), parse_unit(answer[2])
        left, right = (
            ("*", each[1], ("number", scale * _multiple(each[2]), "")) for each, scale in ((gold, size), (answer, other_size))
        )
        if dimensions and other_dimensions and dimensions != other_dimensions:
            self.rule = "units that can't be converted into each other"
            return self._angles(gold, answer, dimensions, other_dimensions)
        if not dimensions or not other_dimensions:
            if bool(dimensions) != bool(other_dimensions) and (words or other_words):
                raise UndecidableError("a unit against a thing that is counted")
            left, right = gold[1], answer[1]
        if not self.trees(left, right):
            return False
        if not (words <= other_words or other_words <= words) and not (dimensions and other_dimensions):
            raise UndecidableError(f"equal numbers of different things ({' '.join(words)}, {' '.join(other_words)})")
        return True

    def _angles(self, gold: Answer, answer: Answer, left: dict[str, int], right: dict[str, int]) -> bool:
        if {*left, *right} != {"degree", "angle"}:
            return False
        trees = (("degree", each[1]) if (each is gold and "degree" in left) or (each is answer and "degree" in right) else each[1] for each in (gold, answer))  # fmt: skip
        return self.trees(*trees)

    def trees(self, gold: Tree, answer: Tree) -> bool:
        """Two expressions: one value, or one function."""
        signs = [_infinity(tree) for tree in (gold, answer)]
        if any(signs):
            self.rule = "infinity"
            return signs[0] == signs[1]
        names = variables(gold) | variables(answer)
        applied = mentions(gold, "apply") or mentions(answer, "apply")
        if not names and not applied and not mentions(gold, "dots"):
            self.rule = "exact value"
            left, right = Evaluator().value(gold), Evaluator().value(answer)
            if same(left, right):
                return still_same(gold, answer, left, right)
            return self._decimal(gold, answer, left, right)
        if gold == answer and has_value(gold, sorted(names)):
            self.rule = "the same expression"
            return True
        if multiplies_vectors(gold) or multiplies_vectors(answer):
            raise UndecidableError("products of vectors")
        check_pieces(gold, answer)
        self.rule = "values at points"
        found = 0
        for left, right in values_at_points(gold, answer):
            if not same(left, right):
                if self._renamed(gold, answer):
                    raise UndecidableError("the same expression in another letter")
                return False
            found += 1
        if found < LEAST_POINTS:
            raise UndecidableError("too few points at which both have values")
        return True

    def _renamed(self, gold: Tree, answer: Tree) -> bool:
        """Whether whole numbers k of one are called n in the other: k\\pi and n\\pi may be one family of solutions."""
        ours, theirs = variables(gold) - variables(answer), variables(answer) - variables(gold)
        if len(ours) != 1 or len(theirs) != 1 or not ours | theirs <= set("ijklmnpqst"):
            return False
        pairs = list(values_at_points(gold, _substituted(answer, {theirs.pop(): ours.pop()})))
        return bool(pairs) and all(same(left, right) for left, right in pairs)

    def _decimal(self, gold: Tree, answer: Tree, left: Value, right: Value) -> bool:
        """A long decimal for an exact value, in either place; a rounded one where the policy says so."""
        if isinstance(left, list) or isinstance(right, list):
            return False
        if not all(isinstance(value, int | Fraction) or mp.im(value) == 0 for value in (left, right)):
            return False
        if _decimal_digits(gold)[1] is not None and _decimal_digits(answer)[1] is not None and not self.conventions.rounding:
            return False  # two decimals are two numbers
        for tree, value, exact, is_gold in ((gold, left, right, True), (answer, right, left, False)):
            digits, unit = _decimal_digits(tree)
            if unit is None:
                continue
            if (
                self.conventions.long_decimals
                and digits >= 15
                and abs(as_mp(value) - as_mp(exact)) <= abs(as_mp(exact)) / 10**15
            ):
                self.rule = "as a computer prints it"
                return True
            enough = self.conventions.long_decimals and digits >= self.conventions.long_decimals
            if (enough or (self.conventions.rounding and (is_gold or _decimal_digits(gold)[1] is not None))) and abs(
                as_mp(value) - as_mp(exact)
            ) <= as_mp(unit) / 2 * (1 + mpf(10) ** -20):
                self.rule = "rounded to the digits given"
                return True
        return False


def same_or_none(comparison: Comparison, left: Tree, right: Tree) -> bool:
    try:
        return comparison.trees(left, right)
    except UndecidableError:
        return False


MAX_MODULUS = 5_000


def _residues(answer: Answer, left: Tree | None, modulus: int) -> set[int]:
    """The classes of the unknown: as they stand, or the solutions of a congruence for something else than a variable."""
    values = []
    for element in _elements(settled(answer)):
        if element[0] != "expression":
            raise UndecidableError("a congruence to something that is no number")
        values.append(Evaluator().value(element[1]))
    if not all(isinstance(value, int) for value in values):
        raise UndecidableError("a congruence of numbers that are not whole")
    if left is None or left[0] == "variable":
        return {value % modulus for value in values}
    names = variables(left)
    if len(names) != 1 or modulus > MAX_MODULUS:
        raise UndecidableError("a congruence that is not solved")
    (name,) = names
    solved = {x: Evaluator({name: x}).value(left) for x in range(modulus)}
    if not all(isinstance(value, int) for value in solved.values()):
        raise UndecidableError("a congruence of numbers that are not whole")
    return {x for x, value in solved.items() if any((value - wanted) % modulus == 0 for wanted in values)}


_RANGES = frozenset(("union", "intersection", "difference", "chain", "any", "all", "builder"))


def settled(answer: Answer) -> Answer:
    """Equations with a name on one side as named values; chains of equal numbers as the number."""
    if answer[0] != "chain":
        return ("expression", ("constant", "infty")) if answer == ("words", "infinity") else answer
    sides, relations = answer[1], answer[2]
    if relations == ("in",):
        return ("labelled", sides[0], sides[1], None) if _is_name(sides[0]) else answer
    if set(relations) == {"equiv"} and len(sides) == 2:
        relations = ("=",)
    if set(relations) != {"="}:
        return answer
    if all(map(_constant, sides)):
        return _one_value(sides)
    first, last = sides[0], sides[-1]
    if not _constant(last) and any(side[0] == "expression" and side[1][0] == "variable" for side in sides[1:-1]):
        raise UndecidableError("several names of one value")  # a = b = c says more than a = c
    if not _is_name(first) and _is_name(last) and len(sides) == 2:
        first, last = last, first
    difference = ("-", first[1], last[1]) if first[0] == last[0] == "expression" else None
    if _is_name(first) or (_constant(last) and len(sides) > 2):
        return ("labelled", first, settled(last), difference)
    if difference is None:
        raise UndecidableError("an equation of things that are no expressions")
    if _evaluates(first) and not variables(last):
        return settled(last)
    return ("equation", difference)


def _one_value(sides: Sequence[Answer]) -> Answer:
    """What a chain of numbers comes to, a unit at one of them being meant for all; else the sides, as a contradiction."""
    measured = [side for side in sides if side[0] == "quantity"]
    if len({side[2] for side in measured}) > 1 or (measured and any(side[0] == "percent" for side in sides)):
        raise UndecidableError("an equation of different things")
    plain = [("/", side[1], ("number", Fraction(100), "100")) if side[0] == "percent" else side[1] for side in sides]
    first_value = Evaluator().value(plain[0])
    if not all(same(first_value, Evaluator().value(tree)) for tree in plain[1:]):
        return ("contradiction", sides)
    return settled(measured[-1] if measured else sides[-1])


def _evaluates(answer: Answer) -> bool:
    return answer[0] == "expression" and not variables(answer[1]) and not mentions(answer[1], "apply")


def _constant(answer: Answer) -> bool:
    return answer[0] in ("expression", "quantity", "percent") and not variables(answer[1]) and not mentions(answer[1], "apply")


def _is_name(answer: Answer) -> bool:
    """A variable, f(x), (x, y), A:B: something that an answer is given to."""
    if answer[0] == "words":
        return True
    if answer[0] == "expression":
        tree = answer[1]
        if tree[0] in ("variable", "apply") or (mentions(tree, "apply") and not variables(tree)):  # f(9) - f(3)
            return True
        if tree[0] == "call" and tree[1] in ("min", "max", "abs", "det", "arg", "gcd", "lcm") and variables(tree):
            return False
        # AB, or P(x) read as a product
        return tree[0] == "*" and all(part[0] == "variable" for part in tree[1:]) and tree[1][1].isupper()
    if answer[0] == "ratio":
        return all(variables(tree) or mentions(tree, "apply") for tree in answer[1])
    return answer[0] == "brackets" and all(
        item[0] == "expression" and item[1][0] in ("variable", "apply") for item in answer[2]
    )


def _is_tuple(answer: Answer) -> bool:
    return bool(answer[0] == "brackets")


def _each_named(answer: Answer) -> list[Answer]:
    """(a, b) = (1, 2) as a = 1 and b = 2."""
    names, values = answer[1], answer[2]
    if values[0] != "brackets" or len(values[2]) != len(names[2]):
        return []
    return [("labelled", name, value, None) for name, value in zip(names[2], values[2], strict=True)]


def _stem(answer: Answer) -> str | None:
    """The x of x and x_1."""
    tree = answer[1]
    if answer[0] == "expression" and tree[0] == "variable":
        return str(tree[1])
    if answer[0] == "expression" and tree[0] == "apply" and len(tree[2]) == 1 and tree[2][0][0] == "number":
        return str(tree[1])
    return None


def _rename(left: Answer, right: Answer, value: Answer) -> Answer | None:
    """``value`` with the bound variables of the name ``right`` called as in ``left``; None where the names differ."""
    if left == right or (left[1][0] != right[1][0] and _stem(left) == _stem(right) is not None):
        return value
    if left[0] != "expression" or right[0] != "expression":
        return None
    a, b = left[1], right[1]
    if a[0] == "*" and b[0] == "*" and a[1] == b[1]:  # P(x) = ... and P(t) = ..., read as products
        return _substituted(value, {b[2][1]: a[2][1]})
    if a[0] != "apply" or b[0] != "apply" or a[1] != b[1] or len(a[2]) != len(b[2]):
        return None
    if not all(part[0] == "variable" for part in (*a[2], *b[2])):
        return value if a == b else None
    names = {new[1]: old[1] for old, new in zip(a[2], b[2], strict=True)}
    if (set(names.values()) - set(names)) & variables(value):
        return None  # f(t) = x does not speak of f(x)
    return _substituted(value, names)


def _substituted(tree: Any, names: dict[str, str]) -> Any:
    if isinstance(tree, tuple):
        if len(tree) == 2 and tree[0] == "variable":
            return ("variable", names.get(tree[1], tree[1]))
        return tuple(_substituted(part, names) for part in tree)
    return [_substituted(part, names) for part in tree] if isinstance(tree, list) else tree


def _has_sign_choice(answer: Answer) -> bool:
    return answer[0] in ("expression", "quantity", "percent") and (mentions(answer[1], "pm") or mentions(answer[1], "mp"))


def _elements(answer: Answer) -> list[Answer]:
    """The elements of a list or set, both signs of ± apart, every equation of one name as its value."""
    items = answer[1] if answer[0] in ("list", "set") else [answer]
    result: list[Answer] = []
    for item in map(settled, items):
        if item[0] == "brackets" and any(_has_sign_choice(part) for part in item[2]):
            for sign in (1, -1):
                parts = tuple(
                    (part[0], _signed(part[1], sign), *part[2:]) if _has_sign_choice(part) else part for part in item[2]
                )
                result.append(("brackets", item[1], parts, item[3]))
        elif _has_sign_choice(item):
            result += [(item[0], _signed(item[1], sign), *item[2:]) for sign in (1, -1)]
        elif item[0] == "labelled" and _has_sign_choice(item[2]):
            result += [(item[0], item[1], each, None) for each in _elements(item[2])]
        elif item[0] == "labelled" and item[2][0] == "list":
            result += item[2][1]
        else:
            result.append(item)
    return result


def _signed(tree: Any, sign: int) -> Any:
    if isinstance(tree, tuple):
        if tree and tree[0] in ("pm", "mp"):
            return ("+" if (tree[0] == "pm") == (sign == 1) else "-", _signed(tree[1], sign), _signed(tree[2], sign))
        return tuple(_signed(part, sign) for part in tree)
    return tree


def _column(answer: Answer) -> tuple[Answer, ...] | None:
    """The entries of a matrix of one column or one row."""
    tree = answer[1]
    if tree[0] != "matrix":
        return None
    rows = tree[1]
    if len(rows) == 1 or len(rows[0]) == 1:
        return tuple(("expression", cell) for row in rows for cell in row)
    return None


def _infinite(answer: Answer) -> bool:
    return any(item[0] == "expression" and _infinity(item[1]) for item in answer[2])


def _infinity(tree: Tree) -> int:
    """1 for infinity, -1 for minus infinity, 0 for everything else."""
    sign = 1
    while tree[0] == "negative":
        sign, tree = -sign, tree[1]
    return sign if tree == ("constant", "infty") else 0


def _differences(chain: Answer) -> list[tuple[Tree, bool]]:
    """Each relation as (difference that is positive or zero, whether strictly)."""
    found = []
    for left, relation, right in zip(chain[1], chain[2], chain[1][1:], strict=False):
        if left[0] != "expression" or right[0] != "expression" or relation not in ("<", ">", "le", "ge"):
            raise UndecidableError("such a relation")
        larger, smaller = (right, left) if relation in ("<", "le") else (left, right)
        found.append((("-", larger[1], smaller[1]), relation in ("<", ">")))
    return found


def _above_one(tree: Tree) -> bool:
    try:
        return bool(abs(as_mp(Evaluator().value(tree))) > 1)
    except (UndecidableError, TypeError):
        return True


def _with_letter_unit(answer: Answer, other: Answer) -> Answer:
    """2500 m beside a quantity is no product."""
    if answer[0] == "expression" and other[0] == "quantity" and answer[1][0] == "*":
        value, letter = answer[1][1:]
        if letter[0] == "variable" and letter[1] in ("m", "g", "s", "h", "L", "l") and not variables(value):
            return ("quantity", value, letter[1])
    return answer


def _multiple(unit: str) -> int:
    found = [MULTIPLES[stem(word)] for word in re.findall("[a-z]+", unit.casefold()) if stem(word) in MULTIPLES]
    return found[0] if found else 1


def _decimal_digits(tree: Tree) -> tuple[int, Fraction | None]:
    """Significant digits of a decimal literal (also times a power of ten) and the worth of its last digit; else None."""
    scale = Fraction(1)
    while tree[0] == "negative":
        tree = tree[1]
    if tree[0] == "*" and tree[2][0] == "^" and tree[2][1][:2] == ("number", 10):
        exponent = Evaluator().value(tree[2][2])
        if not isinstance(exponent, int) or abs(exponent) > 1000:
            return 0, None
        scale, tree = Fraction(10) ** exponent, tree[1]
        while tree[0] == "negative":
            tree = tree[1]
    if tree[0] != "number" or "." not in tree[2] or "e" in tree[2].lower():
        return 0, None
    whole, _, part = tree[2].partition(".")
    return len((whole + part).lstrip("0")), multiply(Fraction(1, 10 ** len(part)), scale)

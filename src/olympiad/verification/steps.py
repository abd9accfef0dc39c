"""Which step of a solution goes wrong: every claim that algebra can decide is decided, the others are left unchecked.

A step's formulas are split at their relations, and two neighbouring sides are one claim. Precision comes first: a claim
is ``wrong`` only where no usual reading of it holds (percent or plain, rounded or exact, degrees or numbers).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise, product
from typing import Any, Literal

from .arithmetic import UndecidableError, Value, mp, same
from .evaluation import Evaluator
from .expressions import Tree, walk
from .formulas import SIGNS, Chain, chains
from .intervals import less, variables
from .parsing import parse
from .points import LEAST_POINTS, values_at_points
from .tokens import NotUnderstoodError

Status = Literal["valid", "wrong", "unchecked"]
Judge = Callable[[str, Sequence[str], int], float | None]
MAX_STEPS, MAX_STEP_CHARACTERS, MAX_CHAINS, MAX_SIDES, MAX_SIDE_CHARACTERS = 400, 8_000, 60, 20, 300
MAX_SECONDS = 1.5  # for hostile texts; a solution takes milliseconds
_UNDECIDED = (UndecidableError, NotUnderstoodError, RecursionError, OverflowError, ValueError, MemoryError, TypeError)


@dataclass(frozen=True)
class Claim:
    """Two sides of a relation, and whether it holds."""

    text: str
    status: Status
    reason: str


@dataclass(frozen=True)
class StepCheck:
    """A step: wrong if one of its claims is, valid if one is decided and none wrong."""

    text: str
    status: Status
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class StepReport:
    """All steps; ``first_error`` is the index of the first wrong one, or None."""

    steps: tuple[StepCheck, ...]
    first_error: int | None

    @property
    def coverage(self) -> float:
        """Share of the steps that are not unchecked."""
        return sum(step.status != "unchecked" for step in self.steps) / max(1, len(self.steps))


def split_steps(solution: str) -> list[str]:
    """The steps of a solution: paragraphs, and lines that begin with a number, "Step" or a bullet.

    >>> split_steps("Step 1: 2 + 2 = 4.\\nStep 2: So it is 4.\\n\\nDone.")
    ['Step 1: 2 + 2 = 4.', 'Step 2: So it is 4.', 'Done.']
    """
    parts = re.split(r"\n(?=[ \t]*\n|[ \t]*(?:#{1,4} |\**[Ss]tep \d|\d{1,2}[.)] |[-*] ))", solution)
    return [part.strip() for part in parts if part.strip()]


def check_steps(problem: str, steps: str | Sequence[str], judge: Judge | None = None, threshold: float = 0.5) -> StepReport:
    """Which steps hold, which are wrong, and which can't be decided. It never raises on any text.

    Args:
        problem: the problem's text.
        steps: a solution, or its steps.
        judge: ``judge(problem, steps, index)`` is the probability that a step is right, or None; it is asked only about
            steps that algebra left unchecked.
        threshold: a step whose probability is below is wrong.

    >>> report = check_steps("", ["3 * 4 = 12.", "So 12 + 5 = 18."])
    >>> report.first_error, report.steps[1].claims[0].reason
    (1, '12+5 is 17, not 18')
    """
    texts = split_steps(steps) if isinstance(steps, str) else [str(step) for step in steps]
    facts, checked, deadline = _Facts(problem), [], time.monotonic() + MAX_SECONDS
    for index, text in enumerate(texts):
        claims = tuple(_claims(text, index, facts, deadline)) if index < MAX_STEPS else ()
        if judge is not None and all(claim.status == "unchecked" for claim in claims):
            chance = judge(problem, texts, index)
            if chance is not None and not 0 <= chance <= 1:
                raise ValueError(f"the judge gave step {index} {chance!r}, expected a probability or None")
            if chance is not None:
                claims += (Claim(text, "wrong" if chance < threshold else "valid", f"the judge gives it {chance:.2f}"),)
        found = {claim.status for claim in claims}
        status: Status = "wrong" if "wrong" in found else "valid" if "valid" in found else "unchecked"
        checked.append(StepCheck(text, status, claims))
    return StepReport(tuple(checked), next((i for i, step in enumerate(checked) if step.status == "wrong"), None))


_UNIT = r"(?:\\[,; ~]|~|\s)*(?:/\s*)?\\(?:text|mathrm|textrm|mbox|operatorname)\s*\{[^{}]*\}(?:\s*\^\s*(?:\{?-?\d\}?))?"
_UNITS = re.compile(rf"(?:(?<=[\d}})])|(?<=\\pi))(?:{_UNIT})+(?!\s*(?:[\d({{]|\\(?:d?frac|sqrt|text|pi)))")
_TEXT = re.compile(r"\\(?:text|mathrm|textrm|mbox)\s*\{([^{}]*)\}?")


class _Side:
    """One side of a relation, in each of its usual readings."""

    def __init__(self, text: str) -> None:
        text = " ".join(text[: MAX_SIDE_CHARACTERS + 1].split()).strip(" .,:;")
        while (text.endswith(")") and text.count(")") > text.count("(")) or (
            text[:1] == "(" and text.count("(") > text.count(")")
        ):
            text = text[:-1] if text.endswith(")") and text.count(")") > text.count("(") else text[1:]
        plain = re.sub(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text)
        plain = re.sub(r"!\s*(?=[\d(\\])", r"! \\cdot ", re.sub(r"\\?\$|\\[,;!:]|€|£", "", plain))
        plain = _UNITS.sub(" ", plain).strip()
        self.text, self.trees = " ".join(_TEXT.sub(r"\1", text).split()), list[Tree]()
        self.units = {word for words in _TEXT.findall(text) for word in words.split()}
        self.mixed = bool(re.search(r"\d\s*\\[dt]?frac|\d\s+\d|\\$", plain))
        self.literal = re.fullmatch(r"[-+({\s]*(?=[\d.])([\d,]*)(?:\.(\d+))?\s*(\\?%)?[)}\s]*", plain)
        if len(text) <= MAX_SIDE_CHARACTERS and re.search(r"\w", plain) and not _TEXT.search(plain) and "?" not in plain:
            for reading in dict.fromkeys((re.sub(r"(\d+(?:\.\d+)?)\s*\\?%", r"(\1/100)", plain), re.sub(r"\\?%", "", plain))):
                self._read(reading)
        self.names = frozenset[str]().union(*map(variables, self.trees))
        self.free = bool(self.trees) and not any(_mentions(tree, "apply", "dots") for tree in self.trees)
        self.letter = str(self.trees[0][1]) if self.trees and self.trees[0][0] == "variable" else ""
        self.constant = self.free and not self.names

    def _read(self, reading: str) -> None:
        try:
            answer = parse(reading)
        except _UNDECIDED:
            return
        if answer[0] in ("expression", "quantity") and not _mentions(answer[1], "lim", "infty", "compound"):
            tree = ("degree", answer[1]) if answer[2:] == ("degree",) else answer[1]
            self.trees += [tree, _without_degrees(tree)] if _mentions(tree, "degree") else [tree]

    @property
    def decimals(self) -> int | None:
        """Digits after the point of a bare number; None for anything else."""
        return len(self.literal[2] or "") + (2 if self.literal[3] else 0) if self.literal and self.trees else None


def _mentions(tree: Tree, *kinds: str) -> bool:
    found: list[bool] = []
    walk(tree, lambda part: found.append(part[0] in kinds or (part[0] in ("constant", "call") and part[1] in kinds)))
    return any(found)


def _without_degrees(tree: Any) -> Any:
    if not isinstance(tree, tuple):
        return tree
    return _without_degrees(tree[1]) if tree[:1] == ("degree",) else tuple(_without_degrees(part) for part in tree)


class _Facts:
    """What the problem and earlier steps established."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.last: tuple[str, _Side | None] | None = None  # the formula just before: name and last side; or its unknown
        self.equations: list[tuple[str, _Side, _Side]] = []  # of one unknown, the last few
        self.given: dict[str, list[tuple[int, Value]]] = {}  # values of names, with the step
        self.bound: set[frozenset[str]] = set()  # names between which an equation holds
        for chain in islice(chains(problem[:MAX_STEP_CHARACTERS]), MAX_CHAINS):
            sides = [_Side(side) for side in chain.sides[:MAX_SIDES]]
            self.learn(chain, sides, ["unchecked"] * (len(sides) - 1), 0)

    def learn(self, chain: Chain, sides: list[_Side], found: Sequence[str], step: int) -> None:
        """Take in a formula whose claims were found to be so."""
        self.last = None
        if set(chain.relations) != {"="} or chain.modulus:
            return
        self.last = None if chain.doubtful else (sides[0].text, sides[-1])
        if sides[0].letter and sides[-1].constant:
            try:
                value = Evaluator().value(sides[-1].trees[0])
            except _UNDECIDED:
                value = None  # several values, as in 1 ± 2
            self.given.setdefault(sides[0].letter, []).append((-1 if chain.doubtful else step, value))
        for (left, right), status in zip(pairwise(sides), found, strict=False):
            names = left.names | right.names
            if left.free and right.free and names and status == "unchecked":
                self.bound.add(names)
                solved = (left.letter and right.constant) or (right.letter and left.constant)
                if len(names) == 1 and not solved:
                    self.equations = [*self.equations[-7:], (next(iter(names)), left, right)]
                    self.last = (next(iter(names)), None) if self.last else None

    def value_of(self, name: str, step: int) -> Value:
        """The one value that a name was given, in this step or the one before; else None."""
        values = self.given.get(name, [])
        recent = values and step - 1 <= values[-1][0] and " " not in name
        return values[0][1] if recent and all(v is not None and same(v, values[0][1]) for _, v in values) else None


def _claims(text: str, index: int, facts: _Facts, deadline: float) -> Iterator[Claim]:
    text = text[:MAX_STEP_CHARACTERS]
    for chain in islice(chains(text) if time.monotonic() < deadline else (), MAX_CHAINS):
        sides, found = [_Side(side) for side in chain.sides[:MAX_SIDES]], []
        for place, (left, right) in enumerate(pairwise(sides)):
            if time.monotonic() > deadline:
                return
            # Equal expressions one after the other: one is rewritten. The first pair may be a condition on several names.
            rewriting = place > 0 or (len(sides) > 2 and len(left.names) == 1)
            found.append(_claim(left, chain.relations[place], right, chain, rewriting, index, facts))
            yield found[-1]
        yield from _followed(chain, sides, index, facts)
        facts.learn(chain, sides, [claim.status for claim in found], index)
    for match in _REMAINDER.finditer(text):
        number, divisor, quotient, rest = map(int, match.groups())
        holds = number == divisor * quotient + rest
        reason = f"{divisor} * {quotient} + {rest} is {divisor * quotient + rest}"
        yield Claim(" ".join(match[0].split()), "valid" if holds else "wrong", reason if holds else f"{reason}, not {number}")


_REMAINDER = re.compile(
    r"(?<![\d.,^*/])(\d{1,15})\s*(?:÷|/|\\div)\s*(\d{1,15})\s*=\s*(\d{1,15})[\s,$()~\\]{0,9}(?:text\{)?\s*(?:with )?(?:an? )?"
    r"(?:remainder|[Rr](?=[\s\d]))\s*(?:of|is|=|:)?[\s\\($~}]{0,9}(\d{1,15})(?![\d.,]*\d)")  # fmt: skip


def _claim(left: _Side, relation: str, right: _Side, chain: Chain, rewriting: bool, step: int, facts: _Facts) -> Claim:
    text = f"{left.text} {SIGNS.get(relation, relation)} {right.text}"
    if not left.trees or not right.trees:
        return Claim(text, "unchecked", "not understood")
    holds, reason = None, "it has variables"
    try:
        if left.constant and right.constant:
            holds, reason = _of_numbers(left, relation, right, chain)
        elif left.free and right.free and relation == "=" and not chain.modulus:
            holds, reason = _of_functions(left, right, rewriting, step, facts)
        if holds is False and (doubt := _doubt(left, right, chain, facts)):
            holds, reason = None, doubt
    except _UNDECIDED as error:
        return Claim(text, "unchecked", str(error) or "too large")
    return Claim(text, "unchecked" if holds is None else "valid" if holds else "wrong", reason)


def _of_numbers(left: _Side, relation: str, right: _Side, chain: Chain) -> tuple[bool, str]:
    """Whether a relation of numbers holds in one reading, and why."""
    shown = ""
    for a, b in product(left.trees, right.trees):
        x, y = Evaluator().value(a), Evaluator().value(b)
        if _holds(x, relation, y, left, right, chain.modulus):
            return True, "both sides are equal" if same(x, y) else "it holds"
        shown = shown or f"{left.text} is {_show(x)}, not {right.text}"
    return False, shown


def _holds(x: Value, relation: str, y: Value, left: _Side, right: _Side, modulus: str) -> bool:
    if modulus:
        divisor = Evaluator().value(_Side(modulus).trees[0]) if _Side(modulus).trees else 0
        if not all(isinstance(value, int) for value in (x, y, divisor)) or divisor == 0:
            raise UndecidableError("a congruence of numbers that are not whole")
        return bool((x - y) % divisor == 0)
    if relation == "equiv" and not same(x, y):
        raise UndecidableError("a congruence without its modulus")
    if relation in ("=", "equiv", "approx"):
        return same(x, y) or _rounded(x, y, left, right, relation == "approx")
    if isinstance(x, list) or isinstance(y, list) or any(complex(value).imag != 0 for value in (x, y)):
        raise UndecidableError("an order of things that have none")
    if same(x, y) or relation == "ne":
        return relation in ("le", "ge") if same(x, y) else True
    return less(x, y) == (relation in ("<", "le"))


def _rounded(x: Value, y: Value, left: _Side, right: _Side, approximate: bool) -> bool:
    """Whether one side is the other, rounded or cut off to the digits shown, or computed from rounded numbers."""
    if isinstance(x, list) or isinstance(y, list):
        return False
    gap, size = abs(complex(x) - complex(y)), max(abs(complex(x)), abs(complex(y)))
    if gap < 1e-30:  # cos 90° is zero but for the last digits
        return True
    for side in (left, right):
        if side.decimals is not None and (side.decimals > 0 or approximate) and gap <= 1.001 * 10.0**-side.decimals:
            return True
    return gap <= size * (0.02 if approximate else 0.002 if "." in left.text + right.text else 0)


def _of_functions(left: _Side, right: _Side, rewriting: bool, step: int, facts: _Facts) -> tuple[bool | None, str]:
    """Expressions in variables: equal for all values; or in a chain that rewrites one, for none although no fact says so."""
    if any(_mentions(tree, "sum", "prod", "pm", "mp") for tree in (left.trees[0], right.trees[0])):
        return None, "it has variables"
    if right.constant:
        at = {name: facts.value_of(name, step) for name in left.names}
        if None in at.values() or right.literal or left.letter or not rewriting or _mentions(right.trees[0], "degree"):
            return None, "an equation"
        x, y = Evaluator(at).value(left.trees[0]), Evaluator().value(right.trees[0])
        known = ", ".join(f"{name} = {_show(value)}" for name, value in at.items())
        holds = same(x, y) or _rounded(x, y, left, right, False)
        return holds, f"with {known} it holds" if holds else f"with {known}, {left.text} is {_show(x)}, not {_show(y)}"
    different = [not same(x, y) for x, y in values_at_points(left.trees[0], right.trees[0])]
    if len(different) >= LEAST_POINTS and not any(different):
        return True, "both sides are equal for all values"
    explained = any(names <= left.names for names in facts.bound) or bool(left.letter or right.letter)
    explained = explained or sorted(left.text) == sorted(right.text)  # a(b + c) = b(c + a): a condition
    if rewriting and left.names == right.names and all(different) and len(different) >= LEAST_POINTS and not explained:
        return False, f"{left.text} is not {right.text} for any values tried"
    return None, "an equation"


def _followed(chain: Chain, sides: list[_Side], step: int, facts: _Facts) -> Iterator[Claim]:
    """A name that gets the value just computed for it; a value that solves the equation just before."""
    if (
        chain.doubtful
        or (chain.trial and sides[0].letter)
        or set(chain.relations) != {"="}
        or chain.modulus
        or facts.last is None
    ):
        return
    name, (before, computed), first = sides[0].text, facts.last, sides[1]
    text = f"{name} = {first.text}"
    if computed is not None:
        if name != before or sides[0].constant or not first.literal or not computed.constant or computed.literal:
            return
        if not any(_mentions(tree, "root", "constant", "matrix", "sum", "prod") for tree in computed.trees):
            claim = _claim(computed, "=", first, chain, False, step, facts)
            if claim.status == "wrong":
                yield Claim(f"{name} = {computed.text}, {text}", "wrong", claim.reason)
    elif sides[0].letter == before and sides[-1].constant and (mine := [e for e in facts.equations if e[0] == before]):
        try:
            value = Evaluator().value(sides[-1].trees[0])
            solved = [_solves({before: value}, *equation[1:]) for equation in mine]
        except _UNDECIDED:
            return
        equation = f"{mine[-1][1].text} = {mine[-1][2].text}"
        if solved[-1] or not any(solved):
            verb = "solves" if solved[-1] else "does not solve"
            yield Claim(f"{name} = {sides[-1].text}", "valid" if solved[-1] else "wrong", f"it {verb} {equation}")


def _solves(at: Mapping[str, Value], left: _Side, right: _Side) -> bool:
    for a, b in product(left.trees, right.trees):
        x, y = Evaluator(at).value(a), Evaluator(at).value(b)
        if same(x, y) or abs(complex(x) - complex(y)) <= 0.01 * max(1, abs(complex(x))):
            return True
    return False


_ANOTHER_COUNT = re.compile(
    r"\bbase[- _]?(?:\$?\d|b\b|two|three|four|five|six|seven|eight|nine|ten)|binary|\bbases\b|operation|o'clock"
)
_ANGLES = "sin cos tan cot sec csc arcsin arccos arctan".split()


def _doubt(left: _Side, right: _Side, chain: Chain, facts: _Facts) -> str:
    """Why a relation that fails may still be no mistake; empty if nothing speaks for it."""
    trees = (*left.trees, *right.trees)
    if chain.doubtful:
        return "the words around it may change what it says"
    if _ANOTHER_COUNT.search(facts.problem):
        return "the problem may count in another way"
    if left.literal and (right.literal or left.text == _Side(chain.sides[0]).text):
        return "it begins with a number: a condition, or units that are converted"
    if any(_mentions(tree, "e") for tree in trees):
        return "a letter that may be a variable"
    if any(_mentions(tree, "i") for tree in trees) and not re.search(r"complex|imaginary|\bi\b|real part", facts.problem):
        return "a letter that may be a variable"
    units_known = re.search(r"circ|deg|°|pi|π", left.text + right.text)
    if not left.names and any(_mentions(tree, "log", *(() if units_known else _ANGLES)) for tree in trees):
        return "the base or the angle's unit is not clear"
    if left.units and right.units and not left.units & right.units and not re.search(r"[-+*×]|times|cdot", left.text):
        return "units that may be converted"
    quotient = right.decimals == 0 and left.constant and re.search(r"/|frac|div|÷", left.text)
    if quotient and abs(complex(Evaluator().value(("-", left.trees[0], right.trees[0])))) < 1:
        return "a quotient may be rounded"
    return "a mixed number or a product" if left.mixed or right.mixed else ""


def _show(value: Value) -> str:
    if isinstance(value, int | Fraction):
        return str(value) if -(10**25) < value < 10**25 and Fraction(value).denominator < 10**25 else "another number"
    return "another matrix" if isinstance(value, list) else str(mp.nstr(value, 8))

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

from .equivalence import LEAST_POINTS, _values_at_points
from .evaluation import Evaluator, UndecidableError, Value, mp, same
from .intervals import less, variables
from .parsing import Tree, parse, walk
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
            if chance is not None:
                claims += (Claim(text, "wrong" if chance < threshold else "valid", f"the judge gives it {chance:.2f}"),)
        found = {claim.status for claim in claims}
        status: Status = "wrong" if "wrong" in found else "valid" if "valid" in found else "unchecked"
        checked.append(StepCheck(text, status, claims))
    return StepReport(tuple(checked), next((i for i, step in enumerate(checked) if step.status == "wrong"), None))


# ------------------------------------------------------------------------------------------------ formulas in a text

_FORMULA = re.compile(
    r"\\\[(.{1,1500}?)\\\]|\\\((.{1,1000}?)\\\)|\$\$([^$]{1,1500})\$\$|<<([^<>\n]{1,200})>>"
    r"|\\begin\{(?:align\*?|aligned|gather\*?|equation\*?|eqnarray\*?)\}(.{1,1500}?)\\end\{[a-z]+\*?\}"
    r"|(?<![\\$\d])\$(?![\s$])((?:[^$\\]|\\.){0,1000}?(?:[^\s$\\]|\\[)\]}%]))\$(?!\d)", re.DOTALL)  # fmt: skip
_RELATION = {name: relation for relation, names in {
    "=": "= == :=", "approx": r"\approx ≈ \simeq \sim", "<": r"< \lt", ">": r"> \gt", "le": r"<= ≤ \le \leq \leqslant",
    "ge": r">= ≥ \ge \geq \geqslant", "equiv": r"\equiv ≡", "ne": r"\ne \neq ≠ !="}.items() for name in names.split()}  # fmt: skip
_SIGNS = {"approx": "≈", "le": "≤", "ge": "≥", "ne": "≠", "equiv": "≡"}
_SPLIT = re.compile(
    r"(?P<open>\\[{(\[]|[({\[]|\\begin\b)|(?P<close>\\[})\]]|[)}\]]|\\end\b)"
    r"|(?P<relation>\\(?:approx|simeq|sim|lt|gt|leqslant|geqslant|leq?|geq?|equiv|neq?)(?![A-Za-z])|[:=<>]=|(?<=\s)!=|[=≈<>≤≥≡≠])"
    r"|(?P<end>\\\\|\\q?quad|\\(?:implies|iff|Rightarrow|Longrightarrow|Leftrightarrow|to|rightarrow|because|therefore)(?![A-Za-z])"
    r"|[⇒→⟹;\n]|,(?!\d{3}(?!\d))|\\text\w*\s*\{[^{}]*\b(?:and|or|if|so|for|where|when|since|thus|then|with|because|hence|by)\b"
    r"[^{}]*\})")  # fmt: skip
_FRAME = re.compile(
    r"\\(?:begin|end)\{(?:align\*?|aligned|gathered|split|equation\*?)\}|\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])"
)
_MODULUS = re.compile(
    r"\\pmod\s*\{([^{}]{1,40})\}|\\b?mod\s*\{?(\d+)\}?(?=[\s.,]*$)|\(\\?(?:text\{mod\}|b?mod)[\s~]*([^()]{1,40})\)"
)
_DENIED = re.compile(
    r"\b(?:not|\w+n't|cannot|no|never|contradict\w*|false|impossible|incorrect\w*|fails?|invalid|untrue|wrong\w*|violat\w*|neither|"
    r"instead of|rather than|mistake\w*|error|wait|however|mod|modulo)\b", re.IGNORECASE)  # fmt: skip
_TRIAL = re.compile(
    r"\b(?:suppose|assume|if|unless|whether|would|try|test\w*|check\w*|when|for|at|let|choos\w+|consider|set|plug\w*|substitut\w*|case|interval|point)\b", re.IGNORECASE)  # fmt: skip
_BINDS_LEFT = re.compile(
    r"[-+*/×÷^=≈<>]\s*$|\b(?:of|twice|half|double|minus|plus|times|negative|by|thirds?|quarters?|base)\s*$", re.IGNORECASE)  # fmt: skip
_BINDS_RIGHT = re.compile(
    r"\s*(?:[+*/×÷^=≈%!]|-\s|x\s*\d|(?:\w+\s+)?(?:million|billion|thousand|hundred|dozens?|percent|times|squared|cubed|plus|minus|"
    r"and a half|over|remainder|r\s*\d|mod|less than|more than|of|to the power|[ap]\.?m|o'clock|base|cents?)\b)", re.IGNORECASE)  # fmt: skip


@dataclass
class _Chain:
    """Sides and the relations between them; ``doubtful``: the words around it may change what it says."""

    sides: list[str]
    relations: list[str]
    doubtful: bool = False
    modulus: str = ""
    trial: bool = False  # a value that is only tried


def _chains(text: str) -> Iterator[_Chain]:
    """The relations that a step states, in order."""
    at, previous = 0, ""
    for match in _FORMULA.finditer(text):
        yield from _prose_chains(text[at : match.start()])
        if text[at : match.start()].strip(" \n.,"):
            previous = ""
        before, at = text[max(0, match.start() - 60) : match.start()], match.end()
        rest = re.split(r"(?<=[.!?])\s+(?!But|This|Which|However)(?=[A-Z\\])|\n\n", text[at : at + 160])[0]
        doubtful = bool(_BINDS_LEFT.search(before) or _BINDS_RIGHT.match(rest) or _DENIED.search(f"{before} {rest}"))
        body = next(group for group in match.groups() if group)
        for chain in _split_chains(body, previous):
            chain.doubtful, chain.trial, previous = doubtful, bool(_TRIAL.search(before)), chain.sides[-1]
            yield chain
        previous = previous if re.search(r"[=<>]|\\approx|\\equiv", body) else body
    yield from _prose_chains(text[at:])


def _split_chains(body: str, previous: str) -> Iterator[_Chain]:
    """A formula at its relations, rows and commas outside brackets; a row that begins with = goes on with ``previous``."""
    body = re.sub(r"\\not\s*(?:\\equiv|≡|=)", r"\\ne ", _FRAME.sub(" ", body))
    body = body if r"\begin" in body else body.replace("&", " ")
    found = _MODULUS.search(body)
    modulus = found[found.lastindex or 0] if found and (not found[2] or re.search(r"\\equiv|≡", body)) else ""
    body = body.replace(found[0], " ") if found and modulus else body
    depth = start = 0
    chain = _Chain([], [], modulus=modulus)
    for match in [*_SPLIT.finditer(body), None]:
        if match and match.lastgroup in ("open", "close"):
            depth += 1 if match.lastgroup == "open" else -1
        elif match is None or depth <= 0:
            chain.sides.append(body[start : match.start() if match else None])
            start = match.end() if match else start
            if match and match.lastgroup == "relation":
                chain.relations.append(_RELATION[match[0]])
                continue
            if chain.relations:
                chain.sides[0] = chain.sides[0] if chain.sides[0].strip() else previous
                yield chain
            previous, chain = chain.sides[-1], _Chain([], [], modulus=modulus)


_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_PROSE = re.compile(
    rf"(?P<number>(?<![\w.])(?:C\(\d+, ?\d+\)|\$?{_NUMBER}(?:\s?%|(?:st|nd|rd|th)\b)?)!?)|(?P<relation><=|>=|!=|==|[=≈<>≤≥])"
    r"|(?P<times>(?<=\d)[xX](?=\d)|(?<=\s)[xX](?=\s+[\d($]))|(?P<per>/\s?[A-Za-z]+)|(?P<operator>[-+*/×÷^·∙−–])|(?P<open>\()"
    r"|(?P<close>\))|(?P<word>[A-Za-z][A-Za-z'’_.-]*[A-Za-z]|[A-Za-z])|(?P<space>[ \t]+)|(?P<other>.)", re.DOTALL)  # fmt: skip
_SENTENCE = re.compile(r"\n|(?<=[.;:?])\s|(?<=[a-z]!)\s|,\s(?![^()]{0,40}\))|[,;]\s(?=[A-Za-z])")
_REMARK = re.compile(r"\((?=[^()]*[A-Za-z]{3})[^()+*/=×÷]*\)|\*\*(?=\S)|(?<=\S)\*\*")
_PLAIN = {"×": "*", "·": "*", "∙": "*", "x": "*", "X": "*", "÷": "/", "−": "-", "–": "-"}
_SPOKEN = {"times": "*", "multiplied by": "*", "plus": "+", "minus": "-", "divided by": "/"}
_SAID = re.compile(
    rf"(?<![\d.,])({_NUMBER}) ({'|'.join(_SPOKEN)}) (\$?{_NUMBER}) (?:is|equals|is equal to|gives|makes) (?=\$?{_NUMBER}(?![\w%]))")  # fmt: skip
_OF = re.compile(
    rf"(?<![\d.,])((?:{_NUMBER}\s?%|\d+/\d+)) of (?=\$?{_NUMBER})(?:(\$?{_NUMBER}) (?:is|equals) (?=\$?{_NUMBER}(?![\w%])))?"
)


def _prose_chains(text: str) -> Iterator[_Chain]:
    """Arithmetic in plain text: 5 boxes * $2/box = $10, 3 times 4 is 12, 20% of 50 is 10."""
    text = _SAID.sub(lambda said: f"{said[1]} {_SPOKEN[said[2]]} {said[3]} = ", re.sub(r"\\boxed\s*\{([^{}]*)\}", r"\1", text))
    text = _OF.sub(lambda of: f"{of[1]} * {of[2]} = " if of[2] else f"{of[1]} * ", _REMARK.sub(" ", text))
    for sentence in _SENTENCE.split(text):
        if re.search(r"\d", sentence) and re.search(r"[=≈<>≤≥]", sentence):
            run = _Run(sentence)
            for match in _PROSE.finditer(sentence):
                yield from run.take(str(match.lastgroup), match[0], match.start())
            yield from run.finish()


class _Run:
    """The formula that a sentence is in the middle of. Words behind a number are its unit; a side with others is a "?"."""

    def __init__(self, sentence: str) -> None:
        self.sentence, self.denied = sentence, bool(_DENIED.search(sentence))
        self.trial = bool(_TRIAL.search(sentence))
        self.begin()

    def begin(self) -> None:
        self.sides, self.relations, self.doubtful = [""], list[str](), self.denied
        self.words, self.label = 0, ""  # words since the last number; the words before the first relation

    def finish(self) -> Iterator[_Chain]:
        if self.relations:
            yield _Chain([self.sides[0] or self.label, *self.sides[1:]], self.relations, self.doubtful, trial=self.trial)
        self.begin()

    def take(self, kind: str, value: str, at: int) -> Iterator[_Chain]:
        side = self.sides[-1]
        if kind == "space" or (kind == "per" and side):
            return
        if kind == "relation":
            self.relations.append(_RELATION[value])
            self.sides.append("")
            self.words = 0
        elif kind in ("word", "per"):
            self.label += "" if self.relations else f" {value}"
            self.words += 1
            if not re.search(r"[\d)%!}]\s*$", side) or (len(value) == 1 and value not in "aA") or side == "?":
                self.sides[-1] = "?" if self.relations or side else ""
            elif self.words == 1:
                self.doubtful |= bool(_BINDS_RIGHT.match(self.sentence[at - 1 : at + 40]))
                self.sides[-1] += rf"\text{{ {value}}}"
            elif self.words > 4:
                yield from self.finish()
        else:
            closes = kind == "close" and side.count("(") > side.count(")")
            if self.words and kind in ("number", "open", "other", "close") and side != "?" and not closes:
                yield from self.finish()
            if not self.sides[-1] and not self.relations:
                self.doubtful = self.denied or bool(_BINDS_LEFT.search(self.sentence[max(0, at - 40) : at]))
                value = "?" if kind == "operator" and self.words else value
            self.words = 0
            self.sides[-1] += _PLAIN.get(value, value)


# ------------------------------------------------------------------------------------------------------------- claims

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
        for chain in islice(_chains(problem[:MAX_STEP_CHARACTERS]), MAX_CHAINS):
            sides = [_Side(side) for side in chain.sides[:MAX_SIDES]]
            self.learn(chain, sides, ["unchecked"] * (len(sides) - 1), 0)

    def learn(self, chain: _Chain, sides: list[_Side], found: Sequence[str], step: int) -> None:
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
    for chain in islice(_chains(text) if time.monotonic() < deadline else (), MAX_CHAINS):
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


def _claim(left: _Side, relation: str, right: _Side, chain: _Chain, rewriting: bool, step: int, facts: _Facts) -> Claim:
    text = f"{left.text} {_SIGNS.get(relation, relation)} {right.text}"
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


def _of_numbers(left: _Side, relation: str, right: _Side, chain: _Chain) -> tuple[bool, str]:
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
    different = [not same(x, y) for x, y in _values_at_points(left.trees[0], right.trees[0])]
    if len(different) >= LEAST_POINTS and not any(different):
        return True, "both sides are equal for all values"
    explained = any(names <= left.names for names in facts.bound) or bool(left.letter or right.letter)
    explained = explained or sorted(left.text) == sorted(right.text)  # a(b + c) = b(c + a): a condition
    if rewriting and left.names == right.names and all(different) and len(different) >= LEAST_POINTS and not explained:
        return False, f"{left.text} is not {right.text} for any values tried"
    return None, "an equation"


def _followed(chain: _Chain, sides: list[_Side], step: int, facts: _Facts) -> Iterator[Claim]:
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


def _doubt(left: _Side, right: _Side, chain: _Chain, facts: _Facts) -> str:
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

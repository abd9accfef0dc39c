"""Which step of a solution goes wrong: every claim that algebra can decide is decided, the others are left unchecked.

A step's formulas are split at their relations, and each pair of neighbouring sides is one claim. Precision comes first:
a claim is ``wrong`` only where no usual reading of it holds (percent or plain, rounded or exact, degrees or numbers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any, Literal

from .equivalence import LEAST_POINTS, _values_at_points
from .evaluation import Evaluator, UndecidableError, Value, mp, same
from .intervals import less, variables
from .parsing import Tree, parse, walk
from .tokens import NotUnderstoodError

Status = Literal["valid", "wrong", "unchecked"]
Judge = Callable[[str, Sequence[str], int], float | None]

MAX_STEPS = 400
MAX_STEP_CHARACTERS = 8_000
MAX_CHAINS = 60
MAX_SIDES = 20
MAX_SIDE_CHARACTERS = 300


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
    parts = re.split(r"\n[ \t]*\n|\n(?=[ \t]*(?:#{1,4} |\**[Ss]tep \d|\d{1,2}[.)] |[-*] ))", solution)
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
    (1, '12 + 5 is 17, not 18')
    """
    texts = split_steps(steps) if isinstance(steps, str) else [str(step) for step in steps]
    context = _Context(problem, texts)
    checked = []
    for index, text in enumerate(texts):
        claims = tuple(_claims(text, context)) if index < MAX_STEPS else ()
        if judge is not None and all(claim.status == "unchecked" for claim in claims):
            chance = judge(problem, texts, index)
            if chance is not None:
                verdict: Status = "wrong" if chance < threshold else "valid"
                claims += (Claim(text, verdict, f"the judge gives it {chance:.2f}"),)
        found = {claim.status for claim in claims}
        status: Status = "wrong" if "wrong" in found else "valid" if "valid" in found else "unchecked"
        checked.append(StepCheck(text, status, claims))
    first = next((index for index, step in enumerate(checked) if step.status == "wrong"), None)
    return StepReport(tuple(checked), first)


# ------------------------------------------------------------------------------------------------------------ formulas

_FORMULA = re.compile(
    r"\\\[(.{1,3000}?)\\\]|\\\((.{1,2000}?)\\\)|\$\$([^$]{1,3000})\$\$|<<([^<>\n]{1,200})>>"
    r"|\\begin\{(align\*?|aligned|gather\*?|equation\*?|eqnarray\*?)\}(.{1,3000}?)\\end\{\5\}"
    r"|(?<![\\$\d])\$(?![\s$])((?:[^$\\]|\\.){0,1000}?(?:[^\s$\\]|\\[)\]}%]))\$(?!\d)",
    re.DOTALL,
)
_RELATION = {
    "=": "=", "==": "=", ":=": "=", r"\approx": "approx", "≈": "approx", r"\simeq": "approx", r"\sim": "approx", "<": "<",
    ">": ">", r"\lt": "<", r"\gt": ">", "<=": "le", ">=": "ge", "≤": "le", "≥": "ge", r"\le": "le", r"\leq": "le", r"\ge": "ge",
    r"\geq": "ge", r"\leqslant": "le", r"\geqslant": "ge", r"\equiv": "equiv", "≡": "equiv", r"\ne": "ne", r"\neq": "ne",
    "≠": "ne", "!=": "ne",
}  # fmt: skip
_SPLIT = re.compile(
    r"(?P<open>\\[{(\[]|[({\[]|\\begin\b)|(?P<close>\\[})\]]|[)}\]]|\\end\b)"
    r"|(?P<relation>\\(?:approx|simeq|sim|lt|gt|leqslant|geqslant|leq?|geq?|equiv|neq?)(?![A-Za-z])|[:=!<>]=|[=≈<>≤≥≡≠])"
    r"|(?P<end>\\\\|\\q?quad|\\(?:implies|iff|Rightarrow|Longrightarrow|Leftrightarrow|to|rightarrow|because|therefore)(?![A-Za-z])"
    r"|[⇒→⟹;\n]|,(?!\d{3}(?!\d))|\\text\w*\s*\{[^{}]*\b(?:and|or|if|so|for|where|when|since|thus|then|with|because|hence|by)\b[^{}]*\})"
)


@dataclass
class _Chain:
    """Sides and the relations between them; ``doubtful``: the text around it may change what it says."""

    sides: list[str]
    relations: list[str]
    doubtful: bool = False
    modulus: str = ""


def _chains(step: str, context: _Context) -> Iterator[_Chain]:
    """The relations that a step states, in order."""
    at = 0
    text = step[:MAX_STEP_CHARACTERS]
    for match in _FORMULA.finditer(text):
        yield from _prose_chains(text[at : match.start()])
        at = match.end()
        body = next(group for group in (match[1], match[2], match[3], match[4], match[6], match[7]) if group)
        before, after = text[max(0, match.start() - 40) : match.start()], text[at : at + 40]
        around = bool(_BINDS_LEFT.search(before) or _BINDS_RIGHT.match(after))
        denied = bool(_DENIED.search(text[max(0, match.start() - 60) : match.start()] + " " + _until_sentence_end(text, at)))
        for chain in _split_chains(body):
            chain.doubtful |= around or denied
            yield chain
    yield from _prose_chains(text[at:])


_DENIED = re.compile(
    r"\b(?:not|isn't|doesn't|don't|cannot|can't|no|never|contradict\w*|false|impossible|incorrect\w*|fails?|invalid|untrue|"
    r"wrong\w*|violat\w*|neither|instead of|rather than|mistake\w*|error|suppose|assume|if|unless|whether|wait|however|would)\b",
    re.IGNORECASE,
)
_BINDS_LEFT = re.compile(
    r"[-+*/×÷^=≈<>]\s*$|\b(?:of|twice|half|double|minus|plus|times|negative|by|thirds?|quarters?|base)\s*$", re.IGNORECASE
)
_BINDS_RIGHT = re.compile(
    r"\s*(?:[+*/×÷^=≈%!]|-\s|x\s*\d|(?:\w+\s+)?(?:million|billion|thousand|hundred|dozens?|percent|times|squared|cubed|plus|minus|and a half|"
    r"over|remainder|r\s*\d|mod|less than|more than|of|to the power|a\.?m|p\.?m|o'clock|base|cents?|with a remainder)\b)",
    re.IGNORECASE,
)


def _until_sentence_end(text: str, at: int) -> str:
    end = re.search(r"[.!?]\s+[A-Z\\]|\n\n", text[at : at + 160])
    following = re.match(r"[.,\s]*(?:[Bb]ut|[Ss]o|[Tt]his|[Ss]ince|[Hh]owever|[Ww]hich)\b[^.]{0,100}", text[at : at + 120])
    return text[at : at + (end.start() if end else 160)] + (following[0] if following else "")


def _split_chains(body: str) -> Iterator[_Chain]:
    """A formula at its relations, rows and commas, in no bracket."""
    body = re.sub(
        r"\\begin\{(?:align\*?|aligned|gathered|split|equation\*?|array|cases)\}(?:\{[lcr|]*\})?|\\end\{(?:align\*?|aligned|gathered|split|equation\*?)\}|&",
        " ",
        body,
    )
    body = re.sub(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|Large|large|quad)(?![A-Za-z])(?<!quad)", " ", body)
    modulus = re.search(r"\\pmod\s*\{([^{}]{1,40})\}|\(\\?(?:text\{mod\}|mathrm\{mod\}|bmod|mod)[\s~]*([^()]{1,40})\)", body)
    if modulus:
        body = body[: modulus.start()] + body[modulus.end() :]
    body = re.sub(r"\\not\s*(?:\\equiv|≡|=)", r"\\ne ", body)
    depth, start = 0, 0
    chain = _Chain([], [], modulus=(modulus[1] or modulus[2]) if modulus else "")
    previous = ""
    for match in _SPLIT.finditer(body):
        kind = match.lastgroup
        if kind in ("open", "close"):
            depth += 1 if kind == "open" else -1
        elif depth <= 0:
            chain.sides.append(body[start : match.start()])
            start = match.end()
            if kind == "relation":
                chain.relations.append(_RELATION[match[0]])
            else:
                yield from _finished(chain, previous)
                previous = chain.sides[-1]
                chain = _Chain([], [], modulus=chain.modulus)
    chain.sides.append(body[start:])
    yield from _finished(chain, previous)


def _finished(chain: _Chain, previous: str) -> Iterator[_Chain]:
    if chain.relations:
        if not chain.sides[0].strip() and previous:  # a row that goes on with =
            chain.sides[0] = previous
        yield chain


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_PROSE = re.compile(
    rf"(?P<number>\$?(?<![\w.])(?:{_NUMBER})(?:\s?%|(?:st|nd|rd|th)\b)?!?)|(?P<relation><=|>=|!=|==|[=≈<>≤≥])|(?P<times>(?<=[\d\s)])[xX](?=[\s\d($]))"
    r"|(?P<operator>[-+*/×÷^·∙−–])|(?P<open>\()|(?P<close>\))|(?P<word>[A-Za-z][A-Za-z'_\\.-]*[A-Za-z]|[A-Za-z])|(?P<space>[ \t]+)|(?P<other>.)",
    re.DOTALL,
)
_UNITS_AT_MOST = 4


def _prose_chains(text: str) -> Iterator[_Chain]:
    """Arithmetic in plain text: 5 boxes * $2/box = $10."""
    for sentence in re.split(r"\n|(?<=[.;:!?])\s|,\s", text):
        if not re.search(r"\d.*[=≈<>≤≥]|[=≈<>≤≥].*\d", sentence):
            continue
        denied = bool(_DENIED.search(sentence))
        sides, relations, doubts = [""], [], [False]
        words = 0
        for match in _PROSE.finditer(re.sub(r"\*\*(?=\S)|(?<=\S)\*\*", "", sentence)):
            kind, value = match.lastgroup, match[0]
            if kind == "space":
                continue
            if kind == "relation":
                relations.append(_RELATION[value])
                sides.append("")
                doubts.append(False)
                words = 0
            elif kind == "word":
                words += 1
                if len(value) == 1 and value not in "aA":  # a variable
                    sides[-1], doubts[-1] = "?", True
                elif not re.search(r"[\d)%]\s*$", sides[-1]) or words > _UNITS_AT_MOST:
                    if sides[-1].strip() or len(sides) > 1:
                        doubts[-1] = True
                    sides[-1] = "?" if len(sides) > 1 else ""
            else:
                if words and kind in ("number", "open", "other"):
                    if len(sides) > 1:
                        break
                    sides[-1], doubts[-1] = "", bool(_BINDS_LEFT.search(sentence[: match.start()]))
                elif words and kind == "operator" and not sides[-1]:
                    doubts[-1] = True
                words = 0
                sides[-1] += {"×": "*", "·": "*", "∙": "*", "x": "*", "X": "*", "÷": "/", "−": "-", "–": "-"}.get(value, value)
        if relations:
            yield _Chain(sides, relations, denied or any(doubts))


# -------------------------------------------------------------------------------------------------------------- claims


class _Context:
    """What earlier steps established, and how the texts are to be read."""

    def __init__(self, problem: str, steps: Sequence[str]) -> None:
        everything = "\n".join([problem, *steps])[:200_000]
        self.known: dict[str, Value] = {}
        self.complex = bool(re.search(r"complex|imaginary|i\^2|i\^\{2\}|\|z\||real part", everything))
        self.other_arithmetic = bool(
            re.search(r"\bbase[- ]?(?:\$?\d|two|three|four|five|six|seven|eight|nine|b\b|ten\b)|binary|\bbases?\b.{0,30}digit|_\{?\w+\}?\s*=.*_\{?\w+\}?\s*base|operation|o'clock", problem)
        )  # fmt: skip


def _claims(step: str, context: _Context) -> Iterator[Claim]:
    for number, chain in enumerate(_chains(step, context)):
        if number >= MAX_CHAINS:
            return
        sides = [_Side(text) for text in chain.sides[: MAX_SIDES + 1]]
        for left, relation, right in zip(sides, chain.relations, sides[1:], strict=False):
            yield _claim(left, relation, right, chain, context)


class _Side:
    """One side of a relation, in each of its usual readings."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split()).strip(" .,:;")
        self.trees: list[Tree] = []
        plain = _without_units(self.text)
        if not 0 < len(self.text) <= MAX_SIDE_CHARACTERS or not re.search(r"\w", plain) or _WORDS.search(plain):
            return
        self.mixed = bool(re.search(r"\d\s*\\[dt]?frac|\d\s+\d", plain))
        self.literal = re.fullmatch(r"[-+({\s]*(\d[\d,]*|\d*)(?:\.(\d+))?\s*(\\?%)?[)}\s]*", plain)
        for reading in {re.sub(r"(\d+(?:\.\d+)?)\s*\\?%", r"(\1/100)", plain), re.sub(r"\\?%", "", plain)}:
            try:
                answer = parse(reading)
            except (NotUnderstoodError, RecursionError):
                continue
            if answer[0] in ("expression", "quantity"):
                self.trees.append(answer[1])
                if _mentions(answer[1], "degree"):
                    self.trees.append(_without_degrees(answer[1]))

    @property
    def decimals(self) -> int | None:
        """Digits after the point of a bare number; None for anything else."""
        if self.literal is None or not self.trees:
            return None
        return len(self.literal[2] or "") + (2 if self.literal[3] else 0)


_WORDS = re.compile(r"\\(?:text|mathrm|textrm|mbox)\s*\{|\?")


def _without_units(text: str) -> str:
    """Currency signs and the words behind numbers dropped."""
    text = re.sub(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text)
    text = re.sub(r"\\?\$|\\[,;!:]|€|£|\\ ", lambda m: "" if m[0] != r"\ " else " ", text)
    unit = r"(?:\\[,; ~]|~|\s)*(?:/\s*)?\\(?:text|mathrm|textrm|mbox|operatorname)\s*\{[^{}]*\}(?:\s*\^\s*(?:\{?-?\d\}?))?"
    return re.sub(rf"(?<=[\d}})])(?:{unit})+(?!\s*[\d(\\{{])", " ", text)


def _mentions(tree: Tree, *kinds: str) -> bool:
    found = []
    walk(tree, lambda part: found.append(part[0] in kinds or (part[0] in ("constant", "call") and part[1] in kinds)))
    return any(found)


def _without_degrees(tree: Any) -> Any:
    if not isinstance(tree, tuple):
        return tree
    return _without_degrees(tree[1]) if tree[:1] == ("degree",) else tuple(_without_degrees(part) for part in tree)


def _claim(left: _Side, relation: str, right: _Side, chain: _Chain, context: _Context) -> Claim:
    text = f"{left.text} {_SIGN.get(relation, relation)} {right.text}"
    if not left.trees or not right.trees:
        return Claim(text, "unchecked", "not understood")
    try:
        holds, reason = _decide(left, relation, right, chain, context)
    except (UndecidableError, RecursionError, OverflowError, MemoryError, ValueError) as error:
        return Claim(text, "unchecked", str(error) or "too large")
    if holds:
        return Claim(text, "valid", reason)
    if holds is False and (doubt := _doubt(left, relation, right, chain, context)):
        return Claim(text, "unchecked", doubt)
    return Claim(text, "unchecked" if holds is None else "wrong", reason)


_SIGN = {"approx": "≈", "le": "≤", "ge": "≥", "ne": "≠", "equiv": "≡"}


def _decide(left: _Side, relation: str, right: _Side, chain: _Chain, context: _Context) -> tuple[bool | None, str]:
    """Whether a relation holds in one reading (None: can't say), and why."""
    if any(_mentions(tree, "apply", "variable", "dots") for tree in (*left.trees, *right.trees)):
        return None, "it has variables"
    shown = ""
    for a, b in product(left.trees, right.trees):
        x, y = Evaluator(context.known).value(a), Evaluator(context.known).value(b)
        if _holds(x, relation, y, left, right, chain):
            return True, "both sides are equal" if relation == "=" else "it holds"
        shown = shown or f"{left.text} is {_show(x)}, not {right.text}"
    return False, shown


def _holds(x: Value, relation: str, y: Value, left: _Side, right: _Side, chain: _Chain) -> bool:
    if chain.modulus:
        modulus = Evaluator().value(_Side(chain.modulus).trees[0]) if _Side(chain.modulus).trees else 0
        if not all(isinstance(value, int) for value in (x, y, modulus)) or modulus == 0:
            raise UndecidableError("a congruence of numbers that are not whole")
        return bool((x - y) % modulus == 0) or (relation == "=" and same(x, y))
    if relation in ("=", "equiv", "approx"):
        return same(x, y) or _rounded(x, y, left, right, relation == "approx")
    if isinstance(x, list) or isinstance(y, list) or any(not isinstance(v, int | Fraction) and mp.im(v) != 0 for v in (x, y)):
        raise UndecidableError("an order of things that have none")
    if relation == "ne":
        return not same(x, y)
    if same(x, y):
        return relation in ("le", "ge")
    return less(x, y) == (relation in ("<", "le"))


def _rounded(x: Value, y: Value, left: _Side, right: _Side, approximate: bool) -> bool:
    """Whether one side is the other, rounded or cut off to the digits shown."""
    if isinstance(x, list) or isinstance(y, list):
        return False
    gap = abs(_float(x) - _float(y))
    size = max(abs(_float(x)), abs(_float(y)))
    for side in (left, right):
        if side.decimals is not None and (side.decimals > 0 or approximate) and gap <= 1.001 * 10.0**-side.decimals:
            return True
    has_decimals = any("." in side.text for side in (left, right))
    return gap <= size * (0.02 if approximate else 0.005 if has_decimals else 0)


def _float(value: Value) -> complex:
    number = complex(value)
    if number != number or abs(number) == float("inf"):
        raise UndecidableError("too large")
    return number


def _doubt(left: _Side, relation: str, right: _Side, chain: _Chain, context: _Context) -> str:
    """Why a relation that fails may still not be a mistake; empty if nothing speaks for it."""
    trees = (*left.trees, *right.trees)
    if chain.doubtful:
        return "the words around it may change what it says"
    if context.other_arithmetic:
        return "the problem may count in another way"
    if chain.sides and left.literal and left.text == _Side(chain.sides[0]).text:
        return "it begins with a number: a condition, or units that are converted"
    if left.literal and right.literal:
        return "two numbers: a comparison, or a condition that fails"
    if any(_mentions(tree, "i") for tree in trees) and not context.complex or any(_mentions(tree, "e") for tree in trees):
        return "a letter that may be a variable"
    if any(_mentions(tree, "sin", "cos", "tan", "cot", "sec", "csc", "log", "arcsin", "arccos", "arctan") for tree in trees):
        return "the base or the angle's unit is not clear"
    if left.mixed or right.mixed:
        return "a mixed number or a product"
    return ""


def _show(value: Value) -> str:
    if isinstance(value, int | Fraction):
        return str(value) if len(str(value)) < 30 else "another number"
    return "another matrix" if isinstance(value, list) else mp.nstr(value, 8)

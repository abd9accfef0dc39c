"""``verify(gold, prediction)``: correct, wrong, or unjudgeable with the reason. It never raises and never runs anything."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .arithmetic import UndecidableError
from .equivalence import Comparison, Conventions
from .evaluation import clear_time_limit, time_limit
from .extraction import choice_letter, extract
from .parsing import Answer, _words, parse
from .tokens import MAX_CHARACTERS, NotUnderstoodError, clean
from .units import stem

_LOCK = threading.RLock()


def _fresh() -> None:
    """In a forked child nobody else holds the lock."""
    global _LOCK
    _LOCK = threading.RLock()
    clear_time_limit()


os.register_at_fork(after_in_child=_fresh)

Outcome = Literal["correct", "wrong", "unjudgeable"]


@dataclass(frozen=True)
class Policy:
    """Conventions of a benchmark. ``whole``: integers only, up to ``largest``; ``modulus``: compared by their remainders."""

    name: str
    conventions: Conventions = field(default_factory=Conventions)
    whole: bool = False
    largest: int | None = None
    modulus: int | None = None
    choices: bool = True


_STRICT = Conventions(ignore_missing_units=False, ignore_percent_sign=False, long_decimals=0, labels=True)
POLICIES = {
    policy.name: policy
    for policy in (
        Policy("default"),
        Policy("strict", _STRICT),
        Policy("math"),
        Policy("rounded", Conventions(rounding=True)),
        Policy("gsm8k", whole=False),
        Policy("aime", whole=True, largest=999),
        Policy("aimo", whole=True, largest=99_999, modulus=100_000),
        Policy("multiple_choice"),
    )
}


def find_policy(name: str) -> Policy:
    """The policy of this name; ValueError where there is none."""
    if name not in POLICIES:
        raise ValueError(f"no policy {name!r}, expected one of {', '.join(POLICIES)}")
    return POLICIES[name]


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison.

    Attributes:
        outcome: "correct", "wrong", or "unjudgeable" where it could not be decided.
        reason: a short sentence.
        rule: what decided.
        gold, prediction: the answers as they were extracted; None where there was none.
        parsed_gold, parsed_prediction: their structure, see :mod:`olympiad.verification.parsing`.
    """

    outcome: Outcome
    reason: str
    rule: str = ""
    gold: str | None = None
    prediction: str | None = None
    parsed_gold: Any = None
    parsed_prediction: Any = None

    @property
    def correct(self) -> bool:
        return self.outcome == "correct"


def verify(gold: str, prediction: str, policy: str | Policy = "default") -> Verdict:
    """Whether ``prediction`` gives the answer ``gold``; both may be a bare answer or a whole solution.

    Args:
        policy: a name of :data:`POLICIES`, or one of your own.

    Raises:
        ValueError: no policy has that name. On any text it returns.

    >>> verify(r"\\frac{1}{2}", "So the answer is 0.5.").outcome, verify("2^{100}", r"2^{100}+1").outcome
    ('correct', 'wrong')
    >>> verify("x^2", "the square").outcome
    'unjudgeable'
    """
    if isinstance(policy, str):
        policy = find_policy(policy)
    if not isinstance(gold, str) or not isinstance(prediction, str):
        return Verdict("unjudgeable", f"expected two texts, got {type(gold).__name__} and {type(prediction).__name__}")
    try:
        with _LOCK, time_limit():  # mpmath changes the precision of its context while it computes
            return _verdict(gold, prediction, policy)
    except (UndecidableError, NotUnderstoodError) as error:
        return Verdict("unjudgeable", str(error))
    except (RecursionError, MemoryError, OverflowError) as error:
        return Verdict("unjudgeable", f"too large to be decided ({type(error).__name__})")


def _verdict(gold: str, prediction: str, policy: Policy) -> Verdict:
    if (
        len(gold) <= 400
        and re.search(r"\w", re.sub(r"\\[A-Za-z]+", "", gold))
        and gold.strip() == prediction.strip()
        and "nan" not in gold.lower()
        and not _defined(gold)
    ):
        return Verdict("correct", "the same text", "same text", gold, prediction)
    wanted = _answer_of(gold)
    if wanted is None:
        return Verdict("unjudgeable", "the gold text holds no answer")
    letter = _letter(wanted)
    if letter and (policy.choices or policy.name == "multiple_choice"):
        chosen = choice_letter(prediction)
        if chosen is not None:
            outcome: Outcome = "correct" if chosen == letter else "wrong"
            return Verdict(outcome, f"option {chosen} against {letter}", "choice", wanted, chosen)
    sides = _yes_or_no(wanted) if len(wanted) < 20 else None, _yes_or_no(prediction)
    if all(sides) and _words(clean_or_raw(wanted)) in _YES_OR_NO:
        outcome = "correct" if sides[0] == sides[1] else "wrong"
        return Verdict(outcome, f"{sides[1]} against {sides[0]}", "yes or no", wanted, sides[1])
    if len(prediction) < 60 and (times := _times(gold, prediction)):
        return replace(times, gold=wanted, prediction=prediction)
    found = extract(prediction)
    if found is None:
        worded = _by_words(wanted, prediction[-200:], None, None)
        if worded is not None and worded.correct:
            return replace(worded, gold=wanted, prediction=prediction[-200:])
        return Verdict("unjudgeable", "the prediction holds no answer", "no answer", wanted)
    verdict = _compare(wanted, found.text, policy)
    return replace(verdict, gold=wanted, prediction=found.text)


def _defined(text: str) -> bool:
    """Whether a text is understood: then its value decides, for what has no value is not equal to itself."""
    try:
        parse(text)
    except NotUnderstoodError:
        return False
    return True


_YES_OR_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no", "correct": "yes", "incorrect": "no"}


def _yes_or_no(text: str) -> str | None:
    """The side that a text takes: alone, in front, or where it says so; none where it denies something."""
    text = clean_or_raw(text[-2_000:])
    if re.search(r"\bnot\b|n't\b|\bneither\b", text, re.IGNORECASE):
        return None
    front = re.match(r"\W*(yes|no|true|false)\s*(?:[.,!;:*}]|$)", text, re.IGNORECASE)
    said = front or re.search(r"\b(?:answer|statement|claim|it) is\W+(yes|no|true|false)\b", text, re.IGNORECASE)
    return _YES_OR_NO[said[1].lower()] if said else None


def _answer_of(gold: str) -> str | None:
    """The gold answer: a bare answer as it is, else what is extracted."""
    if len(gold) < 400 and r"\boxed" not in gold and "####" not in gold and "\n" not in gold.strip():
        if len(gold) <= 80 and gold.strip():
            return gold  # understood or not: nothing is picked out of a bare answer
        try:
            parse(gold)
            return gold
        except NotUnderstoodError:
            pass
    found = extract(gold)
    return found.text if found else (gold if gold.strip() and len(gold) <= MAX_CHARACTERS else None)


def _letter(text: str) -> str | None:
    if len(text) > 200:
        return None
    match = re.fullmatch(r"\s*\$?\\?(?:text|textbf|mathrm)?\{?\s*\(?([A-J])\)?\s*\}?\$?\.?\s*", text)
    match = match or re.match(r"\s*\$?\\?(?:text|textbf|mathrm)?\{?\s*\(([A-E])\)\s*\}?[\s\\~]", text)
    return match[1] if match else None


_CLOCK = re.compile(r"(?<![\d:])(\d{1,2})(?::(\d{2}))?(?![\d:])[~\s]*(?:\\\w+\{[~\s]*)?(?:([AaPp])\.?[ ]?[Mm]\b\.?)?")
_HOURS = {"noon": (12, 0), "midnight": (0, 0)}


def _clock(text: str) -> tuple[int, int, bool] | None:
    """Hour, minute, and whether the half of the day is known, of a text that ends in a time."""
    if len(text) > 60:
        return None
    plain = re.sub(r"[$}\s.]+$", "", re.sub(r"\\[,;! ]|~", " ", text.replace("{:}", ":")))
    word = plain.rsplit(" ", 1)[-1].lower()
    if word in _HOURS:
        return (*_HOURS[word], True)
    found = [match for match in _CLOCK.finditer(plain) if match[2] or match[3]]
    if not found or found[-1].end() < len(plain):
        return None
    hour, minute, half = int(found[-1][1]), int(found[-1][2] or 0), (found[-1][3] or "").lower()
    if hour > 24 or minute > 59 or (half and not 1 <= hour <= 12):
        return None
    if half:
        return hour % 12 + (12 if half == "p" else 0), minute, True
    return hour, minute, hour > 12 or hour == 0


_OPTION = re.compile(r"^\s{0,3}(?:\\\w{1,12}\s?\{)?\s?\([A-E]\)\s?\}?[\s~\\]{0,4}(?=[^\s}])(.+)$", re.DOTALL)  # (B) 12


def _proportional(one: tuple[int, int, bool], other: tuple[int, int, bool]) -> bool:
    return one[0] * other[1] == other[0] * one[1]


def _times(gold: str, prediction: str) -> Verdict | None:
    """A verdict where both are times of day and at least one says so."""
    one, other = _clock(gold), _clock(prediction)
    if one is None or other is None or not (one[2] or other[2] or one[1] == 0):
        return None
    if not one[2] and not other[2] and one != other and ":" in gold and ":" in prediction and _proportional(one, other):
        return Verdict("unjudgeable", "times, or ratios", "time")
    equal = one[1] == other[1] and (one[0] == other[0] if one[2] and other[2] else one[0] % 12 == other[0] % 12)
    return Verdict("correct" if equal else "wrong", "times of day", "time")


def _compare(gold: str, prediction: str, policy: Policy) -> Verdict:
    if policy.whole:
        return _whole(gold, prediction, policy)
    times = _times(gold, prediction)
    if times is not None:
        return times
    gold, prediction = (_OPTION.sub(r"\1", text) if len(text) <= 400 else text for text in (gold, prediction))
    readings, failure = [], None
    try:
        readings.append((parse(gold), parse(prediction)))
    except NotUnderstoodError as error:
        failure = error
    if not readings:
        one, other = clean_or_raw(gold), clean_or_raw(prediction)
        if (
            one == other
            and max(len(gold), len(prediction)) <= MAX_CHARACTERS
            and re.search(r"\w", re.sub(r"\\[A-Za-z]+", "", one))
            and one.lower() != "nan"
        ):
            return Verdict("correct", "the same text", "same text")
        return _by_words(gold, prediction, None, None) or Verdict("unjudgeable", f"not understood: {failure}", "not understood")
    verdict = None
    for left, right in readings:
        verdict = _structures(gold, prediction, left, right, policy)
        if verdict.correct:
            return verdict
    assert verdict is not None
    return verdict


def _structures(gold: str, prediction: str, left: Answer, right: Answer, policy: Policy) -> Verdict:
    comparison = Comparison(policy.conventions)
    parsed: dict[str, Any] = {"parsed_gold": left, "parsed_prediction": right}
    if "words" in (left[0], right[0]):
        verdict = _by_words(gold, prediction, left, right)
        if verdict is not None:
            return replace(verdict, **parsed)
    try:
        equal = comparison.equal(left, right)
    except UndecidableError as error:
        return Verdict("unjudgeable", str(error), comparison.rule, **parsed)
    reason = "they are equal" if equal else "they are not equal"
    return Verdict("correct" if equal else "wrong", f"{reason} ({comparison.rule})", comparison.rule, **parsed)


_ARTICLES = frozenset("a an the it is to of".split())
_MEANINGS = {"true": "yes", "false": "no", "dne": "does not exist", "none": "no solution", "not defined": "undefined"}


def _by_words(gold: str, prediction: str, left: Answer | None, right: Answer | None) -> Verdict | None:
    """Answers in words: the same words but for case, plural and articles."""
    a, b = (_content_words(text) for text in (gold, prediction))
    if not a or not b or "nan" in a:
        return None
    marks = [re.sub(r"[\w\s.,;!?'\"$~{}-]", "", clean_or_raw(text)) for text in (gold, prediction)]
    worded = all(
        re.search(r"[^\W\d_]{3,}", text) or text.strip(" .$").lower() == "no" for text in map(clean_or_raw, (gold, prediction))
    )
    if a == b and worded and marks[0] == marks[1] and "\\" not in marks[0]:
        return Verdict("correct", "the same words", "words")
    if left is not None and right is not None and left[0] == right[0] == "words" and a != b:
        if len(a) == len(b) == 1 and not any(word.isdigit() for word in a + b) and "not" not in a + b:
            return Verdict("wrong", f"{' '.join(b)!r} is not {' '.join(a)!r}", "words")
        return Verdict("unjudgeable", "answers in different words", "words")
    return None


def _content_words(text: str) -> list[str]:
    plain = _words(clean_or_raw(text))
    nothing = _NOTHING.search(plain)
    if nothing:
        return ["no", *(word for word in re.findall(r"\w+", nothing[1] or "") if word != "real"), "solution"]
    words = re.findall(r"\w+", _MEANINGS.get(plain, plain))
    whole = any(len(word) > 2 for word in words)
    return [stem(word) for word in words if not (whole and word in _ARTICLES)]


_NOTHING = re.compile(r"\bno (?:(\w+) )?solutions?\b")


def clean_or_raw(text: str) -> str:
    try:
        plain = clean(text[:MAX_CHARACTERS])
    except NotUnderstoodError:
        plain = text
    return re.sub(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname|textrm)\b", " ", plain)


def _whole(gold: str, prediction: str, policy: Policy) -> Verdict:
    """Benchmarks whose answers are integers; leading zeros and commas do not count."""
    values = []
    for text in (gold, prediction):
        try:
            answer = parse(text)
            settled_value = _integer(answer)
        except (NotUnderstoodError, UndecidableError) as error:
            return Verdict("unjudgeable", f"not understood: {error}", "not understood")
        values.append(settled_value)
    if values[0] is None:
        return Verdict("unjudgeable", "the gold answer is no whole number", policy.name)
    if values[1] is None:
        return Verdict("wrong", "the answer is no whole number", policy.name)
    if policy.modulus:
        values = [value % policy.modulus for value in values if value is not None]
    reason = "they are equal" if values[0] == values[1] else "they are not equal"
    return Verdict("correct" if values[0] == values[1] else "wrong", reason, policy.name)


def _integer(answer: Answer) -> int | None:
    from .equivalence import settled
    from .evaluation import Evaluator

    answer = settled(answer)
    if answer[0] == "contradiction":
        raise UndecidableError("an equation that is false")
    if answer[0] == "labelled":
        answer = answer[2]
    if answer[0] == "quantity":
        answer = ("expression", answer[1])
    if answer[0] != "expression":
        return None
    value = Evaluator().value(answer[1])
    return value if isinstance(value, int) else None

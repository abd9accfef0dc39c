"""The final answer in a text, in linear time. The first rule that finds one decides:

1. what follows the last ``</think>`` is the text; chat marks end it
2. the last ``\\boxed{...}`` or ``\\fbox{...}``, with those in the same sentence that belong to it
3. ``#### ...``
4. a phrase: "final answer is ...", "the answer is ...", "Answer: ...", in several languages
5. a text that is nothing but an answer
6. in the last sentence that holds mathematics: the last formula, after its last "="; the last bold number; the last number
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .parsing import parse
from .tokens import NotUnderstoodError

TAIL = 4_000  # characters of prose that are searched
MAX_BOXES = 40
_BOX = re.compile(r"(?<!\\)\\{1,4}(?:boxed|fbox)\s*(?:\{|(?=[\w\\]))")
_MARKS = re.compile(r"<\|[a-z_]+\|>|</?s>|\[/?INST\]|<(?:end|start)_of_turn>|<eos>")
_PHRASE = re.compile(
    r"(?:final\s+answers?|answers?|solutions?|result|ans|antwort|lösung|ergebnis|réponse|reponse|respuesta|resposta|risposta|odpowiedź|"
    r"ответ|答案|最终答案|答|الجواب|الإجابة|答え)\s*(?:to\s+(?:the|this)\s+(?:problem|question)\s*)?"
    r"(?:\*\*)?\s*(?:is\s+for\s+sure|is\s+therefore|is\s+thus|is\s+simply|ist|is|are|equals|lautet|est|es|é|è|是|为|為|هو|هي|:|：|=|\n)"
    r"\s*(?:\*\*)?\s*:?",
    re.IGNORECASE,
)
_HASHES = re.compile(r"####\s*:?\s*([^\n]+)")
_FOR_ALL = re.compile(
    r"(\S)\s?,?\s?for (?:all|every|each|any)(?: real| positive| integers?| numbers?| natural){0,3} ?\$?[a-z]?"
    r"(?: ?\\in ?\\mathbb ?\{?[A-Z]\}?)?\$?\s?\.?\s?$"
)
_PICTURE = re.compile(r"<img[^<>]{0,80}>|\[asy\](?:(?!\[asy\]).)*?\[/asy\]", re.DOTALL)
_HOPE = re.compile(r"I hope (?:it|this) is correct\.?.*", re.IGNORECASE | re.DOTALL)
_MATH = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\\]|\\.)+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_NUMBER = re.compile(
    r"[-−+]?\s?(?:\\?\$\s?)?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?(?:\s?\\?%)?(?![\d])(?:\s*=\s*(?=\d)[-\d.,/ ]+\d)?"
)
# Words around a number that make it no answer.
_BEFORE = re.compile(
    r"(?:\bnot|never|nearly|almost|close to|cannot be|equal to neither|root of|n't(?: be)?|not equal to|between|between \S+ and|(?:more|less|greater|fewer|larger|smaller|other|rather) than|at least|at most|half(?: of)?|twice|double|"
    r"minus|negative|times|under|over|above|below|exceeds?)\s*\$?$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*\$?\s*(?:times\b|(?:more|less|fewer|greater) than|(?:is|are|was|does|do|can|will)(?: not|n't)|is (?:too|wrong|incorrect)|[_^!]|mod\b|base\b|out of\b|in \d|plus\b|minus\b|or\s+\d)",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
_CHOICE = re.compile(r"(?<![A-Za-z\\])\(?(?![AI]\s+[a-z])([A-J])\)?(?![A-Za-z'’])")
_TRAILING = re.compile(r"(?:\.\s|\n|。|，(?=\D)|<)|(?:,|;)?\s+(?:because|since|so|which|where|as|it|and\s+(?:not|the)|but|for|if)\b", re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True)
class Extracted:
    """An answer as it stands in a text, and the rule that found it."""

    text: str
    rule: str


def extract_answer(text: str) -> str | None:
    """The final answer of a text as it is written there; None where there is none.

    >>> extract_answer(r"So $x = 3$, and the answer is $\\boxed{\\frac{1}{2}}$.")
    '\\\\frac{1}{2}'
    >>> extract_answer("Therefore there are 12 ways."), extract_answer("The answer is 7, I think.")
    ('12', '7')
    """
    found = extract(text)
    return found.text if found else None


def extract(text: str) -> Extracted | None:
    """The final answer, with the rule that found it."""
    text = text.rsplit("</think>", 1)[-1]
    text = _PICTURE.sub(" ", text)
    mark = _MARKS.search(text)
    if mark and text[: mark.start()].strip():
        text = text[: mark.start()]
    boxed = _boxed(text)
    if boxed is not None:
        return Extracted(boxed, "boxed")
    hashes = _HASHES.findall(text[-TAIL:])
    if hashes and hashes[-1].strip():
        return Extracted(hashes[-1].strip(), "####")
    tail = re.sub(r"[ \t]{2,}", " ", _HOPE.sub("", text[-TAIL:]).strip())
    if len(text) <= 400 and (found := _FOR_ALL.search(tail)) and "=" not in found[0] and not _PHRASE.search(found[0]):
        tail = tail[: found.end(1)]
    if not tail:
        return None
    if len(text) <= 400 and (_is_answer(tail) or _is_short(tail)):
        return Extracted(tail, "bare")
    return _phrased(tail) or _last_mathematics(tail)


_PROSE = frozenset(
    "the is are was there so we it that therefore thus hence then this these answer result solution total final which have has "
    "get find equals answers".split()
)


MARKED = ("boxed", "####", "phrase")
"""Rules that find an answer where the text says that it is one."""


def is_marked(found: Extracted | None) -> bool:
    """Whether the text says of the answer that it is one."""
    return found is not None and found.rule.partition(",")[0] in MARKED


def was_answered(text: str, cut_off: bool) -> bool:
    """Whether a text gives an answer; one that was cut off only where it says so, and not within its <think>.

    >>> was_answered("5 + 7 = 12. Then half of it", cut_off=True), was_answered("The answer is 6. To check,", cut_off=True)
    (False, True)
    """
    found = extract(text)
    return found is not None and (not cut_off or (is_marked(found) and text.rfind("<think>") <= text.rfind("</think>")))


def _is_answer(text: str) -> bool:
    """Whether the whole text is one answer and no prose."""
    outside = re.sub(r"\\(?:text|mbox|textbf|mathrm)\s*\{[^{}]*\}|\^\s*\{[^{}]*\}", " ", text)
    if _MATH.search(outside):
        outside = _MATH.sub(" ", outside)
        if any(word.lower() not in ("and", "or") for word in re.findall(r"[^\W\d_]{2,}", outside)):
            return False
    if re.search(
        "[\u0400-\u04ff\u0590-\u0dff\u0e00-\u0eff\u3040-\u9fff\uac00-\ud7af]", outside
    ):  # a sentence in another script
        return False
    words = [word.lower() for word in re.findall(r"(?<!\\)(?<![A-Za-z])[A-Za-z]{2,}", outside)]
    if len(words) > 4 or "\n" in text.strip() or any(word in _PROSE for word in words):
        return False
    try:
        parse(text)
    except NotUnderstoodError:
        return False
    return True


def _is_short(text: str) -> bool:
    """A few words and numbers that make no sentence: a date, a name."""
    words = re.findall(r"[^\W\d_]+", text)
    plain = len(text) <= 40 and not re.search(r"[$\\=*:#]|[.!?] \w", text) and text.isascii() and not _PHRASE.search(text)
    return plain and 1 <= len(words) <= 4 and not any(word.lower() in _PROSE - {"the"} for word in words)


_NEW_THOUGHT = re.compile(
    r"[.!?。:\n](?:\s|$)|\n|\b(?:final|answer|no|not|wait|actually|so|then|hence|therefore|thus|gives|get|which|is|instead)\b",
    re.IGNORECASE,
)


def _boxed(text: str) -> str | None:
    """The last box; several in one sentence with hardly anything between them are one answer."""
    boxes = []
    for match in list(_BOX.finditer(text))[-MAX_BOXES:]:
        start = match.end()
        if match[0].endswith("{"):
            end = _closing(text, start)
            boxes.append((match.start(), end + 1, text[start:end]))
        else:
            end = start + (re.compile(r"\\[A-Za-z]+|\S").match(text, start) or match).end() - start
            boxes.append((match.start(), end, text[start:end]))
    boxes = [
        box
        for place, box in enumerate(boxes)
        if not any(other[0] < box[0] < other[1] for other in boxes[max(0, place - 8) : place])
    ]
    boxes = [box for box in boxes if box[2].strip()]
    if not boxes:
        return None
    together = [boxes[-1]]
    for box in reversed(boxes[-12:-1]):
        between = text[box[1] : together[0][0]]
        if len(between) > 60 or _NEW_THOUGHT.search(between):
            break
        if not re.search(r"and|or|,|;|和|и|y|et|und", re.sub(r"\\[A-Za-z]+", " ", between)):
            break
        together.insert(0, box)
    answers = [_unboxed(box[2].strip()) for box in together]
    return answers[0] if len(set(answers)) == 1 else ", ".join(answers)


def _unboxed(text: str) -> str:
    inner = _BOX.search(text)
    return text[inner.end() : _closing(text, inner.end())] if inner and inner[0].endswith("{") and inner.start() == 0 else text


def _closing(text: str, start: int) -> int:
    """Where the brace that is open at ``start`` closes; the end of the line, or of the text, where it never does."""
    depth = 1
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start, start + 20_000):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    line = re.compile(r"(?<!\\)\$|\n|$").search(text, start, start + 5_000)
    return line.start() if line else min(start + 5_000, len(text))


def _phrased(tail: str) -> Extracted | None:
    """What follows the last phrase that announces an answer."""
    for match in reversed(list(_PHRASE.finditer(tail))):
        rest = tail[match.end() :].strip().lstrip("*:").strip()
        if not rest or re.search(
            r"\b(?:if|suppose|assume|assuming|is)\s+(?:that\s+)?(?:the\s+|our\s+)?$", tail[: match.start()], re.IGNORECASE
        ):
            continue
        if re.match(r"not\b", rest):
            instead = re.search(r"\b(?:it is|it's|but)\s+(.+)", rest)
            if instead is None:
                continue
            rest = instead[1]
        line = rest.split("\n\n")[0]
        choice = re.match(
            r"[\s$*\\(]*(?:text(?:bf)?\{)?\(?([A-J])\)?\}?(?=$|[\s.,:;)*$}])(?!\}?\$?\s*(?:,|and\b|or\b)\s*\$?\(?[A-J]\b)", line
        )
        if choice and not re.match(r"A\s+[a-z]", line):
            return Extracted(choice[1], "phrase, choice")
        formula = _MATH.match(line)
        if formula and not re.match(r"\s*(?:\\?%|percent)", line[formula.end() :]):
            formulas, between = [formula], [""]
            while more := re.compile(r"\s*(?:,|and|or|;)\s*(?=\$|\\[(\[])", re.IGNORECASE).match(line, formulas[-1].end()):
                following = _MATH.match(line, more.end())
                if following is None:
                    break
                formulas.append(following)
                between.append(" or " if "or" in more[0].lower() else ", ")
            joined = "".join(link + _content(each) for link, each in zip(between, formulas, strict=True))
            return Extracted(joined, "phrase")
        cut = _TRAILING.search(line)
        candidate = (line[: cut.start()] if cut else line).strip(" *,;").rstrip(".")
        first = re.split(r",\s", candidate)[0]
        prose = re.search(r",\s+[A-Za-z]+\s+[a-z]{2,}", candidate)
        for text in (first, candidate) if prose else (candidate, first):
            if text and _is_answer(text):
                return Extracted(text, "phrase")
        number = _NUMBER.search(candidate) if not _MATH.search(candidate) else None
        if number and not _stands(candidate, number):
            return None
        last = Extracted(number[0].strip(), "first number") if number else _last_mathematics(candidate or line)
        if last:
            return Extracted(last.text, f"phrase, {last.rule}")
    return None


def _stands(text: str, number: re.Match[str]) -> bool:
    """Whether a number is stated, and not denied, bounded or only a part of what is stated."""
    before = text[max(0, number.start() - 60) : number.start()]
    if re.search(r"[¼-¾⅐-⅟]$|[^\x00-\x7f\w\s。，：、（“”≈€£¥–—×÷·−]$", before):  # a symbol that belongs to it
        return False
    return not _BEFORE.search(before) and not _AFTER.match(text, number.end())


def _content(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip()


def _last_mathematics(tail: str) -> Extracted | None:
    """The last formula or number of the last sentence that holds one."""
    formula_alone = tail.isascii() and len(re.findall(r"[^\W\d_]{2,}", re.sub(r"\\[A-Za-z]+", " ", _MATH.sub(" ", tail)))) < 2
    for sentence in reversed(_joined(_SENTENCE.split(tail))):
        formulas = [match for match in _MATH.finditer(sentence) if re.search(r"[\dA-Za-z]", _content(match))]
        rest = sentence[formulas[-1].end() :] if formulas else sentence
        emphasised = [
            match for match in formulas if re.search(r"\\(?:mathbf|boldsymbol) ?\{[-+ ]*\\?[\d,.\s]*\d", _content(match))
        ]
        if emphasised:
            return Extracted(_after_equals(_content(emphasised[-1])), "bold formula")
        bold = [match[1] for match in _BOLD.finditer(sentence) if re.search(r"\d", match[1])]
        if formulas and _BEFORE.search(sentence[: formulas[-1].start()]):
            return None
        if formulas and not _NUMBER.search(rest):
            return Extracted(
                ", ".join(_after_equals(_content(each)) for each in _enumerated(sentence, formulas)), "last formula"
            )
        if bold and not formulas:
            inside = bold[-1].strip(" .:")
            if _is_answer(inside):
                return Extracted(inside, "bold")
        prose = _MATH.sub(" ", sentence)
        numbers = [match[0] for match in _NUMBER.finditer(prose) if _stands(prose, match)]
        if numbers and not formula_alone:  # a number is never picked out of a formula that was not understood
            return Extracted(numbers[-1].rpartition("=")[2].strip(" ,"), "last number")
    return None


def _enumerated(sentence: str, formulas: list[re.Match[str]]) -> list[re.Match[str]]:
    """The last formulas with nothing but commas, "and", "or" between them."""
    first = len(formulas) - 1
    label = _label(formulas[-1])
    while (
        first
        and re.fullmatch(r"\s*,?\s*(?:and|or|,)\s*", sentence[formulas[first - 1].end() : formulas[first].start()])
        and _label(formulas[first - 1]) == label
    ):
        first -= 1
    return formulas[first:]


def _label(formula: re.Match[str]) -> str:
    """What stands in front of the relation of a formula."""
    return "".join(re.split(r"[=<>]|\\[lg]eq?|\\approx", _content(formula))[:-1][:1]).strip()


def _joined(sentences: list[str]) -> list[str]:
    """Sentences again, where a split fell into a formula."""
    joined: list[str] = []
    for sentence in sentences:
        if joined and _open_formula(joined[-1]):
            joined[-1] += " " + sentence
        elif sentence.strip():
            joined.append(sentence)
    return joined


def _open_formula(text: str) -> bool:
    """Whether a formula is still open at the end: $, $$, \\[ or an environment."""
    return (
        text.count("$$") % 2 == 1
        or text.replace("$$", "").count("$") % 2 == 1
        or text.count("\\[") > text.count("\\]")
        or text.count("\\begin{") > text.count("\\end{")
    )


def _after_equals(formula: str) -> str:
    """A chain of calculation stands for its end: 3 + 4 = 7 for 7; an equation with a name stays whole."""
    formula = re.sub(r"\\(?:begin|end)\{(?:align(?:ed)?\*?|gathered|split|cases)\}", "", formula)
    sides = re.split(r"(?<![<>!:\\])&?=(?!=)", formula)
    if len(sides) == 2 and re.fullmatch(r"\s*[A-Za-z]\(\d+\)\s*", sides[0]):
        return sides[1].strip(" .")
    if (
        len(sides) >= 2
        and re.search(r"\d", sides[-1])
        and (len(sides) > 2 or not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", sides[0])))
    ):
        return sides[-1].strip(" .")
    return formula


def choice_letter(text: str) -> str | None:
    """The option that a text decides for: its first letter after a phrase, alone, or in front.

    >>> choice_letter("The answer is (C)."), choice_letter("D. it can't be A"), choice_letter(r"\\text{B}")
    ('C', 'D', 'B')
    """
    found = extract(text)
    inner = found.text if found and found.rule in ("boxed", "phrase, choice", "phrase") else text.strip()
    plain = re.sub(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}", r"\1", inner).strip(" $*.")
    plain = re.sub(r"\bnot\s+\(?[A-J]\)?(?![A-Za-z])", " ", plain)
    letters = _CHOICE.findall(plain[-200:])
    front = re.match(r"\(?([A-Ja-j])\)?(?=$|[\s.):,;])", plain)
    listed = re.match(r"\(?[A-J]\)?\s*(?:,|and|or)\s*\(?[A-J](?![A-Za-z])", plain)
    denied = re.match(r"\(?[A-Ja-j]\)?\s+(?:is|was|can't|cannot|isn't|fails|over|or)\b", plain)
    if front and not listed and not denied and not re.match(r"[AaIi]\s+[a-z]|\(?[A-Ja-j]\)?\s*[-+*/=^_(<>]", plain):
        return front[1].upper()
    stated = re.findall(r"(?:option|choice|answer)\s+(?:is\s+)?[\s$*\\(]*(?:text\w*\{)?\(?([A-J])\)?(?![A-Za-z])", text[-TAIL:])
    if stated and not listed:
        return str(stated[-1])
    formula = re.search(r"[-+*/=^_<>\d\\]", plain)
    return letters[-1] if letters and len(set(letters)) == 1 and not listed and not formula else None

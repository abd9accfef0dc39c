"""The formulas of a step and the arithmetic of its prose, as chains of sides with relations between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FORMULA = re.compile(
    r"\\\[(.{1,1500}?)\\\]|\\\((.{1,1000}?)\\\)|\$\$([^$]{1,1500})\$\$|<<([^<>\n]{1,200})>>"
    r"|\\begin\{(?:align\*?|aligned|gather\*?|equation\*?|eqnarray\*?)\}(.{1,1500}?)\\end\{[a-z]+\*?\}"
    r"|(?<![\\$\d])\$(?![\s$])((?:[^$\\]|\\.){0,1000}?(?:[^\s$\\]|\\[)\]}%]))\$(?!\d)", re.DOTALL)  # fmt: skip


_RELATION = {name: relation for relation, names in {
    "=": "= == :=", "approx": r"\approx ≈ \simeq \sim", "<": r"< \lt", ">": r"> \gt", "le": r"<= ≤ \le \leq \leqslant",
    "ge": r">= ≥ \ge \geq \geqslant", "equiv": r"\equiv ≡", "ne": r"\ne \neq ≠ !="}.items() for name in names.split()}  # fmt: skip


SIGNS = {"approx": "≈", "le": "≤", "ge": "≥", "ne": "≠", "equiv": "≡"}


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
class Chain:
    """Sides and the relations between them; ``doubtful``: the words around it may change what it says."""

    sides: list[str]
    relations: list[str]
    doubtful: bool = False
    modulus: str = ""
    trial: bool = False  # a value that is only tried


def chains(text: str) -> Iterator[Chain]:
    """The relations that a step states, in order."""
    text = re.sub(r"(?<=\d),?\\!\s*(?=\d{3})", ",", text)  # 22,\\!100
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


def _split_chains(body: str, previous: str) -> Iterator[Chain]:
    """A formula at its relations, rows and commas outside brackets; a row that begins with = goes on with ``previous``."""
    body = re.sub(r"\\not\s*(?:\\equiv|≡|=)", r"\\ne ", _FRAME.sub(" ", body))
    body = body if r"\begin" in body else body.replace("&", " ")
    found = _MODULUS.search(body)
    modulus = found[found.lastindex or 0] if found and (not found[2] or re.search(r"\\equiv|≡", body)) else ""
    body = body.replace(found[0], " ") if found and modulus else body
    depth = start = 0
    chain = Chain([], [], modulus=modulus)
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
            previous, chain = chain.sides[-1], Chain([], [], modulus=modulus)


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


def _prose_chains(text: str) -> Iterator[Chain]:
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

    def finish(self) -> Iterator[Chain]:
        if self.relations:
            yield Chain([self.sides[0] or self.label, *self.sides[1:]], self.relations, self.doubtful, trial=self.trial)
        self.begin()

    def take(self, kind: str, value: str, at: int) -> Iterator[Chain]:
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

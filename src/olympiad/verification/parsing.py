"""Tokens -> the structure of an answer. Every symbol is consumed, or the answer is not understood.

An answer is a tuple ``(kind, ...)``::

    ("expression", tree)            ("list", items)   ("set", items)   ("brackets", "(", items, "]")
    ("union" | "intersection" | "difference", left, right)             ("numbers", "R")
    ("chain", sides, relations)     ("any" | "all", items)  of inequalities
    ("quantity", tree, unit)        ("percent", tree)       ("ratio", trees)
    ("congruence", side, modulus)   ("builder", condition)  ("words", text)

and a tree is an expression: ``("number", value, literal)``, ``("variable", name)``, ``("+", left, right)``, ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .tokens import FUNCTIONS, MAX_CHARACTERS, NotUnderstoodError, Token, clean, tokenize
from .units import parse_unit

Tree = tuple[Any, ...]
Answer = tuple[Any, ...]

MAX_DEPTH = 60
_CALLED = frozenset("f g h F G H W phi psi Phi".split())  # letters that are functions when a bracket follows
_NAMED = frozenset("p q r s u v w y z".split())  # these too, of one variable: y(t)
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_SET_OPERATIONS = (("cup", "union"), ("setminus", "difference"), ("cap", "intersection"))
_BASES = {name: base for base, name in enumerate("two three four five six seven eight nine ten".split(), 2)} | {"sixteen": 16}
_EMPTY = ("empty set", "the empty set", "null set")
_CURRENCIES = ("dollar", "euro", "sterling")
_FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_ORDER = frozenset(("<", ">", "le", "ge"))
_FRENCH = re.compile(r"\]([^\[\]()]*[,;][^\[\]()]*)([\[\]])|\[([^\[\]()]*[,;][^\[\]()]*)\[")


def parse(text: str, thousands: bool = True) -> Answer:
    """The structure of an answer.

    Raises:
        NotUnderstoodError: some of it is nothing that this grammar knows.

    >>> parse(r"$x \\in (1, 2]$")[0], parse("3, 4")[0], parse(r"\\text{even}")
    ('chain', 'list', ('words', 'even'))
    """
    if len(text) > MAX_CHARACTERS:
        raise NotUnderstoodError(f"{len(text):,} characters are more than the {MAX_CHARACTERS:,} of any answer")
    try:
        return _parsed(text, thousands)
    except RecursionError as error:
        raise NotUnderstoodError("it is nested too deeply") from error


@lru_cache(maxsize=4096)
def _parsed(text: str, thousands: bool) -> Answer:
    plain = clean(text)
    if plain.startswith("]") or re.search(r"cup ?\]|,[^\[\]()]*\[ ?(?:$|\\cup)", plain):
        plain = _FRENCH.sub(lambda m: f"({m[1]}{')' if m[2] == '[' else ']'}" if m[1] else f"[{m[3]})", plain)
    if not plain:
        raise NotUnderstoodError("there is no answer")
    tokens = _closed(tokenize(plain, thousands))
    if not tokens:
        raise NotUnderstoodError("there is no answer")
    try:
        return _answer(tokens, 0)
    except NotUnderstoodError:
        words = _words(plain)
        if words and all(token.kind in ("text", "letters", "variable", "separator") for token in tokens):
            return ("set", ()) if words in _EMPTY else ("words", words)
        raise


def _closed(tokens: list[Token]) -> list[Token]:
    """With the brackets closed that were left open at the end."""
    waiting = []
    for token in tokens:
        if token.kind == "open":
            waiting.append(_CLOSING[token.value])
        elif token.kind == "close" and waiting:
            waiting.pop()
    return tokens + [Token("close", value) for value in reversed(waiting)] if len(waiting) <= 3 else tokens


def _words(plain: str) -> str:
    """The letters and digits of a text, without LaTeX, in lower case."""
    return " ".join(re.findall(r"\w+", re.sub(r"\\[A-Za-z]+", " ", plain).casefold()))


def split(tokens: Sequence[Token], *values: str) -> list[list[Token]]:
    """The tokens between separators, symbols or commands of these values that stand in no bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind in ("open", "begin"):
            depth += 1
        elif token.kind in ("close", "end"):
            depth -= 1
        if depth == 0 and token.value in values and token.kind in ("separator", "symbol", "command", "relation"):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _answer(tokens: Sequence[Token], depth: int) -> Answer:
    if depth > MAX_DEPTH:
        raise NotUnderstoodError(f"brackets nested deeper than {MAX_DEPTH}")
    groups = [group for group in split(tokens, ";") if group]
    if len(groups) > 1:
        items = [_listed(group, depth) for group in groups]
        return ("list", [("brackets", "(", item[1], ")") if item[0] == "list" else item for item in items])
    if not groups:
        raise NotUnderstoodError("there is no answer")
    return _listed(groups[0], depth)


def _listed(tokens: Sequence[Token], depth: int) -> Answer:
    moduli = [place for place, token in enumerate(tokens) if _starts_modulus(tokens, place)]
    modulus = moduli[0] if moduli else None
    if len(moduli) > 1:
        pieces = [part for part in split(tokens, ",", "and", "or") if part]
        if len(pieces) != len(moduli):
            raise NotUnderstoodError("several moduli")
        each = [_listed(part, depth) for part in pieces]
        if any(item[0] != "congruence" or item[2] != each[0][2] for item in each):
            raise NotUnderstoodError("congruences of several moduli")
        if any(item[3] != each[0][3] for item in each):
            raise NotUnderstoodError("congruences of several unknowns")
        return ("congruence", ("list", [item[1] for item in each]), each[0][2], each[0][3])
    if modulus is not None:
        inside = tokens[modulus + 1 :] if tokens[modulus].kind == "command" else tokens[modulus + 2 : -1]
        sides = [side for side in _sides(tokens[:modulus]) if side]
        if not sides:
            raise NotUnderstoodError("a modulus without a number")
        left = _expression(sides[0], depth) if len(sides) > 1 else None
        return ("congruence", _listed(sides[-1], depth), _expression(inside, depth), left)
    separators = {token.value for token in tokens if token.kind == "separator"}
    parts = [part for part in split(tokens, ",", "and", "or") if part]
    if len(parts) > 1 and _is_range_of_index(parts[-1], parts[:-1]):
        parts.pop()
    if not parts:
        raise NotUnderstoodError("there is no answer")
    items = [_item(part, depth) for part in parts]
    if len(items) == 1:
        return items[0]
    if items[0][0] == "chain" and items[0][2] == ("ne",) and all(item[0] == "expression" for item in items[1:]):
        return ("all", [items[0], *(("chain", (items[0][1][0], item), ("ne",)) for item in items[1:])])  # x is not 0, 1
    if all(item[0] in ("chain", "union", "brackets", "numbers") for item in items) and any(map(_is_range, items)):
        return ("any" if "or" in separators else "all", items)
    return ("list", items)


def _is_range_of_index(part: Sequence[Token], before: Sequence[Sequence[Token]]) -> bool:
    """k \\in \\mathbb{Z} behind x = k\\pi."""
    stripped = [token for token in part if token.value not in ("(", ")", "where")]
    shape = [token.kind for token in stripped]
    names = {token.value for each in before for token in each if token.kind == "variable"}
    return shape == ["variable", "relation", "set"] and stripped[1].value == "in" and stripped[0].value in names


def _is_range(item: Answer) -> bool:
    return item[0] == "chain" and bool(_ORDER & set(item[2]))


def _item(tokens: Sequence[Token], depth: int) -> Answer:
    """One answer of a list: a chain of relations, or a value."""
    currency = next((token.value for token in tokens if token.kind == "command" and token.value in _CURRENCIES), None)
    if currency:
        rest = [token for token in tokens if not (token.kind == "command" and token.value in _CURRENCIES)]
        inner = _item(rest, depth) if rest else ("words", "")
        if inner[0] in ("expression", "quantity"):
            return ("quantity", inner[1], f"{inner[2] if len(inner) > 2 else ''} {currency}".strip())
        tokens = rest
    if all(token.kind == "text" for token in tokens):
        words = _words(" ".join(token.value for token in tokens))
        return ("set", ()) if words in _EMPTY else ("words", words)
    relations = _relations(tokens)
    sides = _sides(tokens)
    if relations:
        if relations[0] == "approx" and len(set(relations)) == 1:
            return _side(sides[0] or sides[-1], depth)  # the exact value, then its approximation
        parsed = [_side(side, depth) for side in sides if side]
        if len(parsed) < len(sides):
            if len(parsed) == 1 and relations == ["="]:
                return parsed[0]  # "= 7"
            raise NotUnderstoodError("a relation with nothing on one side")
        if "approx" in relations:
            cut = relations.index("approx")
            parsed, relations = parsed[: cut + 1], relations[:cut]
        return ("chain", tuple(parsed), tuple(relations)) if relations else parsed[0]
    return _side(tokens, depth)


def _starts_modulus(tokens: Sequence[Token], place: int) -> bool:
    if tokens[place].kind == "command" and tokens[place].value == "pmod":
        return True
    if tokens[place].value == "mod" and any(token.value == "equiv" for token in tokens[:place]):
        return tokens[place - 1].value != "("
    following = tokens[place + 1] if place + 1 < len(tokens) else None
    return (
        tokens[place].value == "("
        and tokens[place].kind == "open"
        and following is not None
        and following[1] == "mod"
        and tokens[-1].value == ")"
    )


def _relations(tokens: Sequence[Token]) -> list[str]:
    depth, found = 0, []
    for token in tokens:
        depth += {"open": 1, "begin": 1, "close": -1, "end": -1}.get(token.kind, 0)
        if depth == 0 and token.kind == "relation":
            found.append(token.value)
    return found


def _sides(tokens: Sequence[Token]) -> list[list[Token]]:
    depth = 0
    sides: list[list[Token]] = [[]]
    for token in tokens:
        depth += {"open": 1, "begin": 1, "close": -1, "end": -1}.get(token.kind, 0)
        if depth == 0 and token.kind == "relation":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def _side(tokens: Sequence[Token], depth: int) -> Answer:
    """A value: set, interval, tuple, ratio, quantity or expression."""
    if not tokens:
        raise NotUnderstoodError("there is nothing on one side")
    for command, kind in _SET_OPERATIONS:
        parts = split(tokens, command)
        if len(parts) > 1:
            sides = [_side(part, depth) for part in parts]
            left = sides[0]
            for right in sides[1:]:
                left = (kind, left, right)
            return left
    if tokens[0].kind == "set":
        parts = split(tokens, "-")
        if len(parts) == 2 and parts[1]:
            return ("difference", _side(parts[0], depth), _side(parts[1], depth))
    ratio = split(tokens, ":")
    if len(ratio) > 1:
        return ("ratio", tuple(_expression(part, depth) for part in ratio))
    if tokens[0].kind == "open" and _closes(tokens, 0) == len(tokens) - 1:
        return _bracketed(tokens, depth)
    if len(tokens) == 1 and tokens[0].kind == "set":
        return ("numbers", tokens[0].value)
    if len(tokens) == 1 and tokens[0].value == "emptyset":
        return ("set", ())
    compound = _compound(tokens, depth)
    if compound is not None:
        return compound
    unit = _unit_start(tokens)
    if unit == 0:
        return ("words", _words(" ".join(token.value for token in tokens)))
    if unit < len(tokens):
        words = "".join(token.value if token.kind != "text" else f" {token.value} " for token in tokens[unit:])
        if any(
            token.value.casefold() in _NO_UNITS or _NO_UNITS & set(token.value.casefold().split()) for token in tokens[unit:]
        ):
            raise NotUnderstoodError("a sentence")
        inner = _side(tokens[:unit], depth)
        if inner[0] == "quantity" or (inner[0] == "expression" and inner[1][0] == "compound"):
            raise NotUnderstoodError("units within units")
        if inner[0] == "expression" and inner[1][0] in ("variable", "apply"):
            return ("words", _words(" ".join(token.value for token in tokens)))
        if inner[0] == "expression":
            return ("quantity", inner[1], " ".join(words.split()))
        if inner[0] == "quantity":
            return ("quantity", inner[1], f"{inner[2]} {' '.join(words.split())}")
        raise NotUnderstoodError("words behind something that is no number")
    if tokens[-1].value == "%":
        return ("percent", _expression(tokens[:-1], depth))
    if len(tokens) > 2 and tokens[-1].value in ("C", "F") and tokens[-2].value in ("circ", "degree", "}"):
        inner = _side(tokens[:-1], depth)
        if inner[0] == "quantity" and inner[2] == "degree":
            return ("quantity", inner[1], "celsius" if tokens[-1].value == "C" else "fahrenheit")
    if tokens[-1].value == "degree" and len(tokens) > 1 and tokens[-2].value != "^":
        return ("quantity", _expression(tokens[:-1], depth), "degree")
    tree = _expression(tokens, depth)
    if tree[0] == "degree":
        return ("quantity", tree[1], "degree")
    if tree[:1] == ("negative",) and tree[1][0] == "degree":
        return ("quantity", ("negative", tree[1][1]), "degree")
    return ("expression", tree)


_NO_UNITS = frozenset("not no is are does do doesn't isn't wrong incorrect too than least most".split())


def _compound(tokens: Sequence[Token], depth: int) -> Answer | None:
    """5 feet 6 inches, 2 hours and 15 minutes: a sum, in the basic unit."""
    words = [
        place
        for place, token in enumerate(tokens)
        if token.kind == "text" or (token.kind == "letters" and _is_word(token.value))
    ]
    if len(words) < 2 or words[-1] != len(tokens) - 1 or any(tokens[p + 1].kind != "number" for p in words[:-1]):
        return None
    total: Tree = ("number", Fraction(0), "0")
    start, dimension = 0, None
    for place in words:
        dimensions, size, rest = parse_unit(tokens[place].value)
        if rest or not dimensions or (dimension is not None and dimensions != dimension):
            return None
        dimension = dimensions
        total = ("+", total, ("*", _expression(tokens[start:place], depth), ("number", size, "")))
        start = place + 1
    return ("quantity", total, _BASIC[next(iter(dimension or {}))]) if dimension and list(dimension.values()) == [1] else None


_BASIC = {"length": "m", "mass": "g", "time": "s", "calendar": "month", "money": "cent", "degree": "degree", "angle": "radian"}


def _unit_start(tokens: Sequence[Token]) -> int:
    """Where trailing words begin; an exponent may follow them (cm^2)."""

    def is_unit(place: int) -> bool:
        token = tokens[place]
        if token.kind == "variable" and token.value in ("h", "s", "m", "L", "g"):  # km/h
            return (
                place > 1
                and tokens[place - 1].value == "/"
                and tokens[place - 2].kind in ("letters", "text")
                and is_unit(place - 2)
            )
        if token.kind == "letters" and token.value in _SHORT_UNITS and len(token.value) < 3:  # hr may be h times r
            return place > 0 and tokens[place - 1].kind in ("number", "close", "symbol", "text", "letters")
        return token.kind == "text" or (token.kind == "letters" and _is_word(token.value))

    place = len(tokens)
    while place > 0:
        token = tokens[place - 1]
        if is_unit(place - 1) or (place < len(tokens) and token.value in ("/", "-", "*") and is_unit(place)):
            place -= 1
        elif token.kind == "number" and place >= 3 and tokens[place - 2].value == "^" and is_unit(place - 3):
            place -= 2
        elif token.value == "}" and place >= 5 and tokens[place - 4].value == "^" and is_unit(place - 5):
            place -= 4
        else:
            break
    return place


def _is_word(run: str) -> bool:
    return len(run) > 3 or run in _SHORT_UNITS or bool(re.fullmatch("[A-Za-z][aeiou][a-z]", run))


_SHORT_UNITS = frozenset(
    "cm mm km kg mg ml mph kph sec min hr hrs ft yd mi lb oz cc deg rad in st nd rd th mod pm am pts sq".split()
)


def _closes(tokens: Sequence[Token], start: int) -> int:
    """The place of the bracket that closes the one at ``start``; -1 without."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += {"open": 1, "begin": 1, "close": -1, "end": -1}.get(tokens[place].kind, 0)
        if depth == 0:
            return place
    return -1


def _bracketed(tokens: Sequence[Token], depth: int) -> Answer:
    opening, closing, content = tokens[0].value, tokens[-1].value, list(tokens[1:-1])
    if depth > MAX_DEPTH:
        raise NotUnderstoodError(f"brackets nested deeper than {MAX_DEPTH}")
    parts = [part for part in split(content, ",", ";", "and", "or") if part]
    if opening == r"\{":
        conditions = split(content, "|", ":")
        if len(conditions) == 2 and _relations(conditions[1]):
            return ("builder", _listed(conditions[1], depth + 1))
        return ("set", tuple(_item(part, depth + 1) for part in parts))
    if opening == "{":
        conditions = split(content, "|", ":")
        if len(conditions) == 2 and _relations(conditions[1]) and len(conditions[0]) <= 3:
            return ("builder", _listed(conditions[1], depth + 1))
        if len(parts) > 1 and not split(content, "choose")[1:]:
            return ("set", tuple(_item(part, depth + 1) for part in parts))
        return (
            _answer(content, depth + 1)
            if content and not split(content, "choose")[1:]
            else ("expression", _expression(tokens, depth))
        )
    if len(parts) > 1:
        return ("brackets", opening, tuple(_item(part, depth + 1) for part in parts), closing)
    if not parts:
        raise NotUnderstoodError("empty brackets")
    inner = _item(parts[0], depth + 1)
    return inner if _CLOSING.get(opening) == closing else ("brackets", opening, (inner,), closing)


def _expression(tokens: Sequence[Token], depth: int, deep_bars: bool = False) -> Tree:
    parser = _Expression(list(tokens), depth)
    parser.deep_bars = deep_bars
    try:
        tree = parser.sum()
        if parser.at != len(parser.tokens):
            raise NotUnderstoodError(f"{parser.tokens[parser.at].value!r} where the expression should end")
    except NotUnderstoodError:
        if deep_bars or sum(token.value == "|" for token in tokens) < 6:
            raise
        return _expression(tokens, depth, deep_bars=True)  # ||x||y||: bars within bars
    return tree


class _Expression:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[Token], depth: int) -> None:
        if depth > MAX_DEPTH:
            raise NotUnderstoodError(f"brackets nested deeper than {MAX_DEPTH}")
        self.tokens, self.depth, self.at, self.bars = tokens, depth, 0, 0
        self.deep_bars = False

    def peek(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else Token("end of answer", "")

    def take(self) -> Token:
        token = self.peek()
        if not token.value:
            raise NotUnderstoodError("the expression ends too early")
        self.at += 1
        return token

    def accept(self, value: str) -> bool:
        if self.peek().value == value and self.peek().kind != "text":
            self.at += 1
            return True
        return False

    def sum(self) -> Tree:
        left = self.product()
        while self.peek().value in ("+", "-", "pm", "mp") and self.peek().kind != "text":
            left = (self.take().value, left, self.product())
        return left

    def product(self) -> Tree:
        left = self.signed()
        while True:
            token = self.peek()
            if token.kind == "symbol" and token.value in ("*", "/"):
                self.at += 1
                left = (token.value, left, self.signed())
            elif token.kind == "command" and token.value == "mod":
                self.at += 1
                left = ("call", "mod", (left, self.signed()))
            elif self.starts_factor(token):
                left = ("*", left, self.power())
            else:
                return left

    def starts_factor(self, token: Token) -> bool:
        if token.kind == "number":  # 3 1\frac{1}{2}, but not 3 4
            before = self.tokens[self.at - 1]
            return self.peek(1).value == "frac" or before.kind in ("variable", "close") or before.value in ("!", "pi")
        if token.kind == "symbol":
            following = self.peek(1)
            operand = following.kind in ("variable", "number", "letters") and self.deep_bars
            left = sum(other.value == "|" for other in self.tokens[self.at :])
            return token.value == "|" and (self.bars == 0 or (operand and left > self.bars))
        if token.kind == "command":
            return token.value not in ("pm", "mp", "choose", "mod", "rfloor", "rceil", "cup", "cap", "setminus", "circ")
        return token.kind in ("variable", "letters", "open", "begin")

    def signed(self) -> Tree:
        token = self.peek()
        if token.value in ("-", "+", "pm", "mp") and token.kind != "text":
            self.at += 1
            inner = self.signed()
            if token.value in ("pm", "mp"):
                return (token.value, ("number", Fraction(0), "0"), inner)
            return ("negative", inner) if token.value == "-" else inner
        return self.power()

    def power(self) -> Tree:
        base = self.primary()
        while True:
            if self.peek().value == "^" and self.peek().kind == "symbol":
                self.at += 1
                chosen = base[0] == "apply" and base[1] == "C" and len(base[2]) == 1
                base = self.raised(base)
                if chosen and base[0] == "^":  # C_5^2
                    base = ("call", "binom", (base[1][2][0], base[2]))
                if base[0] == "^" and base[1][0] == "variable" and base[1][1] in _CALLED and self.peek().value == "(":
                    sign = "-1" if base[2] == ("negative", ("number", Fraction(1), "1")) else str(base[2])
                    base = ("apply", f"{base[1][1]}^{sign}", self.arguments())
            elif self.accept("!"):
                base = ("factorial2", base) if self.accept("!") else ("factorial", base)
            else:
                return base

    def raised(self, base: Tree) -> Tree:
        token = self.peek()
        if token.value in ("circ", "degree"):
            self.at += 1
            return ("degree", base)
        if token.value == "{":
            inner = self.tokens[self.at + 1 : _closes(self.tokens, self.at)]
            if [each.value for each in inner] in (["circ"], ["degree"]):
                self.at += 3
                return ("degree", base)
        if token.value == "top" or (token.value == "T" and base[0] == "matrix"):
            self.at += 1
            return ("transpose", base)
        if token.value in ("-", "+"):
            self.at += 1
            sized = self.primary()
            return ("^", base, ("negative", sized) if token.value == "-" else sized)
        exponent = self.primary()
        if self.peek().value == "^" and self.peek().kind == "symbol":  # 2^3^2
            self.at += 1
            exponent = self.raised(exponent)
        return ("^", base, exponent)

    def primary(self) -> Tree:
        token = self.take()
        if token.kind == "number":
            return self.number(token)
        if token.kind == "variable":
            return self.variable(token.value)
        if token.kind == "letters":
            return self.letters(token.value)
        if token.kind == "open":
            return self.group(token)
        if token.kind == "begin":
            return self.matrix(token.value)
        if token.kind == "command":
            return self.command(token.value)
        if token.value == "|":
            self.bars += 1
            inner = self.sum()
            if not self.accept("|"):
                raise NotUnderstoodError("a bar without its partner")
            self.bars -= 1
            return ("call", "abs", (inner,))
        raise NotUnderstoodError(f"{token.value!r} where a number or variable should be")

    def number(self, token: Token) -> Tree:
        if len(token.value) > 4_000:
            raise NotUnderstoodError(f"a number of {len(token.value):,} digits")
        tree: Tree = ("number", Fraction(token.value), token.value)
        if self.peek().value == "_" and token.value.isdigit():
            self.at += 1
            names = [each.value for each in self.tokens[self.at : self.at + 3]]
            if len(names) > 2 and names[0] == "{" and names[1] in _BASES and names[2] == "}":
                self.at += 3
                return self.based(token.value, ("number", Fraction(_BASES[names[1]]), str(_BASES[names[1]])))
            return self.based(token.value, self.primary())
        if self.peek().value == "_" and "." in token.value and self.peek(1).value in ("2", "3", "{"):
            whole, _, part = token.value.partition(".")
            self.at += 1
            scaled = self.based(whole + part, self.primary())
            base = Fraction(int(scaled[2].rpartition("_")[2]))
            return ("number", scaled[1] / base ** len(part), f"{token.value}_{base}")
        if not token.value.isdigit():
            return tree
        if self.peek().value == "frac":  # a mixed number
            before = self.at
            part = self.primary()
            if part[0] == "/" and all(side[0] == "number" and side[2].isdigit() for side in part[1:]):
                return ("+", tree, part)
            self.at = before
        elif self.peek().kind == "number" and self.peek(1).value == "/" and self.peek(2).kind == "number":
            whole, above, below = tree, self.peek(), self.peek(2)
            if above.value.isdigit() and below.value.isdigit():
                self.at += 3
                parts = (("number", Fraction(each.value), each.value) for each in (above, below))
                return ("+", whole, ("/", *parts))
        return tree

    def based(self, digits: str, base: Tree) -> Tree:
        if base[0] != "number" or not 2 <= base[1] <= 36 or any(int(digit) >= base[1] for digit in digits):
            raise NotUnderstoodError(f"{digits} is no number in that base")
        return ("number", Fraction(int(digits, int(base[1]))), f"{digits}_{base[2]}")

    def variable(self, name: str) -> Tree:
        if name in ("e", "i", "I") and self.peek().value != "_":
            return ("constant", "i" if name == "I" else name)
        while self.accept("'"):
            name += "'"
        arguments: tuple[Tree, ...] = ()
        if self.accept("_"):
            name, arguments = self.subscript(name)
        if (
            self.peek().kind == "open"
            and self.peek().value in ("(", "[", "{")
            and (self.peek().value != "{" or name in _CALLED)
        ):
            inside = self.tokens[self.at + 1 : max(_closes(self.tokens, self.at), self.at)]
            if name == "C" and len(split(inside, ",")) == 2:
                return ("call", "binom", self.arguments())
            named = name.isupper() or name in _NAMED
            if (
                name.rstrip("'") in _CALLED
                or name.endswith("'")
                or (named and len(inside) == 1 and inside[0].kind == "variable")
            ):
                return ("apply", name, (*arguments, *self.arguments()))
        return ("apply", name, arguments) if arguments else ("variable", name)

    def subscript(self, name: str) -> tuple[str, tuple[Tree, ...]]:
        """An index is an argument: a_{n-1}; words belong to the name: m_{max}."""
        inside = self.inside(self.at) if self.peek().kind == "open" else [self.take()]
        if any(token.kind in ("text", "letters", "separator") or token.value in FUNCTIONS for token in inside) or not inside:
            return f"{name}_{' '.join(token.value for token in inside)}", ()
        return name, (_expression(inside, self.depth + 1),)

    def letters(self, run: str) -> Tree:
        """A run of letters is a product, a name in capitals (the side AB), or a word, which no expression holds."""
        alone = {token.value for token in self.tokens if token.kind == "variable"}
        if run.isupper() and len(run) <= 5 and not set(run) <= alone:
            return ("variable", run)
        if len(run) > 3:
            raise NotUnderstoodError(f"the word {run!r}")
        self.at -= 1
        self.tokens[self.at : self.at + 1] = [Token("variable", letter) for letter in run]
        return self.primary()

    def inside(self, opening: int) -> list[Token]:
        close = _closes(self.tokens, opening)
        if close < 0:
            close = len(self.tokens)  # a bracket that nobody closed: to the end
        self.at = min(close + 1, len(self.tokens))
        return self.tokens[opening + 1 : close]

    def group(self, token: Token) -> Tree:
        content = self.inside(self.at - 1)
        parts = split(content, "choose")
        if len(parts) == 2:
            return ("call", "binom", (_expression(parts[0], self.depth + 1), _expression(parts[1], self.depth + 1)))
        return _expression(content, self.depth + 1)

    def arguments(self) -> tuple[Tree, ...]:
        content = self.inside(self.at)
        return tuple(_expression(part, self.depth + 1) for part in split(content, ",", ";"))

    def argument(self) -> Tree:
        """The argument of a LaTeX command: a group, or one symbol or digit."""
        token = self.peek()
        if token.kind == "number" and len(token.value) > 1 and token.value.isdigit():
            self.tokens[self.at : self.at + 1] = [Token("number", token.value[0]), Token("number", token.value[1:])]
        if self.peek().kind == "letters":
            run = self.peek().value
            self.tokens[self.at : self.at + 1] = [Token("variable", letter) for letter in run]
        return self.primary_alone()

    def primary_alone(self) -> Tree:
        token = self.take()
        if token.kind == "number":
            return ("number", Fraction(token.value), token.value)
        if token.kind == "variable":
            return ("constant", token.value) if token.value in ("e", "i") else ("variable", token.value)
        self.at -= 1
        return self.primary()

    def command(self, name: str) -> Tree:
        if name == "frac":
            groups = "".join(token.value for token in self.tokens[self.at : self.at + 6])
            derivative = re.match(r"\{d([a-z])\}\{d([a-z])\}", groups)
            if derivative:
                self.at += 6
                return ("variable", f"d{derivative[1]}/d{derivative[2]}")
            return ("/", self.argument(), self.argument())
        if name == "binom":
            return ("call", "binom", (self.argument(), self.argument()))
        if name == "sqrt":
            return self.root()
        if name in ("pi", "infty"):
            return ("constant", name)
        if name in _FENCES:
            closing, function = _FENCES[name]
            inner = self.sum()
            if not self.accept(closing):
                raise NotUnderstoodError(f"{name} without {closing}")
            return ("call", function, (inner,))
        if name in ("sum", "prod"):
            return self.repeated(name)
        if name == "lim":
            return self.limit()
        if name in ("angle", "triangle"):
            return ("variable", f"{name} {self.take().value}")
        if name == "dots":
            return ("dots",)
        if name == "dollar":
            return self.primary()
        if name in FUNCTIONS:
            return self.function(name)
        raise NotUnderstoodError(f"the command \\{name}")

    def root(self) -> Tree:
        index: Tree = ("number", Fraction(2), "2")
        if self.peek().value == "[":
            index = _expression(self.inside(self.at), self.depth + 1)
        return ("root", self.argument(), index)

    def function(self, name: str) -> Tree:
        base = power = None
        while self.peek().value in ("_", "^") and self.peek().kind == "symbol":
            if self.take().value == "_":
                base = self.argument()
            else:
                negative = self.accept("-")
                power = self.argument()
                power = ("negative", power) if negative else power
        if self.peek().kind == "open" and self.peek().value in ("(", "[", "{"):
            arguments = self.arguments()
        else:
            arguments = (self.implied_argument(),)
        minus_one = power is not None and power[0] == "negative" and power[1][0] == "number" and power[1][1] == 1
        if minus_one and not name.startswith("arc") and name not in ("log", "ln", "exp", "det", "abs"):
            name, power = f"arc{name}", None
        if name == "log" and base is not None:
            name, arguments = "logbase", (*arguments, base)
        if name in ("max", "min", "gcd", "lcm") and len(arguments) == 1:
            return arguments[0]
        tree: Tree = ("call", name, arguments)
        return tree if power is None else ("^", tree, power)

    def implied_argument(self) -> Tree:
        """What a function without brackets is taken of: \\sin 2x, but not the y of \\sin x \\cos y."""
        tree = self.signed()
        while self.starts_factor(self.peek()) and self.peek().kind != "open" and self.peek().value not in FUNCTIONS:
            tree = ("*", tree, self.power())
        return tree

    def repeated(self, name: str) -> Tree:
        """\\sum_{k=1}^{n} or \\prod, of the product that follows."""
        lower: list[Token] = []
        upper: Tree | None = None
        while self.peek().value in ("_", "^") and self.peek().kind == "symbol":
            if self.take().value == "_":
                lower = self.inside(self.at) if self.peek().kind == "open" else [self.take()]
            else:
                upper = self.argument()
        parts = _sides(lower)
        if len(parts) != 2 or len(parts[0]) != 1 or upper is None:
            raise NotUnderstoodError(f"a {name} without its bounds")
        index = parts[0][0].value
        body = self.product()
        if index in ("i", "e"):
            body = _replaced(body, ("constant", index), ("variable", index))
        return (name, index, _expression(parts[1], self.depth + 1), upper, body)

    def limit(self) -> Tree:
        if not self.accept("_") or self.peek().kind != "open":
            raise NotUnderstoodError("a limit without its point")
        parts = _sides(self.inside(self.at))
        if len(parts) != 2 or len(parts[0]) != 1:
            raise NotUnderstoodError("a limit without its point")
        return ("lim", parts[0][0].value, _expression(parts[1], self.depth + 1), self.product())

    def matrix(self, environment: str) -> Tree:
        close = _closes(self.tokens, self.at - 1)
        if environment not in ("matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "array", "smallmatrix") or close < 0:
            raise NotUnderstoodError(f"the environment {environment!r}")
        content, self.at = self.tokens[self.at : close], close + 1
        lines = [line for line in split(content, "\\\\") if line]
        rows = tuple(tuple(_expression(cell, self.depth + 1) for cell in split(line, "&")) for line in lines)
        if not rows or len({len(row) for row in rows}) != 1:
            raise NotUnderstoodError("a matrix whose rows differ in length")
        return ("call", "det", (("matrix", rows),)) if environment == "vmatrix" else ("matrix", rows)


def _replaced(tree: Any, old: Tree, new: Tree) -> Any:
    if tree == old:
        return new
    return tuple(_replaced(part, old, new) for part in tree) if isinstance(tree, tuple) else tree


def walk(tree: Any, visit: Callable[[Tree], None]) -> None:
    """Call ``visit`` on a tree and all trees within it."""
    if isinstance(tree, tuple):
        if tree and isinstance(tree[0], str):
            visit(tree)
        for part in tree:
            walk(part, visit)

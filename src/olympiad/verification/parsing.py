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
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .expressions import MAX_DEPTH, Tree, closing_bracket, expression_of, sides_of, split
from .tokens import MAX_CHARACTERS, NotUnderstoodError, Token, clean, tokenize
from .units import parse_unit

Answer = tuple[Any, ...]

_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
_SET_OPERATIONS = (("cup", "union"), ("setminus", "difference"), ("cap", "intersection"))
_EMPTY = ("empty set", "the empty set", "null set")
_CURRENCIES = ("dollar", "euro", "sterling")
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
        sides = [side for side in sides_of(tokens[:modulus]) if side]
        if not sides:
            raise NotUnderstoodError("a modulus without a number")
        left = expression_of(sides[0], depth) if len(sides) > 1 else None
        return ("congruence", _listed(sides[-1], depth), expression_of(inside, depth), left)
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
    about = {each[0].value for each in before if each}  # what the answer is about: its domain says something
    if (
        any(token.kind == "relation" and token.value in _ORDER for each in before for token in each)
        or stripped[0].value in about
    ):
        return False
    if stripped[-1].value != "Z":
        return False
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
    sides = sides_of(tokens)
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
        return ("ratio", tuple(expression_of(part, depth) for part in ratio))
    if tokens[0].kind == "open" and closing_bracket(tokens, 0) == len(tokens) - 1:
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
        words = "".join(f" {token.value} " if token.kind in ("text", "letters") else token.value for token in tokens[unit:])
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
        return ("percent", expression_of(tokens[:-1], depth))
    if len(tokens) > 2 and tokens[-1].value in ("C", "F") and tokens[-2].value in ("circ", "degree", "}"):
        inner = _side(tokens[:-1], depth)
        if inner[0] == "quantity" and inner[2] == "degree":
            return ("quantity", inner[1], "celsius" if tokens[-1].value == "C" else "fahrenheit")
    if tokens[-1].value == "degree" and len(tokens) > 1 and tokens[-2].value != "^":
        return ("quantity", expression_of(tokens[:-1], depth), "degree")
    tree = expression_of(tokens, depth)
    if tree[0] == "degree":
        return ("quantity", tree[1], "degree")
    if tree[:1] == ("negative",) and tree[1][0] == "degree":
        return ("quantity", ("negative", tree[1][1]), "degree")
    return ("expression", tree)


_NO_UNITS = frozenset(
    "not no is are does do doesn't isn't wrong incorrect too than least most squared cubed factorial plus minus times over base to below above fails works half "
    "halves third thirds quarter quarters tenths hundredths thousandths january february march april may june july august september "
    "october november december or if when where".split()
)


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
        total = ("+", total, ("*", expression_of(tokens[start:place], depth), ("number", size, "")))
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


def _builder_condition(element: Sequence[Token], condition: Sequence[Token], depth: int) -> Answer:
    """The condition of {x | ...} or {x \\in R | ...}; other elements and domains are not understood."""
    shape = [token.kind for token in element]
    if shape != ["variable"] and not (shape == ["variable", "relation", "set"] and element[2].value == "R"):
        raise NotUnderstoodError("a set of something else than real numbers x")
    return _listed(condition, depth + 1)


def _bracketed(tokens: Sequence[Token], depth: int) -> Answer:
    opening, closing, content = tokens[0].value, tokens[-1].value, list(tokens[1:-1])
    if depth > MAX_DEPTH:
        raise NotUnderstoodError(f"brackets nested deeper than {MAX_DEPTH}")
    parts = [part for part in split(content, ",", ";", "and", "or") if part]
    if opening == r"\{":
        conditions = split(content, "|", ":")
        if len(conditions) == 2 and _relations(conditions[1]):
            return ("builder", _builder_condition(conditions[0], conditions[1], depth))
        return ("set", tuple(_item(part, depth + 1) for part in parts))
    if opening == "{":
        conditions = split(content, "|", ":")
        if len(conditions) == 2 and _relations(conditions[1]) and len(conditions[0]) <= 3:
            return ("builder", _builder_condition(conditions[0], conditions[1], depth))
        if len(parts) > 1 and not split(content, "choose")[1:]:
            return ("set", tuple(_item(part, depth + 1) for part in parts))
        return (
            _answer(content, depth + 1)
            if content and not split(content, "choose")[1:]
            else ("expression", expression_of(tokens, depth))
        )
    if len(parts) > 1:
        return ("brackets", opening, tuple(_item(part, depth + 1) for part in parts), closing)
    if not parts:
        raise NotUnderstoodError("empty brackets")
    inner = _item(parts[0], depth + 1)
    return inner if _CLOSING.get(opening) == closing else ("brackets", opening, (inner,), closing)

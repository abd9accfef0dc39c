"""Tokens -> the tree of one expression: ``("number", value, literal)``, ``("variable", name)``, ``("+", left, right)``, ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from .tokens import FUNCTIONS, NotUnderstoodError, Token

Tree = tuple[Any, ...]


MAX_DEPTH = 60


_CALLED = frozenset("f g h F G H W phi psi Phi".split())  # letters that are functions when a bracket follows


_SHORT_WORDS = frozenset(
    "if is in of on or per out may one two six ten area jan feb mar apr jun jul aug sep oct nov dec".split()
)
_NAMED = frozenset("p q r s u v w y z".split())  # these too, of one variable: y(t)


_BASES = {name: base for base, name in enumerate("two three four five six seven eight nine ten".split(), 2)} | {"sixteen": 16}


_FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}


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


def sides_of(tokens: Sequence[Token]) -> list[list[Token]]:
    depth = 0
    sides: list[list[Token]] = [[]]
    for token in tokens:
        depth += {"open": 1, "begin": 1, "close": -1, "end": -1}.get(token.kind, 0)
        if depth == 0 and token.kind == "relation":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def closing_bracket(tokens: Sequence[Token], start: int) -> int:
    """The place of the bracket that closes the one at ``start``; -1 without."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += {"open": 1, "begin": 1, "close": -1, "end": -1}.get(tokens[place].kind, 0)
        if depth == 0:
            return place
    return -1


def expression_of(tokens: Sequence[Token], depth: int, deep_bars: bool = False) -> Tree:
    parser = _Expression(list(tokens), depth)
    parser.deep_bars = deep_bars
    try:
        tree = parser.sum()
        if parser.at != len(parser.tokens):
            raise NotUnderstoodError(f"{parser.tokens[parser.at].value!r} where the expression should end")
    except NotUnderstoodError:
        if deep_bars or sum(token.value == "|" for token in tokens) < 6:
            raise
        return expression_of(tokens, depth, deep_bars=True)  # ||x||y||: bars within bars
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
            inner = self.tokens[self.at + 1 : closing_bracket(self.tokens, self.at)]
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
            before, _, behind = token.value.partition(".")
            self.at += 1
            scaled = self.based(before + behind, self.primary())
            base = Fraction(int(scaled[2].rpartition("_")[2]))
            return ("number", scaled[1] / base ** len(behind), f"{token.value}_{base}")
        if not token.value.isdigit():
            return tree
        if self.peek().value == "frac":  # a mixed number
            start = self.at
            part = self.primary()
            if part[0] == "/" and all(side[0] == "number" and side[2].isdigit() for side in part[1:]):
                return ("+", tree, part)
            self.at = start
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
            inside = self.tokens[self.at + 1 : max(closing_bracket(self.tokens, self.at), self.at)]
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
        return name, (expression_of(inside, self.depth + 1),)

    def letters(self, run: str) -> Tree:
        """A run of letters is a product, a name in capitals (the side AB), or a word, which no expression holds."""
        alone = {token.value for token in self.tokens if token.kind == "variable"}
        if run.isupper() and len(run) <= 5 and not set(run) <= alone:
            return ("variable", run)
        if len(run) > 3 or run.lower() in _SHORT_WORDS:
            raise NotUnderstoodError(f"the word {run!r}")
        self.at -= 1
        self.tokens[self.at : self.at + 1] = [Token("variable", letter) for letter in run]
        return self.primary()

    def inside(self, opening: int) -> list[Token]:
        close = closing_bracket(self.tokens, opening)
        if close < 0:
            close = len(self.tokens)  # a bracket that nobody closed: to the end
        self.at = min(close + 1, len(self.tokens))
        return self.tokens[opening + 1 : close]

    def group(self, token: Token) -> Tree:
        content = self.inside(self.at - 1)
        parts = split(content, "choose")
        if len(parts) == 2:
            return ("call", "binom", (expression_of(parts[0], self.depth + 1), expression_of(parts[1], self.depth + 1)))
        return expression_of(content, self.depth + 1)

    def arguments(self) -> tuple[Tree, ...]:
        content = self.inside(self.at)
        return tuple(expression_of(part, self.depth + 1) for part in split(content, ",", ";"))

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
        if name == "int":
            return self.integral()
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
            index = expression_of(self.inside(self.at), self.depth + 1)
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
        parts = sides_of(lower)
        if len(parts) != 2 or len(parts[0]) != 1 or upper is None:
            raise NotUnderstoodError(f"a {name} without its bounds")
        index = parts[0][0].value
        body = self.product()
        if index in ("i", "e"):
            body = _replaced(body, ("constant", index), ("variable", index))
        return (name, index, expression_of(parts[1], self.depth + 1), upper, body)

    def integral(self) -> Tree:
        """\\int_a^b f(x) dx."""
        bounds: dict[str, Tree] = {}
        while self.peek().value in ("_", "^") and self.peek().kind == "symbol":
            side = self.take().value
            bounds[side] = self.argument()
        for place in range(self.at, len(self.tokens)):
            token, following = self.tokens[place], self.tokens[place + 1 : place + 2]
            apart = token == Token("variable", "d") and following and following[0].kind == "variable"
            if apart or (token.kind == "letters" and len(token.value) == 2 and token.value[0] == "d"):
                name = following[0].value if apart else token.value[1]
                body = expression_of(self.tokens[self.at : place], self.depth + 1)
                self.at = place + (2 if apart else 1)
                if len(bounds) == 2:
                    return ("int", name, bounds["_"], bounds["^"], body)
        raise NotUnderstoodError("an integral without bounds")

    def limit(self) -> Tree:
        if not self.accept("_") or self.peek().kind != "open":
            raise NotUnderstoodError("a limit without its point")
        parts = sides_of(self.inside(self.at))
        if len(parts) != 2 or len(parts[0]) != 1:
            raise NotUnderstoodError("a limit without its point")
        return ("lim", parts[0][0].value, expression_of(parts[1], self.depth + 1), self.product())

    def matrix(self, environment: str) -> Tree:
        close = closing_bracket(self.tokens, self.at - 1)
        if environment not in ("matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "array", "smallmatrix") or close < 0:
            raise NotUnderstoodError(f"the environment {environment!r}")
        content, self.at = self.tokens[self.at : close], close + 1
        lines = [line for line in split(content, "\\\\") if line]
        rows = tuple(tuple(expression_of(cell, self.depth + 1) for cell in split(line, "&")) for line in lines)
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

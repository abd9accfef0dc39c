"""An answer as text -> tokens: LaTeX, plain text and Unicode in one stream. Nothing is ever evaluated here."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

MAX_CHARACTERS = 6_000
MAX_TOKENS = 2_000


class NotUnderstoodError(Exception):
    """The text is no answer that this grammar knows; nothing is guessed from it."""


class Token(NamedTuple):
    """``kind``: number, command, variable, letters, text, relation, symbol, open, close, separator."""

    kind: str
    value: str


_UNICODE = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "—": "-", "﹣": "-", "×": r" \times ", "·": r" \cdot ", "⋅": r" \cdot ",
    "∙": r" \cdot ", "÷": r" \div ", "∗": "*", "π": r" \pi ", "∞": r" \infty ", "∪": r" \cup ", "∩": r" \cap ",
    "≤": r" \le ", "⩽": r" \le ", "≥": r" \ge ", "⩾": r" \ge ", "≠": r" \ne ", "≈": r" \approx ", "≡": r" \equiv ",
    "∈": r" \in ", "∅": r" \emptyset ", "∖": r" \setminus ", "±": r" \pm ", "∓": r" \mp ", "√": r" \sqrt ",
    "∛": r" \sqrt[3] ", "°": r"^\circ ", "º": r"^\circ ", "⌊": r" \lfloor ", "⌋": r" \rfloor ", "⌈": r" \lceil ",
    "⌉": r" \rceil ", "…": r" \ldots ", "⋯": r" \cdots ", "ℝ": r" \mathbb{R} ", "ℤ": r" \mathbb{Z} ", "ℕ": r" \mathbb{N} ",
    "ℚ": r" \mathbb{Q} ", "∧": r" \text{and} ", "∨": r" \text{or} ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
    "。": ".", "、": ",", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")", "⟨": r" \langle ", "⟩": r" \rangle ",
    "→": r" \to ", "∠": r" \angle ", "△": r" \triangle ", "∶": ":", "⁄": "/", "％": "%", "∣": "|", "∥": "|", "\u00a0": " ",
    "α": r" \alpha ", "β": r" \beta ", "γ": r" \gamma ", "δ": r" \delta ", "ε": r" \epsilon ", "θ": r" \theta ",
    "λ": r" \lambda ", "μ": r" \mu ", "ρ": r" \rho ", "σ": r" \sigma ", "τ": r" \tau ", "φ": r" \phi ", "ϕ": r" \phi ",
    "ω": r" \omega ", "Δ": r" \Delta ", "Σ": r" \Sigma ", "Ω": r" \Omega ", "∑": r" \sum ", "∏": r" \prod ", "∫": r" \int ",
    "€": r" \euro ", "£": r" \sterling ", "＄": r"\$",
}  # fmt: skip
_TABLE = str.maketrans(_UNICODE)
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# A string that was unescaped once too often: \frac with a form feed, \boxed with a backspace, \text with a tab.
_UNESCAPED = ((re.compile("\x0c(?=rac|loor|box)"), r"\\f"), (re.compile("\x08(?=oxed|inom|mod|egin|ar)"), r"\\b"),
              (re.compile("\t(?=ext|imes|frac|heta|an\\b|o\\b)"), r"\\t"), (re.compile("\r(?=ight|angle|floor|ceil)"), r"\\r"))  # fmt: skip
_ESCAPED_TWICE = re.compile(r"(?<!\\)\\\\(?=[A-Za-z])(?!\\)")
_LAYOUT = re.compile(
    r"\\q?quad|\\(?:left|right|[bB]igg?[lrm]?|middle|displaystyle|textstyle|scriptstyle|limits|nolimits|nonumber|hfill|"
    r"thinspace|rm|bf|it|cal|mathstrut|strut|allowbreak|protect)(?![A-Za-z])|\\(?:hspace|vspace|phantom|label|tag)\*?\{[^{}]*\}"
    r"|(?<!\\)\\[,;:!> ]|~|(?<!\\)\\(?=\s|$)"
)
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$?")
_ROWS = re.compile(r"\\begin\{(cases|align\*?|aligned|gathered|split|equation\*?)\}(.*?)\\end\{\1\}", re.DOTALL)
_SPACED = re.compile(r"\\(?:mathbf|boldsymbol|textbf|mathrm|bm)\s*\{[\d\s.,]*\}|\\mathbf\{[\d\s.,/+-]*(?:\\pi|\\%)?\s*\}")
# How things are written by habit: 11^{th}, y^{\\prime}, 42 (base 7), (1, 2)(3, 4), \\therefore, conditions on an index.
_HABITS = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\^\{? ?\\(?:text|mathrm)\{ ?(?:th|st|nd|rd) ?\} ?\}?", ""),
        (r"\^\{?\s*\\prime\s*\}?", "'"),
        (r"(?<!\d)(\d{1,40}) ?(?:\\text\{)? ?\(? ?base (\d{1,2}) ?\)? ?\}?", r"\1_{\2}"),
        (r"(\([^(),]{1,80},[^()]{1,200}\)) ?(?=\([^(),]{1,80},)", r"\1,"),
        (r"\\(?:therefore|because)(?![A-Za-z])", " "),
        (r"[ ,]{0,3}(?:\\quad ?)?(?:\\text\{ ?,? ?where ?\}|\\forall|\() ?[a-z] ?\\in ?\\mathbb ?\{?[A-Z]\}?\)? ?$", " "),
    )
)
_BASED = re.compile(r"(?<![A-Za-z\d])(?=\d*[A-Z])([\dA-Z]+)_\{?(\d\d)\}?(?!\d)")
_REPEATING = re.compile(r"(?<!\d)(-?\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")
_SPELLING = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), "frac"), **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"), **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"), "neq": "ne",
    "lt": "<", "gt": ">", "cupdot": "cup", "sqcup": "cup", "bigcup": "cup", "bigcap": "cap", "varnothing": "emptyset",
    "smallsetminus": "setminus", "backslash": "setminus", "vert": "|", "lvert": "|", "rvert": "|", "mid": "|",
    "lgroup": "(", "langle": "(", "rangle": ")", "rgroup": ")", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "lbrace": r"\{",
    "rbrace": r"\}", "ast": "*", "times": "*", "cdot": "*", "div": "/", "colon": ":", "ldots": "dots", "cdots": "dots",
    "dotsc": "dots", "dotsb": "dots", "dotsm": "dots", "dotsi": "dots", "vdots": "dots", "ddots": "dots", "varphi": "phi",
    "varepsilon": "epsilon", "vartheta": "theta", "exponentialE": "e", "imaginaryI": "i", "imath": "i", "land": "and",
    "lor": "or", "wedge": "and", "vee": "or", "simeq": "approx", "thickapprox": "approx", "doteq": "=", "prime": "'",
    "arccosh": "arcosh", "arccosec": "arccsc", "arsinh": "arcsinh", "artanh": "arctanh", "arctg": "arctan", "tg": "tan",
    "ctg": "cot", "cosec": "csc", "arcctg": "arccot", "sh": "sinh", "ch": "cosh", "th": "tanh", "asin": "arcsin", "asinh": "arcsinh", "acosh": "arcosh", "atanh": "arctanh", "acot": "arccot", "re": "Re", "im": "Im",
    "acos": "arccos", "atan": "arctan", "infinity": "infty", "inf": "infty", "oo": "infty", "lg": "log10", "ceiling": "ceil",
    "degrees": "degree", "deg": "degree", "notin": "notin", "ni": "in", "iff": "iff", "Longrightarrow": "to",
    "rightarrow": "to", "Rightarrow": "to", "implies": "to", "longrightarrow": "to", "mapsto": "to", "bmod": "mod",
}  # fmt: skip
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch arcsinh arcosh arctanh "
    "log ln log10 exp sqrt cbrt abs gcd lcm max min floor ceil det cis arg Re Im sgn sign conj".split()
)
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega Gamma "
    "Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar".split()
)
COMMANDS = FUNCTIONS | frozenset(
    "frac binom choose pi infty lfloor rfloor lceil rceil sum prod lim int angle triangle dots dollar euro sterling circ degree pm mp mod pmod "
    "cup cap setminus emptyset top langle rangle | * / : %".split()
)
_WORDS = (
    FUNCTIONS
    | frozenset(
        "pi infty and or mod cup cap arccosh infinity degree degrees asin acos atan binom ceiling arsinh artanh oo".split()
    )
    | {name for name in GREEK if len(name) > 3}
)
_TEXT_COMMANDS = frozenset("text textbf textit textrm textsf texttt mbox hbox mathrm mathbf mathit mathsf mathtt mathcal operatorname emph textnormal boldsymbol bm underline boxed fbox overline vec overrightarrow widehat hat tilde bar mathbb mathfrak".split())  # fmt: skip
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?[eE][-+]?\d{1,4}(?![\dA-Za-z])|\d*\.\d+|\d+)|(?P<command>\\(?:[A-Za-z]+|.))|(?P<letters>[A-Za-z]+)"
    r"|(?P<relation><=|>=|=<|=>|!=|==|:=|[=<>])|(?P<symbol>\*\*|[-+*/^_!|:&'%])|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<separator>[,;])|(?P<space>\s+)|(?P<other>.)",
    re.DOTALL,
)
_RELATIONS = {"<=": "le", "=<": "le", ">=": "ge", "=>": "to", "!=": "ne", "==": "=", ":=": "="}
_RELATION_COMMANDS = frozenset(("le", "ge", "ne", "approx", "equiv", "in", "notin", "<", ">", "=", "to", "sim", "subset", "subseteq", "iff"))  # fmt: skip
_ROW = "\\\\"


def clean(text: str) -> str:
    r"""One spelling: no invisible characters, Unicode as LaTeX, single backslashes, no layout, no math delimiters.

    >>> print(clean(r"$\left(½, x²\right)$"))
    (\frac{1}{2}, x^{2} )
    """
    for pattern, command in _UNESCAPED:
        text = pattern.sub(command, text)
    text = re.sub(r"\s+", " ", _INVISIBLE.sub("", text))
    if not text.isascii():
        text = re.sub(f"[{''.join(_RAISED)}]+", lambda run: "^{" + "".join(map(_RAISED.__getitem__, run[0])) + "}", text)
        text = re.sub(f"[{''.join(_LOWERED)}]+", lambda run: "_{" + "".join(map(_LOWERED.__getitem__, run[0])) + "}", text)
        text = "".join(_plain_character(character) for character in text).translate(_TABLE)
    if r"\begin" not in text:
        text = re.sub(r"(?<!\\)\\\\(?=[A-Za-z{}%$,;!()\[\]])", r"\\", text)
    else:
        text = _ESCAPED_TWICE.sub(lambda match: "\\" if _known_command(match.string, match.end()) else match[0], text)
    text = re.sub(r"\.{3,}", r" \\ldots ", text)
    text = re.sub(r"\\n(?![A-Za-z])|\\n(?=\s|\\)", " ", text)
    text = re.sub(
        r"\\(?:left|right)\s*\.|\\triangle(?![a-z])|,?\s*\\text\s*\{\s*,?\s*for (?:all|every|each|any)(?: real| positive| integers?| numbers?| natural)* ?\}?[\s$]*[a-z]?\}?[\s$]*$",
        " ",
        text,
    )
    text = text.replace("{,}", ",").replace("{:}", ":").replace(r"\ldotp", ".")
    text = _SPACED.sub(lambda bold: re.sub(r"(?<=[\d.,])\s+(?=[\d.,])|\s+(?=[.,]\s*\d)", "", bold[0]), text)
    if r"\times" in text and re.search(r"\\(?:vec|overrightarrow|mathbf)(?![a-z])[^\\]*\\times", text):
        raise NotUnderstoodError("a product of vectors")
    text = _ROWS.sub(_joined_rows, text)
    for pattern, plain in _HABITS:
        text = pattern.sub(plain, text)
    text = _BASED.sub(_based, text)
    text = re.sub(r"(?<=\d)\s+(?:\\text\{\s*to\s*\}|to)\s+(?=\d)", ":", text)
    text = re.sub(r"\\not\s*=", r"\\ne ", re.sub(r"\\not\s*\\in(?![a-z])", r"\\notin ", text))
    if r"\not\equiv" in text or "≢" in text:
        raise NotUnderstoodError("a congruence that does not hold")
    text = re.sub(r"(?<=\d),(?:\\!|\s*\\!)\s*(?=\d{3})", ",", text)
    text = re.sub(r"(?<=\d)(?:\\[,; ]|~|\s(?=\d{3}(?:\s\d{3})*(?:\D|$)))\s*(?=\d{3}(?!\d))", ",", text)
    text = _LAYOUT.sub(" ", _DELIMITERS.sub(" ", text.replace(r"\$", " \\dollar ")))
    text = _REPEATING.sub(_repeating, text)
    text = re.sub(r"(?<=[\d)}])(or|and)(?=[A-Z(])", r" \1 ", text)
    return re.sub(r"\s+", " ", text).rstrip(" .,;:").lstrip(" ,;:")


def _plain_character(character: str) -> str:
    """A full-width, mathematical or composed letter as the plain one; ½ as a fraction."""
    if character < "\x80" or character in _UNICODE:
        return character
    name = unicodedata.normalize("NFKC", character)
    if "⁄" in name:
        above, below = name.split("⁄")
        if not below:
            raise NotUnderstoodError("half of a fraction")
        return rf"\frac{{{above}}}{{{below or '1'}}}" if above.isascii() and below.isascii() else character
    return name if len(name) == 1 and (name.isascii() or name in _UNICODE) else character


def _known_command(text: str, start: int) -> bool:
    word = re.compile("[A-Za-z]+").match(text, start)
    name = _SPELLING.get(word[0], word[0]) if word else ""
    return name in FUNCTIONS or name in GREEK or name in _TEXT_COMMANDS or name in ("frac", "pi", "infty", "binom", "begin", "end", "le", "ge", "*", "left", "right")  # fmt: skip


def _joined_rows(match: re.Match[str]) -> str:
    """The rows of aligned equations or a system, as a list; rows that go on with = as one chain."""
    rows = [row.replace("&", " ").strip(" .,") for row in match[2].split(_ROW)]
    if match[1] == "cases" and any("&" in row.replace("&=", "").replace("= &", "") for row in match[2].split(_ROW)):
        raise NotUnderstoodError("a function in pieces")
    joined = ""
    for row in filter(None, rows):
        joined += (" " if row.startswith("=") or not joined else ", ") + row
    return joined


def _based(match: re.Match[str]) -> str:
    """2B_{12} in base ten."""
    try:
        return f"({int(match[1], int(match[2]))})" if len(match[1]) < 1_000 else match[0]
    except ValueError:
        return match[0]


def _repeating(match: re.Match[str]) -> str:
    """0.1\\overline{6} as a fraction."""
    whole, fixed, period = match[1], match[2], match[3]
    sign, whole = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    if len(whole) + len(fixed) + len(period) > 100:
        raise NotUnderstoodError("a repeating decimal of more than 100 digits")
    value = Fraction(
        int((whole or "0") + fixed + period) - int((whole or "0") + fixed), 10 ** len(fixed) * (10 ** len(period) - 1)
    )
    return rf"{sign}(\frac{{{value.numerator}}}{{{value.denominator}}})"


def tokenize(text: str, thousands: bool = True) -> list[Token]:
    """The tokens of a cleaned text. ``thousands``: 1,234 is one number; else two.

    Raises:
        NotUnderstoodError: too long, or a character that no answer has.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotUnderstoodError(f"{len(text):,} characters are more than the {MAX_CHARACTERS:,} of any answer")
    if thousands:
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        at = match.end()
        kind, value = str(match.lastgroup), match[0]
        if kind == "space":
            continue
        if kind == "command":
            at = _command(text, value, at, tokens)
        elif kind == "letters":
            _letters(value, tokens)
        elif kind == "relation":
            tokens.append(Token("relation", _RELATIONS.get(value, value)))
        elif kind == "symbol":
            tokens.append(Token(kind, "^" if value == "**" else value))
        elif kind == "other":
            if value not in '"`?#@':
                tokens.append(Token("text", value))
        else:
            tokens.append(Token(kind, value))
        if len(tokens) > MAX_TOKENS:
            raise NotUnderstoodError(f"more than {MAX_TOKENS:,} symbols")
    return tokens


_PLAIN_WORDS = frozenset("yes no odd even true false none both all the are was has not for with from that this".split())


# Not within brackets, where (1,234) is a point, unless the other commas there are followed by a space.
_GROUPS = r"[1-9]\d{0,2}(?:,\d{3})+"
_THOUSANDS = re.compile(
    rf"(?<![\d.,(\[])(?<!\\\{{)(?<![(\[] ){_GROUPS}(?![\d,]|\.\d*,|\s*[)\]]|\s*\\\}})"
    rf"|(?<=[(\[{{]){_GROUPS}(?=, )|(?<=, ){_GROUPS}(?=[)\]}}])"
)


def _letters(run: str, tokens: list[Token]) -> None:
    if run.lower() == "nan":
        raise NotUnderstoodError("no number")
    if run.lower() in _PLAIN_WORDS:
        tokens.append(Token("text", run))
        return
    name = _SPELLING.get(run, run) if run in _WORDS or run.lower() in _WORDS else run
    lower = name.lower()
    if lower in ("and", "or"):
        tokens.append(Token("separator", lower))
    elif name in _WORDS or (lower in _WORDS and len(run) > 3):
        tokens.append(Token("command", name if name in _WORDS else lower))
    else:
        tokens.append(Token("variable" if len(run) == 1 else "letters", run))


def _command(text: str, command: str, at: int, tokens: list[Token]) -> int:
    """Append what a backslash command stands for; where the text goes on."""
    name = _SPELLING.get(command[1:], command[1:])
    if name in _TEXT_COMMANDS:
        content, at = _argument(text, at)
        if name in ("overline", "bar") and re.search(r"[-+]", content):
            tokens += [Token("command", "conj"), Token("open", "("), *tokenize(content), Token("close", ")")]
        elif name in ("overline", "vec", "overrightarrow", "widehat", "hat", "tilde", "bar"):
            tokens.append(Token("variable", f"{name}({''.join(content.split())})"))
        elif name in ("boxed", "fbox"):
            tokens += [Token("open", "{"), *tokenize(content), Token("close", "}")]
        elif name == "mathbb":
            tokens.append(Token("set", content.strip()))
        else:
            _text(content, name, tokens)
    elif command == _ROW:
        tokens.append(Token("symbol", _ROW))
    elif command in (r"\{", r"\}"):
        tokens.append(Token("open" if command == r"\{" else "close", command))
    elif name in ("(", "[", r"\{", ")", "]", r"\}"):
        tokens.append(Token("open" if name in ("(", "[", r"\{") else "close", name))
    elif name in _RELATION_COMMANDS:
        tokens.append(Token("relation", name))
    elif name in ("and", "or"):
        tokens.append(Token("separator", name))
    elif name in ("|", "*", "/", ":", "%", "'"):
        tokens.append(Token("symbol", name))
    elif name in ("e", "i") or name in GREEK:
        tokens.append(Token("variable", name))
    elif name == "not":
        tokens.append(Token("text", "not"))
    elif name in ("begin", "end"):
        content, at = _argument(text, at)
        if name == "begin" and content.rstrip("*") in ("array", "tabular"):
            _, at = _argument(text, at)
        tokens.append(Token(name, content.strip().rstrip("*")))
    elif len(name) == 1 and not name.isalpha():
        raise NotUnderstoodError(f"the command {command!r}")
    elif name in COMMANDS:
        tokens.append(Token("command", name))
    else:  # \vertx: a space was lost
        cut = next(
            (n for n in range(len(command) - 1, 2, -1) if _SPELLING.get(command[1:n], command[1:n]) in COMMANDS | GREEK), 0
        )
        if not cut and command[1:cut] not in _SPELLING:
            raise NotUnderstoodError(f"the command {command!r}")
        return _command(text, command[:cut], at - len(command) + cut, tokens)
    return at


def _counts(tokens: list[Token]) -> bool:
    """Whether a unit may follow: a number, or the first half of km/h."""
    last = tokens[-1]
    return last.kind in ("number", "close", "text") or (last.value == "/" and len(tokens) > 1 and tokens[-2].kind == "text")


def _text(content: str, command: str, tokens: list[Token]) -> None:
    """``\\text{...}``: a letter is a variable, "and" separates, everything else stays words."""
    words = content.strip()
    if not words:
        return
    if command == "operatorname" or (words in FUNCTIONS and words not in ("min", "sec", "max", "arg")):
        tokens.append(Token("command", _SPELLING.get(words, words)))
    elif words in ("m", "g", "s", "h", "L", "l") and tokens and _counts(tokens):
        tokens.append(Token("text", words))
    elif re.fullmatch(r"[A-Za-z]", words):
        tokens.append(Token("variable", words))
    elif re.search(r"[\\=:%$()]", words) and not re.search("[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", words)):
        tokens += tokenize(clean(words))
    elif words.strip(" ,.;").lower() in ("and", "or", "&"):
        tokens.append(Token("separator", "or" if "or" in words.lower() else "and"))
    elif command.startswith("math") and re.fullmatch(r"[A-Z]{1,4}", words):
        tokens.append(Token("letters", words))
    elif re.fullmatch(r"[-+\d.,/\\{}^$ ]*\d[-+\d.,/\\{}^$ ]*", words):
        tokens += tokenize(clean(words))
    elif re.fullmatch(r"[A-Z](?:\s*,\s*[A-Z])+", words):
        tokens += tokenize(words)
    elif len(pieces := [piece for piece in re.split(r"\s*\b(and|or)\b\s*", words) if piece]) > 1 and len(words) < 40:
        for piece in pieces:
            kind = "separator" if piece in ("and", "or") else "variable" if len(piece) == 1 else "text"
            tokens.append(Token(kind, piece))
    elif counted := re.fullmatch(r"([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)(?:\s+([a-z][A-Za-z ]*))?", words):
        tokens += tokenize(counted[1]) + ([Token("text", counted[2])] if counted[2] else [])
    else:
        tokens.append(Token("text", words))


def _argument(text: str, at: int) -> tuple[str, int]:
    """The group in braces (or the one character) that begins at ``at``, and where the text goes on."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        return "", at
    if text[at] != "{":
        return text[at], at + 1
    depth = 0
    for place in range(at, len(text)):
        if text[place] in "{}" and text[place - 1] != "\\":
            depth += 1 if text[place] == "{" else -1
            if depth == 0:
                return text[at + 1 : place], place + 1
    return text[at + 1 :], len(text)

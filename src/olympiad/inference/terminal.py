"""Answers on a terminal: Markdown, and simple mathematics as Unicode."""

from __future__ import annotations

import re
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from olympiad.tokenizer.special import ANSWER, END

_SYMBOLS = dict(
    pair.split()
    for pair in (
        "alpha α|beta β|gamma γ|delta δ|epsilon ε|varepsilon ε|zeta ζ|eta η|theta θ|iota ι|kappa κ|lambda λ|mu μ|nu ν|xi ξ|pi π|"
        "rho ρ|sigma σ|tau τ|phi φ|varphi φ|chi χ|psi ψ|omega ω|Gamma Γ|Delta Δ|Theta Θ|Lambda Λ|Xi Ξ|Pi Π|Sigma Σ|Phi Φ|Psi Ψ|"
        "Omega Ω|cdot ·|times ×|div ÷|pm ±|mp ∓|le ≤|leq ≤|ge ≥|geq ≥|ne ≠|neq ≠|approx ≈|equiv ≡|sim ∼|infty ∞|sum ∑|prod ∏|"
        "int ∫|partial ∂|nabla ∇|in ∈|notin ∉|subset ⊂|subseteq ⊆|cup ∪|cap ∩|emptyset ∅|forall ∀|exists ∃|to →|rightarrow →|"
        "Rightarrow ⇒|implies ⇒|iff ⇔|Leftrightarrow ⇔|leftarrow ←|mapsto ↦|ldots …|dots …|cdots ⋯|circ °|angle ∠|perp ⊥|"
        "parallel ∥|triangle △|mid ∣|lfloor ⌊|rfloor ⌋|lceil ⌈|rceil ⌉|therefore ∴|because ∵|star ⋆|cong ≅|propto ∝|degree °"
    ).split("|")
)
_SETS = dict(zip("NZQRCP", "ℕℤℚℝℂℙ", strict=True))
_RAISED = dict(zip("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", strict=True))
_LOWERED = dict(zip("0123456789+-=()aeijkmnx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₘₙₓ", strict=True))
_MARKS = re.escape("".join({*_RAISED.values(), *_LOWERED.values()}))
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\\\n]|\\.)+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_GROUP = r"\{([^{}]*)\}"


def as_text(text: str) -> str:
    """What a model writes, for readers: formulas as Unicode, the marks of our documents as words.

    >>> as_text(r"So $x_1^2 + \\frac{3}{4} \\le \\sqrt{2}$.<|answer|>$\\boxed{7}$<|end|>")
    'So x₁² + 3/4 ≤ √2.\\n\\n**Answer:** 7'
    """
    text = text.replace(END, "").replace(ANSWER, "\n\n**Answer:** ")
    return _FORMULA.sub(lambda match: unicode_formula(next(part for part in match.groups() if part is not None)), text)


def unicode_formula(formula: str) -> str:
    """Simple LaTeX as Unicode; what has no such form stays as it is.

    >>> unicode_formula(r"\\frac{a+b}{2} \\geq \\sqrt{ab}"), unicode_formula(r"2^{n+1}, e^{xy}, \\mathbb{R}")
    ('(a+b)/2 ≥ √(ab)', '2ⁿ⁺¹, e^(xy), ℝ')
    """
    text = re.sub(r"\\(?:left|right|displaystyle|quad|qquad|[,;!:>])(?![A-Za-z])", "", formula)
    text = re.sub(r"\\mathbb\s*\{?([NZQRCP])\}?", lambda match: _SETS[match[1]], text)
    text = re.sub(r"\\d?t?frac(\d)(\d)", r"\1/\2", text)
    before = None
    while before != text:  # from the inside out
        before = text
        text = re.sub(rf"\\[dt]?frac\s*{_GROUP}\s*{_GROUP}", lambda m: f"{_bracketed(m[1])}/{_bracketed(m[2])}", text)
        text = re.sub(rf"\\sqrt\s*{_GROUP}", lambda match: f"√{_bracketed(match[1])}", text)
        text = re.sub(rf"\\(?:boxed|fbox|text|mathrm|mathbf|operatorname|textbf)\s*{_GROUP}", r"\1", text)
        text = re.sub(rf"\^(?:{_GROUP}|(\w|\\circ))", lambda match: _moved(match, _RAISED, "^"), text)
        text = re.sub(rf"_(?:{_GROUP}|(\w))", lambda match: _moved(match, _LOWERED, "_"), text)
    text = re.sub(r"\\([A-Za-z]+)", lambda match: _SYMBOLS.get(match[1], _function(match[0], match[1])), text)
    return re.sub(r"\\([{}%$#&_])", r"\1", text).strip()


def _function(command: str, name: str) -> str:
    return name if name in ("sin", "cos", "tan", "log", "ln", "gcd", "lcm", "max", "min", "mod", "bmod", "det") else command


def _bracketed(text: str) -> str:
    """In brackets, unless it is one number, letter or command: 1/2c would be something else than 1/(2c)."""
    return text if re.fullmatch(rf"[\d.,]+|[^\W\d_][{_MARKS}]*|\\[A-Za-z]+", text) else f"({text})"


def _moved(match: re.Match[str], table: dict[str, str], sign: str) -> str:
    text = match[1] if match[1] is not None else match[2]
    if text in ("\\circ", "°"):
        return "°"
    if text and all(letter in table for letter in text):
        return "".join(table[letter] for letter in text)
    return f"{sign}({text})" if len(text) > 1 else f"{sign}{text}" if match[1] is None else f"{sign}({text})"


class AnswerView:
    """Shows an answer while it comes: on a terminal as Markdown, paragraph by paragraph, elsewhere as plain text."""

    def __init__(self, console: Console) -> None:
        self._console, self._pending, self._empty = console, "", True
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> AnswerView:
        if self._live is not None:
            self._live.start()
        return self

    def add(self, piece: str) -> None:
        """Show some more text."""
        self._empty = False
        if self._live is None:
            print(piece, end="", flush=True, file=self._console.file)
            return
        self._pending += piece
        while "\n\n" in self._pending and not self._pending.partition("\n\n")[0].count("```") % 2:
            paragraph, _, self._pending = self._pending.partition("\n\n")
            self._console.print(Markdown(as_text(paragraph)))
        self._live.update(Markdown(as_text(self._pending)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is None:
            if not self._empty or error is None:
                print(file=self._console.file)
            return
        self._live.update("")
        self._live.stop()
        self._console.print(Markdown(as_text(self._pending)))

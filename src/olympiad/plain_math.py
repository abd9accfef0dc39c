"""LaTeX as plain Unicode text, for places that can't typeset: what is not known stays as it is written.

>>> plain_math(r"So $x = \\frac{1}{2}$ and $\\sqrt{x^2+1} \\le \\boxed{a_{10}}$.")
'So x = 1/2 and √(x²+1) ≤ ⟦a₁₀⟧.'
"""

from __future__ import annotations

import re

_SYMBOLS = dict(
    pair.split()
    for pair in r"""
\alpha α;\beta β;\gamma γ;\delta δ;\epsilon ε;\varepsilon ε;\zeta ζ;\eta η;\theta θ;\iota ι;\kappa κ;\lambda λ;\mu μ;\nu ν
\xi ξ;\pi π;\rho ρ;\sigma σ;\tau τ;\upsilon υ;\phi φ;\varphi φ;\chi χ;\psi ψ;\omega ω;\Gamma Γ;\Delta Δ;\Theta Θ;\Lambda Λ
\Xi Ξ;\Pi Π;\Sigma Σ;\Phi Φ;\Psi Ψ;\Omega Ω;\cdot ·;\times ×;\div ÷;\pm ±;\mp ∓;\le ≤;\leq ≤;\leqslant ≤;\ge ≥;\geq ≥
\geqslant ≥;\ne ≠;\neq ≠;\approx ≈;\equiv ≡;\cong ≅;\sim ∼;\propto ∝;\ll ≪;\gg ≫;\in ∈;\notin ∉;\subset ⊂;\subseteq ⊆
\cup ∪;\cap ∩;\setminus ∖;\emptyset ∅;\varnothing ∅;\forall ∀;\exists ∃;\infty ∞;\to →;\rightarrow →;\leftarrow ←
\Rightarrow ⇒;\implies ⇒;\Leftrightarrow ⇔;\iff ⇔;\mapsto ↦;\therefore ∴;\because ∵;\angle ∠;\triangle △;\perp ⊥
\parallel ∥;\mid ∣;\nmid ∤;\circ ∘;\degree °;\ldots …;\dots …;\cdots ⋯;\sum ∑;\prod ∏;\int ∫;\partial ∂;\nabla ∇;\lfloor ⌊
\rfloor ⌋;\lceil ⌈;\rceil ⌉;\langle ⟨;\rangle ⟩;\ell ℓ;\star ⋆;\ast ∗;\land ∧;\lor ∨;\neg ¬;\prime ′;\binom C
""".strip().replace("\n", ";").split(";")
)  # fmt: skip
_FUNCTIONS = "sin cos tan cot sec csc arcsin arccos arctan log ln exp lim max min gcd lcm det deg mod bmod"
_LETTERS = dict(zip("NZQRCFP", "ℕℤℚℝℂ𝔽ℙ", strict=True))
_RAISED = dict(zip("0123456789+-=()nix", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ", strict=True))
_LOWERED = dict(zip("0123456789+-=()aeijknmxr", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₙₘₓᵣ", strict=True))
_GROUP = r"\{([^{}]*)\}"
_NESTED = (
    (re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boldsymbol)\s*" + _GROUP), r"\1"),
    (re.compile(r"\\mathbb\s*\{([NZQRCFP])\}"), lambda match: _LETTERS[match[1]]),
    (re.compile(r"\\(?:boxed|fbox)\s*" + _GROUP), r"⟦\1⟧"),
    (re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})"), "°"),
    (re.compile(r"\^\s*(?:\{([^{}]*)\}|([\w+*-]))"), lambda match: _script(match[1] or match[2] or "", _RAISED, "^")),
    (re.compile(r"_\s*(?:\{([^{}]*)\}|([a-zA-Z0-9])(?![a-zA-Z]))"), lambda match: _script(match[1] or match[2] or "", _LOWERED, "_")),
    (re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"), lambda m: _fraction(m[1] or m[2], m[3] or m[4])),
    (re.compile(r"\\sqrt\s*(?:\[(\d)\])?\s*(?:\{([^{}]*)\}|(\w))"), lambda m: _script(m[1] or "", _RAISED, "") + "√" + _atom(m[2] or m[3])),
    (re.compile(r"\\pmod\s*(?:\{([^{}]*)\}|(\w))"), lambda match: f"(mod {match[1] or match[2]})"),
    (re.compile(r"\\[dt]?binom\s*" + _GROUP + r"\s*" + _GROUP), r"C(\1, \2)"),
)  # fmt: skip
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![A-Za-z])")
_SPACE = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$((?:[^$\\\n]|\\.){1,500}?)\$", re.DOTALL)
_ENVIRONMENT = re.compile(
    r"\\begin\{(align|aligned|gather|gathered|equation|cases|array)(\*?)\}(.{0,4000}?)\\end\{\1\2\}", re.DOTALL
)
_PROSE = re.compile(r"(?<![\\A-Za-z])[a-z]{3,}\s+[a-z]{2,}")
_MOST_NESTED = 6


def plain_math(text: str) -> str:
    """The text with its formulas in Unicode: ``x^2`` as x², ``\\\\frac{a}{b}`` as a/b, ``\\\\boxed{7}`` as ⟦7⟧."""
    text = _ENVIRONMENT.sub(_lines, _FORMULA.sub(_without_marks, text)).replace("{,}", ",")
    for _ in range(_MOST_NESTED):  # inner braces first
        before = text
        for pattern, replacement in _NESTED:
            text = pattern.sub(replacement, text)
        if text == before:
            break
    text = _COMMAND.sub(_symbol, _SPACE.sub(" ", _SIZE.sub("", text)))
    return text.replace(r"\%", "%").replace(r"\$", "$").replace(r"\{", "{").replace(r"\}", "}")


def unicode_formula(formula: str) -> str:
    """One formula without its dollars; the box of an answer is left out.

    >>> unicode_formula(r"\\frac{a+b}{2} \\geq \\sqrt{ab}"), unicode_formula(r"2^{n+1}, e^{xy}, \\boxed{\\mathbb{R}}")
    ('(a+b)/2 ≥ √(ab)', '2ⁿ⁺¹, e^(xy), ℝ')
    """
    return plain_math(formula).replace("⟦", "").replace("⟧", "").strip()


def _without_marks(match: re.Match[str]) -> str:
    """A formula without its dollars; what reads like prose between two prices stays."""
    content = next(group for group in match.groups() if group is not None)
    return match[0] if match[4] is not None and _PROSE.search(_NESTED[0][0].sub("", content)) else content


def _lines(match: re.Match[str]) -> str:
    """What is aligned, line by line, without the marks of alignment."""
    return re.sub(r"[ \t]*\\\\[ \t]*\n?", "\n", re.sub(r"(?<!\\)&[ \t]?", "", match[3]))


def _symbol(match: re.Match[str]) -> str:
    name = match[0]
    return _SYMBOLS.get(name) or (name[1:] if name[1:] in _FUNCTIONS.split() else name)


def _atom(text: str) -> str:
    """In brackets, unless it is one number, one letter, one symbol, or in brackets already."""
    return (
        text if re.fullmatch(r"[\d.,]+|\w|\w[⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉]+|\\?[A-Za-z]?|\\[A-Za-z]+|\([^()]*\)", text) else f"({text})"
    )


def _fraction(above: str | None, below: str | None) -> str:
    return f"{_atom((above or '').strip())}/{_atom((below or '').strip())}"


def _script(text: str, table: dict[str, str], mark: str) -> str:
    """Raised or lowered where there are such characters for all of it."""
    if text and all(character in table for character in text):
        return "".join(table[character] for character in text)
    return f"{mark}{_atom(text)}" if text else ""

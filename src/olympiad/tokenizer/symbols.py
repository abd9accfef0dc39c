"""The mathematical symbols that are one token each, by group.

Two kinds of symbol, two ways to make sure of the single token:

- LaTeX commands and most Unicode characters are *added tokens*: they are cut out of the text, longest first,
  before byte-pair encoding sees it, so that ``$\\frac`` and `` \\frac`` hold the same ``\\frac``.
- A character of the Latin-1 block (``±``, ``×``, ``½``) can't be an added token: the byte-level decoder would read it
  as one of its own stand-ins for a byte, and give back another text. Those are two bytes long in UTF-8, and one
  merge, ranked before all learned ones, makes them one token.

>>> group_of["\\\\frac"], group_of["∀"]
('fractions and roots', 'logic')
>>> len(MATH_SYMBOLS) >= 200
True
"""

from __future__ import annotations

# group -> "symbol name; symbol name; ...". A name never holds ";", a symbol never holds a space.
_UNICODE = {
    "logic": "∀ for all; ∃ there exists; ∄ there is no; ¬ not; ∧ and; ∨ or; ⊕ exclusive or; ⊢ proves; ⊨ models; ⊤ true; ⊥ false or perpendicular; ∴ therefore; ∵ because; ∎ end of proof",
    "sets": "∈ element of; ∉ not an element of; ∋ contains; ⊂ proper subset; ⊃ proper superset; ⊆ subset; ⊇ superset; ⊄ not a subset; ⊊ strict subset; ∪ union; ∩ intersection; ∅ empty set; ∖ set minus; ⊔ disjoint union; ℵ aleph",
    "number sets": "ℕ naturals; ℤ integers; ℚ rationals; ℝ reals; ℂ complex numbers; ℙ primes; 𝔽 field; ℍ quaternions",
    "relations": "≤ at most; ≥ at least; ≠ not equal; ≈ about; ≡ congruent; ≢ not congruent; ≅ isomorphic; ∼ similar; ≃ asymptotic; ∝ proportional; ≪ much less; ≫ much greater; ≺ precedes; ≻ succeeds; ≜ defined as; ∣ divides; ∤ does not divide; ∥ parallel; ∦ not parallel; ⟂ perpendicular",
    "operators": "± plus or minus; ∓ minus or plus; × times; ÷ divided by; − minus; · middle dot; ∘ compose; ∗ asterisk; ⊗ tensor product; ⋅ dot; √ square root; ∛ cube root; ∜ fourth root; † dagger; ⋆ star",
    "big operators and calculus": "∑ sum; ∏ product; ∐ coproduct; ∫ integral; ∬ double integral; ∮ contour integral; ∂ partial; ∇ nabla; ∞ infinity; ∆ increment; ′ prime; ″ double prime; ⋃ big union; ⋂ big intersection",
    "arrows": "→ to; ← from; ↔ left right; ↦ maps to; ⇒ implies; ⇐ is implied by; ⇔ if and only if; ⟹ long implies; ⟺ long if and only if; ⟶ long to; ↑ up; ↓ down; ↪ embeds; ↠ onto",
    "brackets": "⌊ left floor; ⌋ right floor; ⌈ left ceiling; ⌉ right ceiling; ⟨ left angle; ⟩ right angle; ‖ norm",
    "geometry": "° degree; ∠ angle; ∡ measured angle; △ triangle; ▲ filled triangle; □ square; ■ filled square; ○ circle; ● filled circle; ⊙ circle with centre; ⌢ arc",
    "fractions": "½ half; ⅓ third; ⅔ two thirds; ¼ quarter; ¾ three quarters; ⅕ fifth; ⅖ two fifths; ⅗ three fifths; ⅘ four fifths; ⅙ sixth; ⅚ five sixths; ⅛ eighth; ⅜ three eighths; ⅝ five eighths; ⅞ seven eighths",
    "superscripts": "⁰ to the 0; ¹ to the 1; ² to the 2; ³ to the 3; ⁴ to the 4; ⁵ to the 5; ⁶ to the 6; ⁷ to the 7; ⁸ to the 8; ⁹ to the 9; ⁺ superscript plus; ⁻ superscript minus; ⁿ to the n; ⁱ to the i",
    "subscripts": "₀ sub 0; ₁ sub 1; ₂ sub 2; ₃ sub 3; ₄ sub 4; ₅ sub 5; ₆ sub 6; ₇ sub 7; ₈ sub 8; ₉ sub 9; ₊ subscript plus; ₋ subscript minus; ₙ sub n; ₖ sub k; ᵢ sub i; ⱼ sub j",
    "greek": "α alpha; β beta; γ gamma; δ delta; ε epsilon; ζ zeta; η eta; θ theta; ι iota; κ kappa; λ lambda; μ mu; ν nu; ξ xi; π pi; ρ rho; ς final sigma; σ sigma; τ tau; υ upsilon; φ phi; χ chi; ψ psi; ω omega; ϕ phi symbol; ϵ epsilon symbol; ϑ theta symbol; Γ Gamma; Δ Delta; Θ Theta; Λ Lambda; Ξ Xi; Π Pi; Σ Sigma; Φ Phi; Ψ Psi; Ω Omega",
    "letters": "ℓ script l; ℘ Weierstrass p; ℏ h bar; ℜ real part; ℑ imaginary part; 𝟙 indicator",
    "dots": "… dots; ⋯ centred dots; ⋮ vertical dots; ⋱ diagonal dots",
}

# group -> commands, without a name where the command is one.
_LATEX = {
    "fractions and roots": r"\frac \dfrac \tfrac \cfrac \sqrt \binom \dbinom \tbinom",
    "latex big operators": r"\sum \prod \coprod \int \iint \iiint \oint \bigcup \bigcap \bigoplus \bigotimes \lim \limsup \liminf \limits",
    "functions": r"\sin \cos \tan \cot \sec \csc \arcsin \arccos \arctan \sinh \cosh \tanh \log \ln \lg \exp \min \max \sup \inf \gcd \det \dim \ker \arg \deg \Pr",
    "modular": r"\pmod \bmod \mod \equiv \mid \nmid",
    "latex relations": r"\le \leq \leqslant \ge \geq \geqslant \ne \neq \lt \gt \ll \gg \approx \sim \simeq \cong \propto \parallel \perp \prec \succ \preceq \succeq \not \models \vdash",
    "latex operators": r"\cdot \times \div \pm \mp \circ \ast \star \bullet \oplus \otimes \odot \wedge \vee \cap \cup \setminus \neg \lnot \land \lor",
    "latex sets and logic": r"\in \notin \ni \subset \subseteq \subsetneq \supset \supseteq \emptyset \varnothing \forall \exists \nexists \infty \partial \nabla \therefore \because \top \bot \aleph",
    "latex arrows": r"\to \rightarrow \leftarrow \leftrightarrow \longrightarrow \Rightarrow \Leftarrow \Leftrightarrow \Longrightarrow \Longleftrightarrow \implies \impliedby \iff \mapsto \hookrightarrow \xrightarrow \uparrow \downarrow \nearrow",
    "latex greek": r"\alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \vartheta \iota \kappa \lambda \mu \nu \xi \pi \varpi \rho \varrho \sigma \varsigma \tau \upsilon \phi \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Upsilon \Phi \Psi \Omega",
    "letters and fonts": r"\ell \Re \Im \hbar \imath \jmath \mathbb \mathbf \mathcal \mathfrak \mathrm \mathsf \mathit \mathscr \operatorname \boldsymbol \bm \text \textbf \textit \textrm \textsf \texttt \mbox \emph \mathbb{N} \mathbb{Z} \mathbb{Q} \mathbb{R} \mathbb{C} \mathbb{F}",
    "accents": r"\overline \underline \overrightarrow \overleftarrow \overbrace \underbrace \overset \underset \stackrel \widehat \widetilde \hat \bar \vec \tilde \dot \ddot \prime",
    "delimiters": r"\left \right \left( \right) \left[ \right] \left\{ \right\} \left| \right| \left. \right. \left\lfloor \right\rfloor \left\lceil \right\rceil \left\langle \right\rangle \lfloor \rfloor \lceil \rceil \langle \rangle \lvert \rvert \lVert \rVert \vert \Vert \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \middle \mathopen \backslash",
    "latex geometry": r"\angle \measuredangle \triangle \square \degree ^\circ \odot \blacksquare \Box \diamond",
    "latex dots": r"\dots \ldots \cdots \vdots \ddots \dotsc \dotsb",
    "answers": r"\boxed \fbox \framebox",
    "environments": " ".join(
        rf"\begin{{{name}}} \end{{{name}}}"
        for name in "align align* aligned equation equation* gather gather* array cases matrix pmatrix bmatrix vmatrix "
        "tabular enumerate itemize proof theorem lemma definition".split()
    ),
    "layout": r"\quad \qquad \hspace \vspace \phantom \hline \cline \multicolumn \multirow \displaystyle \textstyle \scriptstyle \label \ref \eqref \cite \item \tag \nonumber \footnote \section \subsection \chapter \noindent \substack \color \cancel \begin \end \index",
}


def _read(table: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {
        entry.split()[0]: (group, " ".join(entry.split()[1:]))
        for group, entries in table.items()
        for entry in entries.split(";")
    }


_commands = {command: group for group, commands in _LATEX.items() for command in commands.split()}

#: symbol -> its name, all groups in one
MATH_SYMBOLS: dict[str, str] = {symbol: name for symbol, (_, name) in _read(_UNICODE).items()} | {
    command: command
    for command in _commands  # a command is its own name
}
#: symbol -> its group
group_of: dict[str, str] = {symbol: group for symbol, (group, _) in _read(_UNICODE).items()} | _commands


def is_latin1(symbol: str) -> bool:
    """Whether the symbol has to be made by a merge (see the head of this file)."""
    return "\x80" <= symbol <= "\xff"

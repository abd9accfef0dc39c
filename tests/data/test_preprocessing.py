"""The sample problems are true, normalising changes how text looks and never what it says, and no problem vanishes."""

from __future__ import annotations

import os
import time
import unicodedata
from dataclasses import replace

import pytest
import sympy
from hypothesis import example, given
from hypothesis import strategies as st
from sympy.parsing.sympy_parser import convert_xor, parse_expr, standard_transformations

from olympiad.data import (
    DataPreprocessor,
    MathDatasetLoader,
    MathProblem,
    ReasoningStep,
    create_sample_problems,
    last_boxed,
    solution_answer,
)
from olympiad.data.preprocessing import normalize_problem, normalize_text
from olympiad.tokenizer import MATH_SYMBOLS

SAMPLES = create_sample_problems()
GOOD = MathProblem("good", "What is two plus two?", r"It is $\boxed{4}$.", "4")
X = sympy.Symbol("x")

# What normalising touches, what it must leave alone, and what may go wrong where two of them meet.
COMMANDS = [
    *(r"\dfrac \tfrac \frac \dbinom \leq \leqslant \leqq \le \geq \neq \ne \alpha \left \{ \} \\ \, \; \dfr".split()),
    *(r"\! \displaystyle \textstyle \scriptstyle \displaystyles { } $ a fr ac q 1 2 = !".split()),
    " ",
]
PIECES = st.sampled_from(
    [
        *COMMANDS,
        *"éα²",
        *(" ", "  ", "\t", "\n", "\r", "\r\n", "\n \n", "\u00a0", "\u2003", "\u2000", "\u200b", "\ufeff", "\x00", "\x0b"),
        *("\u0301", "\u0323", "\u212a", "\u2126", "\u1100", "\u1161", "\u2028", "\x85", "\\"),
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def sides(claim: str) -> tuple[sympy.Expr, sympy.Expr]:
    left, right = claim.split("=")
    transformations = (*standard_transformations, convert_xor)
    return parse_expr(left, {"x": X}, transformations), parse_expr(right, {"x": X}, transformations)


# --- the sample problems -----------------------------------------------------------------------------------------


def test_samples_are_three_of_different_subjects() -> None:
    """Two samples with one id, one text or one subject."""
    for field in ("id", "subject", "key"):
        assert len({getattr(problem, field) for problem in SAMPLES}) == 3 == len(SAMPLES)
    assert all(problem.steps and problem.level and problem.source == "sample" for problem in SAMPLES)


@pytest.mark.parametrize("problem", SAMPLES, ids=lambda problem: problem.id)
def test_sample_claims_are_true(problem: MathProblem) -> None:
    """A claim that is false, or an equation in x that has other solutions than the one before it."""
    claims = [sides(step.claim) for step in problem.steps if step.claim]
    assert len(claims) >= 2
    differences = [sympy.expand(left - right) for left, right in claims]
    equations = [difference for difference in differences if difference.free_symbols]
    assert all(difference == 0 for difference in differences if not difference.free_symbols)
    solutions = {sympy.solveset(equation, X, sympy.S.Reals) for equation in equations}
    assert len(solutions) <= 1  # each step says the same as the last
    assert all(sympy.Integer(problem.answer) in solution for solution in solutions)


def test_sample_answers_are_right() -> None:
    """An answer that does not follow from its problem, worked out here in another way."""
    answers = {problem.subject: int(problem.answer) for problem in SAMPLES}
    assert answers["Algebra"] == max(a for a in range(16) if a * (15 - a) == 56)
    assert answers["Number Theory"] == 7**100 % 5
    assert answers["Geometry"] == sympy.Rational(9 * 12, 9 + 12 + sympy.sqrt(9**2 + 12**2))  # area = r * half perimeter


@pytest.mark.parametrize("problem", SAMPLES, ids=lambda problem: problem.id)
def test_sample_solution_states_its_steps_and_its_answer(problem: MathProblem) -> None:
    """A solution whose box or whose steps are not those of the problem's other fields."""
    assert last_boxed(problem.solution) == problem.answer
    assert problem.solution.splitlines()[:-1] == [step.text for step in problem.steps]
    assert DataPreprocessor().preprocess([problem]).problems == [problem]


def test_problems_can_be_members_of_a_set() -> None:
    """A frozen problem that can't be hashed, because its metadata is a dict."""
    assert len({GOOD, replace(GOOD), replace(GOOD, metadata={"year": 2024})}) == 2


# --- normalising text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"\dfrac{1}{2} \tfrac12 \cfrac ab", r"\frac{1}{2} \frac12 \frac ab"),
        (r"\dbinom{n}{k}, \tbinom52", r"\binom{n}{k}, \binom52"),
        (r"$\displaystyle \sum_{i} i$ {\textstyle  x}", r"$\sum_{i} i$ {x}"),
        (r"a \leq b \leqslant c \geq d \geqslant e \neq f", r"a \le b \le c \ge d \ge e \ne f"),
        (r"\leqq \geqq \neqsim \dfraction \displaystyles", r"\leqq \geqq \neqsim \dfraction \displaystyles"),
        (r"\left\{ x \right\} \le 3", r"\left\{ x \right\} \le 3"),
        (r"10,\!000 and 2\!\! 3", r"10,000 and 2 3"),
        (r"\alpha\!x + \sin\!\!y", r"\alpha x + \sin y"),
        (r"\alpha\displaystyle x", r"\alpha x"),
        (r"\int\!\displaystyle f", r"\int f"),
        (r"a \\! b", r"a \\! b"),  # a new row, then an exclamation mark
        (r"1 \\\dfrac12 \\dfrac", r"1 \\\frac12 \\dfrac"),  # a new row, then a word
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        (" a \t b  \n  c\n\n\n\nd ", "a b\nc\n\nd"),
        ("a\n \n \nb", "a\n\nb"),
        ("x\u00a0+\u2009y\u200b\ufeff", "x + y"),
        ("cafe\u0301", "café"),
        ("x² ½ ≤ ℝ ∑ 𝑥 ′ ⌊x⌋", "x² ½ ≤ ℝ ∑ 𝑥 ′ ⌊x⌋"),
        ("", ""),
        (" \n\t\u00a0", ""),
    ],
)
def test_normalize_text(text: str, plain: str) -> None:
    """A command, a space or a line end that keeps its second spelling, or a look-alike that gets another meaning."""
    assert normalize_text(text) == plain


@given(st.one_of(TEXTS, st.text()))
@example("\\leq\u0301")
@example("\\leqa\\!\u0301")
@example("e\u200b\u0301")
@example("\\dis\\displaystyle playstyle")
def test_normalize_text_is_idempotent(text: str) -> None:
    """A text that changes again when it is read back and cleaned once more."""
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.lists(st.sampled_from(COMMANDS), max_size=12).map("".join))
def test_normalize_text_keeps_what_the_text_says(text: str) -> None:
    r"""Two commands or letters that grow together: \alpha\!x read as \alphax."""
    spelled = {r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\dbinom": r"\binom", r"\neq": r"\ne"}
    spelled |= {r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge"}
    dropped = {r"\!", r"\displaystyle", r"\textstyle", r"\scriptstyle", " "}

    def tokens(text: str) -> list[str]:
        """As TeX reads them: a command is a backslash and letters, or a backslash and one other character."""
        found: list[str] = []
        while text:
            length = 1
            if text[0] == "\\":
                while text[length : length + 1].isalpha():
                    length += 1
                length = max(length, 2)
            found.append(text[:length])
            text = text[length:]
        return [spelled.get(token, token) for token in found if token not in dropped]

    assert tokens(normalize_text(text)) == tokens(text)


@pytest.mark.parametrize("symbol", [symbol for symbol in MATH_SYMBOLS if not symbol.isascii()])
def test_normalize_text_keeps_mathematical_symbols(symbol: str) -> None:
    """NFKC, which makes x2 of x² and R of ℝ."""
    assert normalize_text(f"a {symbol} b") == f"a {unicodedata.normalize('NFC', symbol)} b"


# --- answers out of solutions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"$\boxed{4}$", "4"),
        (r"$\boxed{\frac{1}{\sqrt{2}}}$ {", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.} }", r"\left\{ x \right."),
        (r"\boxed{1\\}", r"1\\"),  # a new row, not an escaped brace
        (r"\boxed{\text{a}\\{b}}", r"\text{a}\\{b}"),
        (r"first \boxed{1}, then \boxed{2}.", "2"),
        (r"\boxed{1} or \fbox{2}", "2"),
        (r"\fbox{1} or \boxed{2}", "2"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed {17}.$$", "17"),
        (r"\boxed{ 3 }", "3"),
        (r"\boxed{}", ""),
        (r"$\boxed 5$", "5"),
        (r"$\boxed5$", "5"),
        (r"$\boxed\pi$", r"\pi"),
        (r"$\boxed\frac{1}{2}$", None),  # TeX can't read it, and a lone \frac is no answer
        (r"$\boxed$", None),
        (r"{\boxed}", None),
        (r"\boxed", None),
        (r"\boxed ", None),
        (r"\boxed{4", None),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxed{4\}", None),
        (r"\boxedsum{4}", None),
        ("no box", None),
        ("", None),
    ],
)
def test_last_boxed(text: str, answer: str | None) -> None:
    """A box that ends at the wrong brace, or the wrong one of several."""
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    "text",
    [r"\boxed" + "{" * 10**6, r"\boxed{" * 150_000, r"\boxed{" + "{}" * 500_000, "\\" * 10**6, r"\boxed{" + r"\{" * 500_000],
    ids=["open", "boxes", "pairs", "backslashes", "escapes"],
)
def test_answers_are_found_in_linear_time(text: str) -> None:
    """A megabyte of garbage out of a model that takes hours: each box looked through to the end."""
    started = time.monotonic()
    assert solution_answer(text) is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("text", [r"\!" * 500_000, r"\displaystyle " * 70_000, " \n" * 500_000, "#" * 10**6], ids=ascii)
def test_text_is_normalized_in_linear_time(text: str) -> None:
    """A regular expression that goes back and forth over a megabyte of one thing."""
    started = time.monotonic()
    normalize_text(text)
    solution_answer(text)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("48/2 = 24\n#### 1,024", "1,024"),
        ("#### 1\nno, it is\n####2  ", "2"),
        (r"\boxed{3} #### 4", "3"),
        ("nothing", None),
        ("####", None),
        ("####\n5", None),
    ],
)
def test_solution_answer(solution: str, answer: str | None) -> None:
    """A GSM8K answer that is lost, or the first of two."""
    assert solution_answer(solution) == answer


# --- preprocessing -----------------------------------------------------------------------------------------------


REJECTED = {
    "empty_problem": replace(GOOD, problem=" \u200b\n"),
    "short_problem": replace(GOOD, problem="2+2?"),
    "long_problem": replace(GOOD, problem="x" * 10_001),
    "empty_solution": replace(GOOD, solution=" "),
    "long_solution": replace(GOOD, solution="x" * 50_001),
    "no_answer": replace(GOOD, solution="It is four.", answer=" "),
    "unbalanced_braces": replace(GOOD, solution=r"It is $\boxed{4}$, \frac{1}{2."),
    "unbalanced_delimiters": replace(GOOD, problem="What is $x plus two, if x is two?"),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_each_reason_for_a_rejection(reason: str) -> None:
    """A fault that is not seen, or is reported under the name of another."""
    result = DataPreprocessor().preprocess([REJECTED[reason], GOOD])
    assert [problem.id for problem in result.problems] == ["good"]
    assert result.counts == {reason: 1}
    [rejection] = result.rejections
    assert rejection.problem is REJECTED[reason]
    assert rejection.detail


def test_duplicates_name_the_problem_that_was_kept() -> None:
    """Copies that differ in case, spacing or the spelling of a command and are taken twice."""
    first = replace(GOOD, id="first", problem=r"Find $\dfrac{1}{2}$ of ten.")
    copies = [
        replace(first, id=str(i), problem=text) for i, text in enumerate([r"find  $\frac{1}{2}$ of ten. ", first.problem])
    ]
    result = DataPreprocessor().preprocess([first, *copies])
    assert [problem.id for problem in result.problems] == ["first"]
    assert result.counts == {"duplicate": 2}
    assert all("first" in rejection.detail for rejection in result.rejections)


def test_copy_of_a_rejected_problem_is_no_duplicate() -> None:
    """A good copy of a problem that is thrown away because a faulty one came first."""
    result = DataPreprocessor().preprocess([replace(GOOD, solution=""), GOOD])
    assert result.problems == [GOOD]


@pytest.mark.parametrize(
    "problem", ["Сколько будет два плюс два?", "Prove that it is 4.", "In the figure below, find x: (A) 3 (B) 4 (C) 5"]
)
def test_what_is_no_fault_of_the_text_is_kept(problem: str) -> None:
    """The stricter checks of preparing data applied to whoever preprocesses a few problems of his own."""
    kept = replace(GOOD, problem=problem, answer="5")
    assert DataPreprocessor().preprocess([kept]).problems == [kept]


def test_limits_are_settings() -> None:
    """A setting that nothing reads."""
    short, unsolved = replace(GOOD, problem="2+2?"), replace(GOOD, solution="", answer="")
    assert DataPreprocessor(min_problem_characters=4).preprocess([short]).problems == [short]
    assert DataPreprocessor(max_problem_characters=20).preprocess([GOOD]).counts == {"long_problem": 1}
    assert DataPreprocessor(max_solution_characters=5).preprocess([GOOD]).counts == {"long_solution": 1}
    assert DataPreprocessor(require_solution=False).preprocess([unsolved]).counts == {"no_answer": 1}
    assert DataPreprocessor(require_solution=False, require_answer=False).preprocess([unsolved]).problems == [unsolved]


@pytest.mark.parametrize("solution", [r"\{ \boxed{4}", r"\boxed{4} \left\{ x \right.", r"\boxed{4} a\\{\bf b}"])
def test_escaped_braces_need_no_partner(solution: str) -> None:
    r"""A good solution rejected for \{, or for a group that begins after a new row."""
    assert DataPreprocessor().preprocess([replace(GOOD, solution=solution)]).rejections == []


@given(
    st.lists(
        st.builds(
            MathProblem,
            id=st.integers().map(str),
            problem=st.sampled_from(["", "short", "A problem of fair length", "a  problem of fair length", "An open { brace"]),
            solution=st.sampled_from(["", r"\boxed{4}", "#### 4", "no answer", "}"]),
            answer=st.sampled_from(["", "4"]),
        ),
        max_size=12,
    )
)
def test_nothing_vanishes(problems: list[MathProblem]) -> None:
    """A problem that is neither kept nor rejected, or that is both."""
    result = DataPreprocessor().preprocess(iter(problems))
    assert len(result.problems) + len(result.rejections) == len(problems) == len(result.problems) + sum(result.counts.values())
    rejected = [rejection.problem for rejection in result.rejections]
    left = [problem for problem in problems if not any(problem is other for other in rejected)]
    assert [problem.id for problem in result.problems] == [problem.id for problem in left]
    assert DataPreprocessor().preprocess(result.problems).problems == result.problems


def test_all_texts_of_a_problem_are_normalized() -> None:
    """A field that is left as it was, or an answer that is not taken from the solution."""
    problem = MathProblem(
        "id", r" \dfrac12  of ten? ", r"\boxed{\dfrac{10}{2}} ", " ", steps=(ReasoningStep(r"a  \leq b", "a <= b"),)
    )
    assert normalize_problem(problem) == MathProblem(
        "id", r"\frac12 of ten?", r"\boxed{\frac{10}{2}}", r"\frac{10}{2}", steps=(ReasoningStep(r"a \le b", "a <= b"),)
    )
    assert normalize_problem(replace(problem, answer=r"\tfrac{10}2 ")).answer == r"\frac{10}2"


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("OLYMPIAD_DATA"), reason="OLYMPIAD_DATA names no folder with the problem sets")
def test_real_problems_are_kept() -> None:
    """A rule of preprocessing that throws away good problems of the real sets."""
    loader = MathDatasetLoader()
    math = DataPreprocessor().preprocess(loader.load_math_dataset("train"))
    assert math.counts == {"no_answer": 2, "duplicate": 1}  # two boxes are empty
    assert math.problems == [normalize_problem(problem) for problem in math.problems]
    assert DataPreprocessor().preprocess(loader.load_gsm8k("test")).counts == {}
    assert DataPreprocessor().preprocess(loader.load_aops()).counts == {}

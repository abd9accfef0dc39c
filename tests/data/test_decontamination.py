"""What counts as the same problem, and what does not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.data.decontamination import EvaluationIndex, shingles, words
from olympiad.data.preprocessing import normalize_text

PROBLEM = (
    r"A farmer has a rectangular field that is $\frac{3}{4}$ as wide as it is long, and a fence of 280 meters goes all "
    r"the way around it. How many square meters is the area of the field?"
)
OTHER = (
    "Seven friends sit down at a round table so that neither Ada nor Ben sits next to Carl, who always orders soup. "
    "In how many different ways can they be seated, if rotations count as one?"
)


def found(train: str, *evaluation: str) -> list[tuple[int, str, float]]:
    return [(match.number, match.rule, match.score) for match in EvaluationIndex(evaluation).matches(train)]


@pytest.mark.parametrize(
    "copy",
    [
        PROBLEM,
        PROBLEM.upper(),
        PROBLEM.replace(" ", "  \n"),
        PROBLEM.replace(r"$\frac{3}{4}$", r"$\dfrac {3} {4}$"),
        PROBLEM.replace(", and", " and").replace("?", "."),
        PROBLEM + " [asy]draw((0,0)--(4,3));[/asy]",
    ],
)
def test_the_same_words_are_the_same_problem(copy: str) -> None:
    """Guards against copies that hide behind case, spacing, punctuation, LaTeX's formatting or a drawing."""
    assert found(copy, OTHER, PROBLEM) == [(1, "exact", 1.0)]


def test_a_part_that_is_shared() -> None:
    """Guards against a problem that is only wrapped into other words, or asked at its end in another way."""
    (wrapped,) = found(f"Here is a riddle for tonight. {PROBLEM} Explain your reasoning.", PROBLEM)
    assert wrapped == (0, "shingles", 1.0)
    (changed,) = found(PROBLEM.replace("How many square meters is the area of the field?", "Find its diagonal."), PROBLEM)
    assert changed[1] == "shingles"
    assert 0.25 <= changed[2] < 1


def test_another_problem() -> None:
    """Guards against throwing away training problems that share a few words only."""
    assert found(OTHER, PROBLEM) == []
    assert found("How many square meters is the area of the field?", PROBLEM) == []
    assert found("", "", PROBLEM) == []
    assert found("What is 1 + 1?", "What is 1 + 2?") == []
    assert found("What is $1+1$?", "what is 1 + 1") == [(0, "exact", 1.0)]


def test_phrases_that_many_problems_share() -> None:
    """Guards against rejecting every AIME problem because it ends as all of them do."""
    ending = "can be written as m/n where m and n are relatively prime positive integers. Find m + n."
    evaluation = [f"The probability that {name} wins the toss {ending}" for name in ("Ada", "Ben", "Carl", "Dana", "Eve")]
    assert found(f"The length of the shorter diagonal {ending}", *evaluation) == []
    assert [number for number, *_ in found(evaluation[2], *evaluation)] == [2]


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Guards against a text that breaks the index, or that is not found in itself."""
    text = normalize_text(text)
    expected = [(0, "exact", 1.0)] if words(text) else []
    assert found(text, text) == expected
    assert len(shingles(words(text))) <= max(len(words(text)) - 12, 0)


def test_drawings_that_are_left_open_take_no_time() -> None:
    """Quadratic time on a hostile or damaged text."""
    started = time.monotonic()
    assert words("[asy] draw " * 100_000) == []
    assert time.monotonic() - started < 5


def test_an_evaluation_set_that_is_there_four_times_is_still_found() -> None:
    """Copies of a problem taken for a phrase that many problems share."""
    problem = "A farmer has seventeen sheep and all but nine of them run away one night, so how many sheep are left?"
    assert EvaluationIndex([problem] * 6).matches(problem + " Explain.")


def test_both_sides_are_normalised() -> None:
    """A problem that is not found since only the training text has one spelling for a sign."""
    index = EvaluationIndex([r"Find all $x\leq 3$ with $\cfrac{x}{2} \neq 1$."])
    assert index.matches(r"Find all $x\le 3$ with $\frac{x}{2} \ne 1$.")

"""Scores of reasoning: each moves with what it is to measure, and only with that."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.verification import aggregate, reasoning_quality

PROBLEM = (
    "A box holds 17 red and 25 blue balls. Half of the blue balls and 3 red ones are taken out, and one more. What is left?"
)
GOOD = [
    "There are 17 + 25 = 42 balls in the box at first.",
    "After 3 red balls are gone, 42 - 3 = 39 are left in it.",
    r"Taking out 14 more leaves $39 - 14 = 25$, so the answer is 25: $\boxed{25}$.",
]


def scores(*steps: str) -> dict[str, float]:
    return reasoning_quality(PROBLEM, "\n\n".join(steps))


def test_a_wrong_step_lowers_validity() -> None:
    """A score that does not see a false equation."""
    assert scores(*GOOD)["validity"] == 1.0
    assert scores(GOOD[0], "After 3 red balls are gone, 42 - 3 = 38 are left in it.", GOOD[2])["validity"] == pytest.approx(
        2 / 3
    )
    assert math.isnan(scores("We think about it.", "Then we know.")["validity"])


def test_words_alone_lower_coverage() -> None:
    """A solution whose steps nobody can check, scored like one that was checked."""
    assert scores(*GOOD)["coverage"] == 1.0
    assert scores(*GOOD, "This makes sense to everybody.")["coverage"] == 0.75


def test_an_answer_that_does_not_follow_is_not_complete() -> None:
    """An answer from nowhere."""
    assert scores(*GOOD)["completeness"] == 1.0
    assert scores(GOOD[0], GOOD[1], r"Hence $\boxed{77}$.")["completeness"] == 0.5
    assert scores("We look at the balls and see.", "There is nothing else to be done here at all.")["completeness"] == 0.0


def test_repeated_steps_are_redundant_and_less_efficient() -> None:
    """Text that goes in circles."""
    once, twice = scores(*GOOD), scores(GOOD[0], GOOD[0], *GOOD[1:])
    assert once["redundancy"] == 0
    assert twice["redundancy"] == 0.25
    assert twice["efficiency"] < once["efficiency"]


def test_numbers_from_nowhere_are_not_grounded() -> None:
    """A number that was made up."""
    assert scores(*GOOD)["groundedness"] > 0.8
    assert scores("We multiply 991 by 887 and add 553 to 4441.")["groundedness"] == 0


def test_corrections_form_and_language() -> None:
    """Scores that are the same whatever the text looks like."""
    assert scores(*GOOD)["self_corrections"] == 1
    assert scores(*GOOD[:2], "Wait, that's wrong. " + GOOD[2])["self_corrections"] == pytest.approx(1 / 3)
    assert scores(*GOOD)["format"] == 1
    assert scores(GOOD[0] + " $x")["format"] < 0.4
    assert scores(*GOOD)["language_consistency"] == 1
    assert scores("Wir rechnen es aus.", "然后我们得到答案是多少")["language_consistency"] < 0.8


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_has_scores_between_0_and_1(problem: str, solution: str) -> None:
    """A score out of its range, or a text that breaks it."""
    assert all(math.isnan(value) or 0 <= value <= 1 for value in reasoning_quality(problem, solution).values())


def test_error_bars() -> None:
    """A standard error of one solution, or one that counts those without a score."""
    mean = aggregate([{"a": 0.0}, {"a": 1.0}, {"a": 1.0}, {"a": math.nan}])["a"]
    assert (mean.mean, mean.solutions) == (pytest.approx(2 / 3), 3)
    assert mean.standard_error == pytest.approx(1 / 3)
    assert math.isnan(aggregate([{"a": 0.5}])["a"].standard_error)

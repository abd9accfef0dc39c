"""Steps of a solution: what is decided, what is left alone, and that nothing is called wrong that is not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.verification.steps import check_steps, split_steps

WRONG = [
    "48/2 = 25.",
    "3 times 4 is 13.",
    "So 20% of 50 is 11.",
    "He pays 5 boxes * $2/box = $11.",
    r"\[ 18 - 6 = 12 + 3 = 16 \]",
    r"$\frac{3}{4} + \frac{1}{4} = \frac{4}{8}$",
    r"$\binom{8}{3} = 54$ ways",
    "<<48/2=25>>25 apples",
    r"$2^{10} \equiv 3 \pmod{7}$",
    r"$3^3 + 1 < 27$",
    r"1529 ÷ 6 = 255 with a remainder of 4",
    r"\begin{align*} S &= 5 \cdot 4 \\ &= 21 \end{align*}",
    r"$P = (x+1)^2 = x^2 + x + 1$",
    "Total = $3.00 + $1.50. Total = $5.50.",
    r"$2x + 1 = 13$, and therefore $x = 5$.",
    r"$x = 5$, so $y = 3x + 2 = 3(6) + 2 = 20$.",
]
NOT_WRONG = [
    r"1/3 = 0.33, and $\sqrt{2} \approx 1.41$",
    "66.67 * 3 = 200, and 10/50 = 20%",
    "25% of 80 = 0.25 * 80 = 20",
    "1 hour = 60 minutes",
    r"$\frac{1}{2} \text{ inch} = 20 \text{ miles}$",
    r"\[ 20 \div 6 = 3\, R\, 2 \]",
    "17 / 5 = 3 full boxes",
    r"$2 + 2 = 5$, which is a contradiction.",
    r"$3 \cdot 5 \not\equiv 2 \pmod 7$",
    "3B + 20 = -1, and 2x + 60 = 100",
    r"$x - 1 = 0$ or $x - 2 = 0$, so $x = 1$ or $x = 2$.",
    r"$x + y = xy = 3$",
    r"$a(b+c) = b(c+a) = c(a+b)$",
    r"Since $x^2 = x + 1$, $x^3 = x^2 + x = 2x + 1$.",
    r"$f = (-1)^{2n} n = n$",
    r"$\sin 30 = 0.5$ and $\log 100 = 2$",
    r"$\cos(90^\circ) = 0$, $\arcsin(\sin 6^\circ) = 6^\circ$",
    r"$10 \equiv 3$ modulo 7",
    "She ran half of 5 + 3 = 4 miles",
    "the cost is $2 million + $3 = $2000003",
    "3 = 5 is false",
    "C(16, 2) = 16! / (2!(16-2)!) = 120",
    "Note that 3!=6.",
]


@pytest.mark.parametrize("text", WRONG)
def test_finds_false_claims(text: str) -> None:
    """Arithmetic of one kind (prose, rows, percentages, remainders, solved names) is no longer found."""
    assert check_steps("", [text]).first_error == 0


@pytest.mark.parametrize("text", NOT_WRONG)
def test_leaves_alone_what_may_be_right(text: str) -> None:
    """A rounding, a conversion, a condition or a reading of the words is taken for a mistake."""
    report = check_steps("", [text])
    assert report.first_error is None, [claim for claim in report.steps[0].claims if claim.status == "wrong"]


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(1, 99), st.integers(-9, 9))
def test_true_arithmetic_is_valid_and_false_is_wrong(a: int, b: int, c: int, shift: int) -> None:
    """A whole-number result off by some is accepted, or a true one refused."""
    for formula in (rf"${a} + {b} \cdot {c} = {{}}$", f"({a}) + {b} * {c} = {{}} apples."):
        status = check_steps("", [formula.format(a + b * c + shift)]).steps[0].status
        assert status == ("valid" if shift == 0 else "wrong")


@given(st.integers(-9, 9), st.integers(1, 9), st.integers(-9, 9))
def test_a_value_must_solve_the_equation_before_it(a: int, b: int, root: int) -> None:
    """A solved name is not put into the equation that it solves."""
    steps = [f"We have ${b}x + {a} = {a + b * root}$.", f"Thus $x = {root}$."]
    assert check_steps("", steps).first_error is None
    assert check_steps("", [steps[0], f"Thus $x = {root + 2}$."]).first_error == 1


def test_a_name_given_again_is_forgotten() -> None:
    """The value of an earlier case is put into a later one."""
    steps = ["Case 1: $x = 2$.", "Case 2: $x = 3$.", "Then $A = x^2 + 1 = 3^2 + 1 = 10$."]
    assert check_steps("", steps).first_error is None


def test_the_judge_sees_only_what_algebra_left() -> None:
    """The judge overrules arithmetic, or is asked about every step."""
    asked = []

    def judge(problem: str, steps: object, index: int) -> float | None:
        asked.append(index)
        return {0: 0.9, 2: 0.2}.get(index)

    report = check_steps("", ["We think.", "2 + 2 = 4.", "Clearly so.", "Hm."], judge)
    assert (asked, report.first_error, report.coverage) == ([0, 2, 3], 2, 0.75)
    assert [step.status for step in report.steps] == ["valid", "valid", "wrong", "unchecked"]


def test_splits_a_solution() -> None:
    """Paragraphs or numbered lines are run together, and the index of the error is that of another step."""
    assert split_steps("A\nstill A\n\nB\n2. C\n- D") == ["A\nstill A", "B", "2. C", "- D"]
    assert check_steps("", "First 1 + 1 = 2.\n\nThen 2 + 2 = 5.").first_error == 1


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(r"$ \ frac { } 1 2 = + x ( ) \[ \] ^ _ % of times ! / \sum \n & \pmod é \boxed{ < i".split()),
        max_size=60,
    )
)
def test_never_raises(parts: list[str]) -> None:
    """Half-written LaTeX ends in an exception."""
    check_steps("".join(parts), [" ".join(parts), "".join(parts)])


HOSTILE = [r"\[" * 4000, "1" * 8000, "1=" * 4000, "$10^{10^{10}} = 5!!!!$ " * 300, r"$\sum_{k=1}^{2000}k^{2000}=3$ " * 90]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_ends_soon(text: str) -> None:
    """A pattern of quadratic time, or a tower of powers that is computed."""
    start = time.monotonic()
    check_steps(text, [text] * 30)
    assert time.monotonic() - start < 4


@pytest.mark.data
@pytest.mark.skipif("OLYMPIAD_DATA" not in os.environ, reason="OLYMPIAD_DATA names no folder with the shared data")
@pytest.mark.parametrize(("subset", "least"), [("gsm8k", 0.08), ("math", 0.12)])
def test_processbench(subset: str, least: float) -> None:
    """A change that finds more errors calls correct solutions wrong, or one for precision finds none."""
    path = Path(os.environ["OLYMPIAD_DATA"]) / "processbench" / f"{subset}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    pairs = [(row["label"], check_steps(row["problem"], row["steps"]).first_error) for row in rows]
    correct = [first for label, first in pairs if label == -1]
    assert sum(first is not None for first in correct) <= 0.02 * len(correct)
    assert sum(label == first for label, first in pairs) >= least * (len(rows) - len(correct))

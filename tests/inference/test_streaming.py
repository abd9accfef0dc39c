"""Text while it comes: characters, stop strings, formulas."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from olympiad.inference.streaming import TextStream
from olympiad.inference.terminal import AnswerView, as_text
from olympiad.inference.voting import final_answer, vote
from olympiad.plain_math import unicode_formula
from olympiad.tokenizer import MathTokenizer

TOKENIZER = MathTokenizer()
texts = st.text(st.sampled_from("ab1 \n.é√🙂ä∑👩‍👧한") | st.characters(codec="utf-8"), max_size=30)


@settings(deadline=None)
@given(text=texts, stops=st.lists(st.text(st.sampled_from("ab1 \n.é√🙂"), min_size=1, max_size=3), max_size=2))
def test_pieces_make_the_text_before_the_first_stop(text: str, stops: list[str]) -> None:
    """Guards against half characters, a stop string shown in part, one found late, and text lost behind a held piece."""
    stream, shown = TextStream(TOKENIZER, tuple(stops)), ""
    ends = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    for token in TOKENIZER.encode(text):
        stopped = stream.add(token)
        shown += stream.take()
        assert text.startswith(shown), "no piece is taken back"
        if stopped:
            break
    assert stopped == bool(ends) if text else not ends
    assert shown + stream.finish() == stream.text == (text[: min(ends)[1]] if ends else text)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=25))
def test_any_ids_stream_as_they_decode(ids: list[int]) -> None:
    """Guards against bytes that never become a character: the text stops coming, or differs from the whole."""
    stream, shown = TextStream(TOKENIZER), ""
    for token in ids:
        stream.add(token)
        shown += stream.take()
    assert shown + stream.finish() == TOKENIZER.decode(ids)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (r"\frac{1}{2}", "1/2"),
        (r"\frac12 + \dfrac{a+b}{2c}", "1/2 + (a+b)/(2c)"),
        (r"\frac{\frac{1}{2}}{x^2}", "(1/2)/x²"),
        (r"x_{1}^{10} \le \pi r^2", "x₁¹⁰ ≤ π r²"),
        (r"\sqrt{2}, \sqrt{x+1}", "√2, √(x+1)"),
        (r"90^\circ", "90°"),
        (r"e^{xy}", "e^(xy)"),
        (r"\boxed{\text{yes}}", "yes"),
        (r"\left( \sin x \right)", "( sin x )"),
        (r"x \in \mathbb{R}", "x ∈ ℝ"),
        (r"\unknown{x}", r"\unknown{x}"),
        (r"50\% of \{1, 2\}", "50% of {1, 2}"),
        ("{" * 50 + "}" * 50 + "^" * 50, "{" * 50 + "}" * 50 + "^" * 50),
    ],
)
def test_formulas(formula: str, text: str) -> None:
    """Guards against braces left over, and against mathematics that says something else."""
    assert unicode_formula(formula) == text


def test_prices_are_no_formulas() -> None:
    """Guards against text between two dollar amounts of different lines taken for a formula."""
    assert as_text("It costs $5\nor \\$6_a.") == "It costs $5\nor \\$6_a."


def test_an_answer_on_a_terminal() -> None:
    """Guards against Markdown shown as it is written, paragraphs shown twice, and the end not shown."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=60, color_system=None)
    with AnswerView(console) as view:
        for piece in ("**Fir", "st** $x^2$.\n", "\nSec", "ond.", "<|answer|>", "4"):
            view.add(piece)
    shown = output.getvalue()
    assert "First x²." in shown
    assert "**" not in shown.replace("**Fir", "")
    assert shown.rstrip().endswith("Answer: 4")


def test_votes() -> None:
    """Guards against equal answers counted apart, and a majority of no answers that wins."""
    texts = ["I can not say how it goes."] * 3 + [r"$\boxed{\frac12}$", "#### 3", "So it is $0.5$."]
    assert [(each.answer, each.members) for each in vote(texts)] == [(r"\frac12", (3, 5)), ("3", (4,)), (None, (0, 1, 2))]
    assert final_answer("Adding $7$. So it is $8$.<|answer|>9") == "9"

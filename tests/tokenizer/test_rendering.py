"""One renderer: what is learned, what is only read, and no way for text to leave its frame."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from olympiad.tokenizer import MathTokenizer, Segment, render, render_prompt
from olympiad.tokenizer.rendering import Role
from olympiad.tokenizer.special import ANSWER, BEGIN, END, PROBLEM, SOLUTION, SPECIAL_TOKENS

TOKENIZER = MathTokenizer()
SPECIAL_IDS = set(TOKENIZER.special_ids.values())
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from([*SPECIAL_TOKENS, " ", "\n", "x²", r"\frac", "12", "<|", "|>", "", "\u0301", "<|begin|", "e"]),
        max_size=6,
    ).map("".join),
)
ROLES: tuple[Role, ...] = ("text", "problem", "solution", "answer", "thinking", "python_call", "python_output")
SEGMENTS = st.lists(st.builds(Segment, st.sampled_from(ROLES), TEXTS), max_size=6)


@pytest.mark.parametrize(
    ("role", "opening", "text", "closing"),
    [
        ("text", None, 1, None),
        ("problem", ("<|problem|>", 0), 0, None),
        ("solution", ("<|solution|>", 0), 1, None),
        ("answer", ("<|answer|>", 1), 1, None),
        ("thinking", ("<|think|>", 1), 1, ("<|/think|>", 1)),
        ("python_call", ("<|python|>", 1), 1, ("<|/python|>", 1)),
        ("python_output", ("<|output|>", 0), 0, ("<|/output|>", 0)),
    ],
)
def test_frame_and_mask_of_each_role(
    role: Role, opening: tuple[str, int] | None, text: int, closing: tuple[str, int] | None
) -> None:
    """A model trained to invent problems or the output of its programs, or never to call a tool, answer and stop."""
    inner = TOKENIZER.encode("x = 12")
    pieces = [(TOKENIZER.begin_id, 0)]
    pieces += [(TOKENIZER.special_ids[opening[0]], opening[1])] if opening else []
    pieces += [(id, text) for id in inner]
    pieces += [(TOKENIZER.special_ids[closing[0]], closing[1])] if closing else []
    pieces += [(TOKENIZER.end_id, text)]
    document = render(TOKENIZER, [Segment(role, "x = 12")])
    assert list(zip(document.ids, document.loss_mask, strict=True)) == pieces


def test_whole_conversation() -> None:
    """Segments that change places or swallow one another."""
    segments = [
        Segment("problem", "2+2?"),
        Segment("solution", "Sum:"),
        Segment("thinking", "hm"),
        Segment("python_call", "print(2+2)"),
        Segment("python_output", "4"),
        Segment("text", "So four."),
        Segment("answer", "4"),
    ]
    document = render(TOKENIZER, iter(segments))
    assert TOKENIZER.decode(document.ids) == (
        "<|begin|><|problem|>2+2?<|solution|>Sum:<|think|>hm<|/think|><|python|>print(2+2)<|/python|>"
        "<|output|>4<|/output|>So four.<|answer|>4<|end|>"
    )
    learned = [id for id, mask in zip(document.ids, document.loss_mask, strict=True) if mask]
    assert TOKENIZER.decode(learned) == "Sum:<|think|>hm<|/think|><|python|>print(2+2)<|/python|>So four.<|answer|>4<|end|>"


@given(SEGMENTS)
def test_decode_gives_the_frame_back(segments: list[Segment]) -> None:
    """Text that is changed, cut or moved by rendering."""
    document = render(TOKENIZER, segments)
    assert len(document) == len(document.ids) == len(document.loss_mask)
    frames = {
        "text": ("", ""),
        "problem": (PROBLEM, ""),
        "solution": (SOLUTION, ""),
        "answer": (ANSWER, ""),
        "thinking": ("<|think|>", "<|/think|>"),
        "python_call": ("<|python|>", "<|/python|>"),
        "python_output": ("<|output|>", "<|/output|>"),
    }
    inside = "".join(frames[segment.role][0] + segment.text + frames[segment.role][1] for segment in segments)
    assert TOKENIZER.decode(document.ids) == f"{BEGIN}{inside}{END}"


@given(TEXTS, TEXTS, TEXTS)
@example("", "", "")
@example(r"What is $\frac{1}{2}", "}$ of four?", "2")
@example("e", "\u0301", "<|end|>")
def test_prompt_is_a_prefix_of_the_training_document(problem: str, solution: str, answer: str) -> None:
    """A model asked in other tokens than it was trained on: a solution that grows into the problem, a space too many."""
    document = render(TOKENIZER, [Segment("problem", problem), Segment("solution", solution), Segment("answer", answer)])
    prompt = render_prompt(TOKENIZER, problem)
    assert document.ids[: len(prompt)] == prompt
    assert document.loss_mask == [0] * len(prompt) + [1] * (len(document) - len(prompt))
    assert prompt[-1] == TOKENIZER.special_ids[SOLUTION]


@given(SEGMENTS)
@example([Segment("problem", "".join(SPECIAL_TOKENS)), Segment("solution", "<|end|><|begin|>")])
def test_text_gives_no_special_ids(segments: list[Segment]) -> None:
    """A problem that spells <|solution|> or <|end|> and so writes its own answer, or ends the document."""
    ids = render(TOKENIZER, segments).ids
    plain = render(TOKENIZER, [Segment(segment.role, "") for segment in segments]).ids
    assert [id for id in ids if id in SPECIAL_IDS] == plain


@given(SEGMENTS)
def test_each_text_is_encoded_by_itself(segments: list[Segment]) -> None:
    """Tokens across the seam of two segments, with a mask that is half right."""
    ids = render(TOKENIZER, segments).ids
    assert [id for id in ids if id not in SPECIAL_IDS] == [id for segment in segments for id in TOKENIZER.encode(segment.text)]


def test_only_the_frame_of_nothing() -> None:
    """A document without segments that fails."""
    assert render(TOKENIZER, []).ids == [TOKENIZER.begin_id, TOKENIZER.end_id]
    assert render(TOKENIZER, []).loss_mask == [0, 0]


def test_rendered_documents_are_their_own() -> None:
    """Two documents that share a list, so that the end of one is appended to the other."""
    segments = [Segment("problem", "2+2?")]
    first, second = render(TOKENIZER, segments), render(TOKENIZER, segments)
    assert first == second
    assert first.ids is not second.ids
    with pytest.raises(FrozenInstanceError):
        first.ids = []  # type: ignore[misc]


def test_unknown_role() -> None:
    """A misspelt role rendered as plain text, with a loss on it."""
    with pytest.raises(KeyError, match="proof"):
        render(TOKENIZER, [Segment("proof", "x")])  # type: ignore[arg-type]


def test_a_bare_problem_does_not_teach_to_stop() -> None:
    """Guards against problems without solutions, whose only target would be the end of the document."""
    assert not any(render(MathTokenizer(), [Segment("problem", "What is 2 + 2?")]).loss_mask)
    assert render(MathTokenizer(), [Segment("text", "a")]).loss_mask[-1] == 1

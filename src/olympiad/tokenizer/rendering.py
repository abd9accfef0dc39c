"""The one renderer: text becomes (ids, loss mask) here and nowhere else.

    <|begin|><|problem|> What is 2 + 2? <|solution|> Two and two ... <|answer|> 4 <|end|>
       0         0            0              0              1            1     1     1      loss mask

A token with mask 1 is one that the model has to predict. Prompts and tool output have mask 0: nobody wants a model
that invents problems, or the results of its own programs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from . import special
from .tokenizer import MathTokenizer

Role = Literal["text", "problem", "solution", "answer", "thinking", "python_call", "python_output"]


@dataclass(frozen=True)
class Segment:
    """A piece of text and the part that it plays."""

    role: Role
    text: str


@dataclass(frozen=True)
class Rendered:
    """``ids`` and ``loss_mask`` have one length; mask 1 marks the tokens to predict."""

    ids: list[int]
    loss_mask: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Frame:
    """What stands around a role's text, and what of it the model has to predict."""

    opening: str | None
    closing: str | None
    learn_text: bool
    learn_opening: bool


_FRAMES: dict[Role, _Frame] = {
    "text": _Frame(None, None, learn_text=True, learn_opening=True),
    "problem": _Frame(special.PROBLEM, None, learn_text=False, learn_opening=False),
    "solution": _Frame(special.SOLUTION, None, learn_text=True, learn_opening=False),
    "thinking": _Frame(special.THINK, special.THINK_END, learn_text=True, learn_opening=True),
    "answer": _Frame(special.ANSWER, None, learn_text=True, learn_opening=True),
    "python_call": _Frame(special.PYTHON, special.PYTHON_END, learn_text=True, learn_opening=True),
    "python_output": _Frame(special.OUTPUT, special.OUTPUT_END, learn_text=False, learn_opening=False),
}


def render(tokenizer: MathTokenizer, segments: Iterable[Segment]) -> Rendered:
    """One whole document, from ``<|begin|>`` to ``<|end|>``.

    >>> document = render(MathTokenizer(), [Segment("problem", "2+2?"), Segment("answer", "4")])
    >>> MathTokenizer().decode(document.ids), document.loss_mask
    ('<|begin|><|problem|>2+2?<|answer|>4<|end|>', [0, 0, 0, 0, 0, 0, 1, 1, 1])
    """
    segments = list(segments)
    document = _open(tokenizer, segments)
    document.ids.append(tokenizer.end_id)
    # After a bare problem there is nothing to learn, least of all to stop there.
    document.loss_mask.append(int(bool(segments) and _FRAMES[segments[-1].role].learn_text))
    return document


def render_prompt(tokenizer: MathTokenizer, problem: str) -> list[int]:
    """The ids after which the model begins its solution: the same as in training, up to there.

    >>> MathTokenizer().decode(render_prompt(MathTokenizer(), "2+2?"))
    '<|begin|><|problem|>2+2?<|solution|>'
    """
    return [*_open(tokenizer, [Segment("problem", problem)]).ids, tokenizer.special_ids[special.SOLUTION]]


def _open(tokenizer: MathTokenizer, segments: Iterable[Segment]) -> Rendered:
    segments = list(segments)
    ids, mask = [tokenizer.begin_id], [0]
    for segment, text_ids in zip(segments, tokenizer.encode_batch([segment.text for segment in segments]), strict=True):
        frame = _FRAMES[segment.role]
        if frame.opening:
            ids.append(tokenizer.special_ids[frame.opening])
            mask.append(int(frame.learn_opening))
        ids += text_ids
        mask += [int(frame.learn_text)] * len(text_ids)
        if frame.closing:
            ids.append(tokenizer.special_ids[frame.closing])
            mask.append(int(frame.learn_text))
    return Rendered(ids, mask)

"""Several solutions of one problem -> classes of equal answers, the largest first. The right answer is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from olympiad.tokenizer.special import ANSWER
from olympiad.verification import answer_classes, extract_answer
from olympiad.verification.extraction import was_answered


@dataclass(frozen=True)
class AnswerClass:
    """Equal answers: the first of them, and the numbers of the solutions that gave it; None for no answer."""

    answer: str | None
    members: tuple[int, ...]


def final_answer(text: str, cut_off: bool = False) -> str | None:
    """The answer of one solution: what our models write behind the mark of an answer, else what is found in the text; in
    one that was cut off, only what it says to be its answer.

    >>> final_answer("Two and two.<|answer|>4"), final_answer("So it is $1/2$."), final_answer("I can not say how it goes.")
    ('4', '1/2', None)
    """
    solution, mark, answer = text.partition(ANSWER)
    if mark and answer.strip():
        return answer.strip()
    return extract_answer(solution) if was_answered(solution, cut_off) else None


def vote(texts: Sequence[str], policy: str = "default", cut_off: Sequence[bool] | None = None) -> list[AnswerClass]:
    """Group solutions by their answers; most votes first, then in the order of their first members; no answer last.

    >>> [(each.answer, each.members) for each in vote(["It is $0.5$.", "#### 3", "I can not say how it goes.", "#### 1/2"])]
    [('0.5', (0, 3)), ('3', (1,)), (None, (2,))]
    """
    answers = [final_answer(text, cut) for text, cut in zip(texts, cut_off or [False] * len(texts), strict=True)]
    members: dict[int | None, list[int]] = {}
    for index, number in enumerate(answer_classes(answers, policy)):
        members.setdefault(number, []).append(index)
    ordered = sorted(members.items(), key=lambda item: (item[0] is None, -len(item[1]), item[1][0]))
    return [AnswerClass(answers[each[0]] if number is not None else None, tuple(each)) for number, each in ordered]

"""Which answers of several solutions are one and the same, without knowing the right one: what votes are counted over."""

from __future__ import annotations

from collections.abc import Sequence

from .verdict import Policy, find_policy, verify


def answer_classes(answers: Sequence[str | None], policy: str | Policy = "default") -> list[int | None]:
    """The number of each answer's class, in the order of their first members; None for no answer.

    An answer belongs to the first class whose first member it equals by ``policy``.

    >>> answer_classes(["0.5", "1/2", None, "2", r"\\\\frac12"])
    [0, 0, None, 1, 0]
    """
    policy = find_policy(policy) if isinstance(policy, str) else policy
    representatives: list[str] = []
    known: dict[str, int] = {}
    numbers: list[int | None] = []
    for answer in answers:
        if answer is None or not answer.strip():
            numbers.append(None)
            continue
        if answer not in known:
            equal = (n for n, first in enumerate(representatives) if verify(first, answer, policy).correct)
            known[answer] = next(equal, len(representatives))
            if known[answer] == len(representatives):
                representatives.append(answer)
        numbers.append(known[answer])
    return numbers

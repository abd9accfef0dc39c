"""How a problem is put to a model: each style is data.

A prompt is one text to be continued (base models), messages (chat models), or the bare problem, which our own renderer
frames as in training.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from olympiad.data.preprocessing import normalize_text
from olympiad.inference.prompts import INSTRUCTION

from .errors import EvaluationError

Kind = Literal["text", "chat", "rendered"]
Message = Mapping[str, str]


@dataclass(frozen=True)
class Prompt:
    """What is asked: ``text`` (the problem itself where our renderer frames it), or ``messages`` with "role" and "content".

    ``stop``: texts at which an answer ends; they are not part of it.
    """

    kind: Kind
    text: str = ""
    messages: tuple[Message, ...] = ()
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A solved problem that stands before the one to solve."""

    problem: str
    solution: str


# Written for this file: none stands in a data set.
SHOTS = (
    Shot(
        "A shop sells pens in boxes of 12. Nora buys 5 boxes, gives 17 pens away and shares the rest equally between "
        "herself and her sister. How many pens does Nora keep?",
        "Five boxes hold $5 \\cdot 12 = 60$ pens. After giving 17 away, $60 - 17 = 43$ would remain, which is odd, so each gets "
        "$21$ whole pens with one left over. Nora keeps 21. The answer is $\\boxed{21}$.",
    ),
    Shot(
        "Find the sum of all real solutions of $x^2 - 7x + 10 = 0$.",
        "The left side factors: $x^2 - 7x + 10 = (x - 2)(x - 5)$. So the solutions are $2$ and $5$, and their sum is "
        "$2 + 5 = 7$. The answer is $\\boxed{7}$.",
    ),
    Shot(
        "Two fair dice are rolled. What is the probability that the larger of the two numbers is exactly 3?",
        "There are $6 \\cdot 6 = 36$ outcomes. Both numbers are at most 3 in $3 \\cdot 3 = 9$ of them, and at most 2 in "
        "$2 \\cdot 2 = 4$. So the larger is exactly 3 in $9 - 4 = 5$ outcomes. The answer is $\\boxed{\\frac{5}{36}}$.",
    ),
    Shot(
        "What is the remainder when $3^{20}$ is divided by $7$?",
        "By Fermat's little theorem $3^6 \\equiv 1 \\pmod 7$. Since $20 = 3 \\cdot 6 + 2$, we get $3^{20} \\equiv 3^2 = 9 \\equiv 2 "
        "\\pmod 7$. The answer is $\\boxed{2}$.",
    ),
)


@dataclass(frozen=True)
class Style:
    """``before`` and ``after`` frame the problem; ``between`` its solution from it (texts), shots stand before."""

    name: str
    kind: Kind
    summary: str
    before: str = ""
    after: str = ""
    shots: Sequence[Shot] = ()
    stop: tuple[str, ...] = ()
    system: str = ""

    def prompt(self, problem: str) -> Prompt:
        """The prompt for a problem's statement."""
        problem = normalize_text(problem)  # as in training
        if self.kind == "rendered":
            return Prompt("rendered", problem)
        if self.kind == "text":
            shots = (f"{self.before}{shot.problem}{self.after} {shot.solution}\n\n" for shot in self.shots)
            return Prompt("text", "".join(shots) + f"{self.before}{problem}{self.after}", stop=self.stop)
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        for shot in self.shots:
            messages.append({"role": "user", "content": f"{self.before}{shot.problem}{self.after}"})
            messages.append({"role": "assistant", "content": shot.solution})
        messages.append({"role": "user", "content": f"{self.before}{problem}{self.after}"})
        return Prompt("chat", messages=tuple(messages), stop=self.stop)


STYLES = {
    style.name: style
    for style in (
        Style("rendered", "rendered", "the problem as our own models were trained on it"),
        Style("chat", "chat", "one message, in the model's own chat template", after=f"\n\n{INSTRUCTION}"),
        Style("chat-few-shot", "chat", "solved problems as earlier turns", after=f"\n\n{INSTRUCTION}", shots=SHOTS),
        Style(
            "boxed", "text", "zero-shot: problem, instruction, and the beginning of a solution",
            before="Problem: ", after=f"\n\n{INSTRUCTION}\n\nSolution:", stop=("\nProblem:",),
        ),
        Style(
            "few-shot", "text", "four solved problems, then this one",
            before="Problem: ", after="\nSolution:", shots=SHOTS, stop=("\nProblem:",),
        ),
    )
}  # fmt: skip


def find_style(name: str) -> Style:
    """The style of this name.

    Raises:
        EvaluationError: there is none; the nearest one is named.
    """
    if name in STYLES:
        return STYLES[name]
    near = difflib.get_close_matches(name, STYLES, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"there are auto, {', '.join(STYLES)}"
    raise EvaluationError(f"no prompt style {name!r}; {advice}")

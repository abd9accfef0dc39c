"""What a problem is: every source makes these, every consumer takes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class ReasoningStep:
    """One step of a solution: what is said, and the claim that a checker can test (``"2 + 3 = 5"``), where there is one."""

    text: str
    claim: str = ""


@dataclass(frozen=True)
class TextDocument:
    """Plain text to learn language and notation from: no problem, nothing to answer."""

    id: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class MathProblem:
    """A problem, its worked solution and its final answer.

    ``level`` is the source's own ("Level 3", "4.5"), ``metadata`` whatever else it says.
    """

    id: str
    problem: str
    solution: str = ""
    answer: str = ""
    subject: str = ""
    level: str = ""
    source: str = ""
    steps: tuple[ReasoningStep, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)

    @cached_property
    def key(self) -> str:
        """A hash of the problem's text, blind to case and spacing: equal keys are the same problem.

        >>> MathProblem("a", "What is  $1+1$?").key == MathProblem("b", "what is $1+1$? ").key
        True
        """
        return hashlib.sha256(re.sub(r"\s+", " ", self.problem).strip().casefold().encode("utf-8", "replace")).hexdigest()

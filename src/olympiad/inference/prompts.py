"""A problem, or a conversation, as the ids that a model was trained to go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from olympiad.data.preprocessing import normalize_text
from olympiad.errors import UserError
from olympiad.interop import ForeignTokenizer
from olympiad.tokenizer import MathTokenizer, render_prompt

INSTRUCTION = "Solve the problem step by step, and put the final answer into \\boxed{}."


def problem_prompt(tokenizer: MathTokenizer | ForeignTokenizer, problem: str) -> list[int]:
    """The ids after which a model begins its solution.

    Our own models get the frame of their training, others their chat template, and those without one plain text.

    Raises:
        UserError: the problem is empty.
    """
    if isinstance(tokenizer, MathTokenizer):
        statement = normalize_text(problem)  # as in training
        if not statement:
            raise UserError("the problem is empty: write its text after the model")
        return render_prompt(tokenizer, statement)
    if not problem.strip():
        raise UserError("the problem is empty: write its text after the model")
    ids = tokenizer.chat_prompt([{"role": "user", "content": f"{problem.strip()}\n\n{INSTRUCTION}"}])
    return tokenizer.prompt_ids(f"Problem: {problem.strip()}\nSolution:") if ids is None else ids


def chat_ids(tokenizer: MathTokenizer | ForeignTokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The ids of a conversation up to where the model answers. Our own models know problems, not conversations: they get
    the last message alone, and so do models without a chat template."""
    if isinstance(tokenizer, MathTokenizer):
        return problem_prompt(tokenizer, messages[-1]["content"])
    ids = tokenizer.chat_prompt(messages)
    return problem_prompt(tokenizer, messages[-1]["content"]) if ids is None else ids

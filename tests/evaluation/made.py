"""Small evaluations, made in a moment: tasks, a backend that knows what to say, rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from olympiad.data import MathProblem
from olympiad.evaluation.backends import Request, Response
from olympiad.evaluation.benchmarks import Benchmark, Task
from olympiad.evaluation.runner import EvaluationOptions, run_evaluation, settings_of


def task(count: int = 3, samples: int = 1, name: str = "sums", policy: str = "default") -> Task:
    """Sums of two numbers, in two subjects and three levels."""
    problems = tuple(
        MathProblem(
            f"sum/{n}", f"What is ${n} + {n + 1}$?", "", str(2 * n + 1), f"subject {n % 2}", f"Level {n % 3 + 1}", "test"
        )
        for n in range(count)
    )
    return Task(Benchmark(name, name, policy=policy, samples=samples), problems)


class Parrot:
    """A backend that says ``answer(request, number)``: a text, or a whole response; it counts what it was asked."""

    default_style = "chat"

    def __init__(self, answer: Callable[[Request, int], str | Response]) -> None:
        self.answer, self.asked = answer, list[str]()

    def complete(self, requests: Iterable[Request]) -> Iterator[Response]:
        for request in requests:
            said = self.answer(request, len(self.asked))
            self.asked.append(request.id)
            yield (
                said if isinstance(said, Response) else Response(request, said, "the prompt", "stop", 5, len(said.split()), 0.5)
            )


def right(request: Request, number: int = 0) -> str:
    """The right answer to a sum."""
    left, plus, other = request.prompt.messages[-1]["content"].partition("?")[0].removeprefix("What is $").split()
    assert plus == "+"
    return rf"Add: ${left} + {other[:-1]} = {int(left) + int(other[:-1])}$. So it is $\boxed{{{int(left) + int(other[:-1])}}}$."


def evaluate(folder: Path, backend: Any, *tasks: Task, model: str = "m", **options: Any) -> list[dict[str, Any]]:
    chosen = EvaluationOptions(style="chat", **options)
    settings = settings_of(model, "parrot", "chat", tasks, chosen)
    return run_evaluation(folder, backend, tasks, settings, chosen)


def row(id: str = "p", sample: int = 0, verdict: str = "correct", **fields: Any) -> dict[str, Any]:
    """A row as the runner writes it."""
    usual: dict[str, Any] = {
        "benchmark": "b", "problem_id": id, "sample": sample, "verdict": verdict, "reason": "they are equal", "answer": "1",
        "gold": "1", "problem": "What?", "prompt": "What?", "text": "It is 1.", "finish_reason": "stop", "answer_rule": "phrase",
        "prompt_tokens": 3, "tokens": 4, "seconds": 1.0, "seed": 1, "confidence": None, "subject": "", "level": "", "source": "s",
        "quality": {"validity": None, "format": 0.5},
    }  # fmt: skip
    return {**usual, **fields}

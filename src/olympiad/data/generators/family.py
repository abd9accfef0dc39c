"""What a family of problems is, and how one of its problems is made and checked.

A family is a function ``(random, level) -> Draft``: it samples parameters, states the problem, and solves it step by
step. Each step carries a claim, which is decided exactly (see :mod:`olympiad.data.claims`) before the problem is let
out: a family that computes wrongly raises, it never emits.

    @family("algebra")
    def two_numbers(random, level):
        a, b = random.randint(1, 10 * level), random.randint(1, 10 * level)
        return Draft(
            problem=f"What is ${a} + {b}$?",
            steps=[("Adding gives {}.", f"{a} + {b} = {a + b}")],
            answer=f"{a + b}",
        )

Where a step's text says ``{}``, its claim is written out in LaTeX.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from olympiad.data.claims import ClaimError, holds, latex_of
from olympiad.data.schema import MathProblem, ReasoningStep
from olympiad.errors import UserError

LEVELS = range(1, 6)


class GeneratorError(UserError, ValueError):
    """A family or level that does not exist, or a family whose own solution does not hold."""


@dataclass(frozen=True)
class Draft:
    """A problem as its family makes it: each step is ``(text, claim)``; an empty claim says nothing that can be checked."""

    problem: str
    steps: list[tuple[str, str]]
    answer: str


Make = Callable[[Random, int], Draft]


@dataclass(frozen=True)
class Family:
    """A registered family: its function, under the function's name, with the subject that it belongs to."""

    name: str
    subject: str
    make: Make
    summary: str


_REGISTRY: dict[str, Family] = {}


def family(subject: str) -> Callable[[Make], Make]:
    """Register the decorated function as a family of ``subject``; its docstring's first line says what it is."""

    def register(make: Make) -> Make:
        name = make.__name__
        assert name not in _REGISTRY, f"two families are called {name}"
        _REGISTRY[name] = Family(name, subject, make, (make.__doc__ or "").strip().splitlines()[0])
        return make

    return register


@cache
def registry() -> dict[str, Family]:
    """All families by name, from all modules of this folder."""
    package = importlib.import_module("olympiad.data.generators")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def families() -> list[str]:
    """The names of all families, sorted."""
    return list(registry())


def generate(family: str, level: int, seed: int, index: int) -> MathProblem:
    """Problem ``index`` of ``family`` at ``level`` (1 to 5): the same for the same arguments, on every machine.

    A family "gym/NAME" is one of the library reasoning-gym, see :mod:`olympiad.data.gym`.

    Raises:
        GeneratorError: there is no such family or level, or a step of the solution is not true (a bug of the family).
    """
    if family.startswith("gym/"):
        from olympiad.data.gym import generate_gym

        return generate_gym(family, level, seed, index)
    entry = registry().get(family)
    if entry is None:
        raise GeneratorError(f"there is no family {family!r}; there are: {', '.join(families())}")
    if level not in LEVELS:
        raise GeneratorError(f"level is {level!r}, expected 1 to 5")
    name = f"{family}/{level}/{seed}/{index}"
    draft = entry.make(Random(name), level)
    _check(name, draft)
    steps = [
        ReasoningStep(text.replace("{}", f"${latex_of(claim)}$") if "{}" in text else text, claim)
        for text, claim in draft.steps
    ]
    return MathProblem(
        id=name,
        problem=draft.problem,
        solution="\n".join([*(step.text for step in steps), rf"The answer is $\boxed{{{draft.answer}}}$."]),
        answer=draft.answer,
        subject=entry.subject,
        level=f"Level {level}",
        source="generated",
        steps=tuple(steps),
        metadata={"family": family, "seed": seed, "index": index},
    )


def _check(name: str, draft: Draft) -> None:
    if not draft.problem or not draft.answer or not any(claim for _, claim in draft.steps):
        raise GeneratorError(f"{name}: a draft needs a problem, an answer and at least one claim")
    for text, claim in draft.steps:
        try:
            if claim and not holds(claim):
                raise GeneratorError(f"{name}: the claim {claim!r} of the step {text!r} is false")
        except ClaimError as error:
            raise GeneratorError(f"{name}: the claim {claim!r} of the step {text!r} can't be decided: {error}") from error


TEST_SHARE = 10


def split_of(problem: MathProblem) -> str:
    """``"test"`` for one problem text in ten, ``"train"`` for the others: by the text, so no text is in both."""
    digest = hashlib.sha256(f"split:{problem.key}".encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def generate_split(family: str, level: int, split: str, seed: int = 0) -> Iterator[MathProblem]:
    """The problems of one family and level that belong to ``split``, each text once; ends when no new one comes.

    Raises:
        GeneratorError: see :func:`generate`; or ``split`` is neither "train" nor "test".
    """
    if split not in ("train", "test"):
        raise GeneratorError(f"split is {split!r}, expected 'train' or 'test'")
    seen: set[str] = set()
    index = repeats = 0
    while repeats < 1_000:  # a small family runs out of texts
        problem = generate(family, level, seed, index)
        index += 1
        repeats = repeats + 1 if problem.key in seen else 0
        if repeats == 0:
            seen.add(problem.key)
            if split_of(problem) == split:
                yield problem

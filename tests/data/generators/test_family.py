"""What holds for every family: levels, reproducibility, splits, text, and that wrong solutions don't get out."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.data.generators import Draft, GeneratorError, families, generate, generate_split
from olympiad.data.generators.family import LEVELS, Family, registry

ARTEFACTS = {
    "two signs in a row": r"[-+] ?[-+]",
    "a coefficient or exponent 1": r"(?<![\w.^{}\\,])1[a-z]\b|\^\{?1\b(?!\.)",
    "an exponent without braces": r"\^\d\d",
    "an empty place": r"\{\}|\(\)|\$\$",
    "a missing or doubled space or stop": r"  | [,.;?]|[?,;]\w|\.\.(?!\.)|[.?][A-Z]|\?\.|\?\?",
    "a small letter at the start of a sentence": r"^[a-z]|[.?] [a-z]",
    "a wrong number": r"(?<![\d.,}^/+*-])\$1\$ (?:balls|coins|heads|apples|marbles|members|hours|days|minutes|pages|meters)\b",
    "Python": r"None|Fraction|\*",
}


def check_text(text: str) -> None:
    for what, pattern in ARTEFACTS.items():
        found = re.search(pattern, text, re.MULTILINE)
        assert not found, f"{what}, {found[0]!r}, in {text!r}"
    assert text.count("$") % 2 == text.count("{") - text.count("}") == 0, text
    assert re.fullmatch(r"\S.*[.?!$]", text, re.DOTALL), text


def test_there_are_many_families() -> None:
    """Modules of families that nothing imports."""
    assert len(families()) >= 30
    assert len({entry.subject for entry in registry().values()}) >= 8


@pytest.mark.parametrize("name", families())
def test_every_level_gives_different_problems(name: str) -> None:
    """A level that fails, repeats itself, or ignores the seed."""
    for level in LEVELS:
        problems = [generate(name, level, seed=0, index=index) for index in range(30)]
        assert len({problem.key for problem in problems}) >= 15, level
        assert problems[:3] == [generate(name, level, seed=0, index=index) for index in range(3)]
        assert {problem.key for problem in problems} != {generate(name, level, 1, index).key for index in range(30)}


@given(st.sampled_from(families()), st.sampled_from(LEVELS), st.integers(0, 2**40), st.integers(0, 2**40))
@settings(max_examples=600, deadline=None)
def test_problems_are_well_written(name: str, level: int, seed: int, index: int) -> None:
    """Text that no one would write: "1x", "+ -3", "{}", "x^10" without braces; a solution without its answer or claims."""
    problem = generate(name, level, seed, index)
    for text in (problem.problem, *(step.text for step in problem.steps)):
        check_text(text)
    assert problem.solution.endswith(rf"The answer is $\boxed{{{problem.answer}}}$.")
    assert sum(bool(step.claim) for step in problem.steps) * 2 >= len(problem.steps)


def test_problems_do_not_depend_on_the_process() -> None:
    """An order taken from a set or a hash, which changes from one run of Python to the next."""
    code = "from olympiad.data.generators import *; print([generate(n, l, 0, 5) for n in families() for l in range(1, 6)])"
    command, told = [sys.executable, "-c", code], []
    for seed in ("1", "2"):
        told.append(subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout)
    assert told[0] == told[1] > b"[MathProblem("


@pytest.mark.parametrize("name", families())
def test_splits_share_no_text(name: str) -> None:
    """A test problem that was trained on, under another seed."""
    train = {problem.key for problem in islice(generate_split(name, 1, "train", seed=0), 60)}
    test = {next(generate_split(name, 1, "test", seed)).key for seed in range(1, 5)}
    assert train.isdisjoint(test)


def test_unknown_families_levels_and_splits_are_explained() -> None:
    """A typing error that ends in a KeyError."""
    with pytest.raises(GeneratorError, match=r"there are: .*committees"):
        generate("gift", 1, seed=0, index=0)
    for level in (0, 6):
        with pytest.raises(GeneratorError, match="1 to 5"):
            generate("committees", level, seed=0, index=0)
    with pytest.raises(GeneratorError, match="'train' or 'test'"):
        next(generate_split("committees", 1, "validation"))


@pytest.mark.parametrize("claim", ["1 + 1 = 3", "x^2 = 2*x", "sqrt(2) > 1", "1 +", ""])
def test_a_wrong_solution_does_not_get_out(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that computes wrongly, or claims what can't be checked, and teaches it to a model."""

    def wrong(random: Random, level: int) -> Draft:
        return Draft("What is it?", [("It is this.", claim)], "3")

    monkeypatch.setitem(registry(), "wrong", Family("wrong", "Algebra", wrong, "Wrong."))
    with pytest.raises(GeneratorError, match="wrong/1/0/0"):
        generate("wrong", 1, seed=0, index=0)


def test_the_check_of_texts_finds_artefacts() -> None:
    """A pattern that matches nothing."""
    for text in (
        "Find $1x$.",
        "Take $3 + -2$.",
        "Add  this.",
        "Solve {}.",
        "It is $x^10$.",
        "It is $x^1$.",
        "no.",
        "A .",
        "No",
    ):
        with pytest.raises(AssertionError):
            check_text(text)


def test_the_page_of_problems_is_current() -> None:
    """A page to read by eye that shows what the families no longer make."""
    path = Path(__file__).parents[3] / "benchmarks" / "generated_problems.py"
    spec = importlib.util.spec_from_file_location("generated_problems", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python benchmarks/generated_problems.py"

"""The families of reasoning-gym: which are taken, what comes out, and what their verifiers say."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.data.generators import GeneratorError, families, generate, generate_split
from olympiad.data.gym import LEFT_OUT, gym_families, score_gym
from olympiad.data.rows import DataError

factory = pytest.importorskip("reasoning_gym.factory")
FAMILIES = gym_families()
CASES = [(family, level) for family in FAMILIES for level in (1, 2, 3)]


@pytest.mark.parametrize(("family", "level"), CASES)
def test_right_and_wrong_answers(family: str, level: int) -> None:
    """An answer that comes with the wrong entry, or a level that the library's own check refuses."""
    problems = [generate(family, level, 7, index) for index in range(4)]
    assert len({problem.problem for problem in problems}) > 1
    for problem in problems:
        assert problem.level == f"Level {level}"
        assert score_gym(problem, problem.answer) == 1.0
        for wrong in ("987654321", "no idea", "", "nan", "nan + nani", "inf"):
            assert score_gym(problem, wrong) < 1.0


def test_a_problem_depends_on_its_arguments_only() -> None:
    """A problem that changes with the process (hashes of strings), or with what was asked for before."""
    script = "from olympiad.data.gym import *\nfor f in gym_families():\n    p = generate_gym(f, 1, 3, 501)\n    print(repr(p))"
    command = [sys.executable, "-c", script]
    other = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert other.stdout == "".join(f"{generate(family, 1, 3, 501)!r}\n" for family in FAMILIES)


def test_seeds_do_not_overlap() -> None:
    """The library adds seed and index: seed 1 would repeat seed 0 but for one problem."""
    texts = [{generate("gym/products", 5, seed, index).problem for index in range(30)} for seed in (0, 1, 2)]
    assert len(set.union(*texts)) == sum(map(len, texts)) == 90


def test_levels_get_harder() -> None:
    """A curriculum that is built but not applied: every level would be the first."""
    numbers = [generate("gym/gcd", level, 0, index).problem for level in (1, 4) for index in range(20)]
    largest = [max(map(int, re.findall(r"\d+", text))) for text in numbers]
    assert sum(largest[20:]) > 5 * sum(largest[:20])
    assert generate("gym/gcd", 5, 0, 0).metadata["library_level"] == 4


@given(st.integers(0, 2000), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_answers_against_our_own_computation(index: int, level: int) -> None:
    """A family whose answers are wrong (the library has several, which are left out)."""
    lcm = generate("gym/lcm", level, 1, index)
    assert int(lcm.answer) == math.lcm(*map(int, re.findall(r"\d+", lcm.problem)))
    basic = generate("gym/basic_arithmetic", level, 1, index)
    assert "/" not in basic.problem
    assert int(basic.answer) == eval(basic.problem.removeprefix("Calculate ").removesuffix("."))


def test_names_that_are_not_there() -> None:
    """A family that was left out for a reason being generated all the same, or refused without the reason."""
    assert not set(FAMILIES) & set(families())
    assert set(LEFT_OUT) <= set(factory.DATASETS)
    for family, level, message in [
        ("gym/simple_integration", 1, "runs the answer as Python"),
        ("gym/gcdd", 1, "no family"),
        ("gym/gcd", 6, "expected 1 to 5"),
    ]:
        with pytest.raises(GeneratorError, match=message):
            generate(family, level, 0, 0)
    assert next(generate_split("gym/gcd", 1, "test")).source == "reasoning-gym"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback of an import instead of the command that installs the library."""
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", None)
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(DataError, match=r"pip install 'olympiad\[gym\]'"):
        gym_families()

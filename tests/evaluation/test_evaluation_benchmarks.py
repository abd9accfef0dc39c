"""Benchmarks and prompts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from olympiad.data.rows import DataError
from olympiad.data.sources import SOURCES
from olympiad.evaluation.benchmarks import BENCHMARKS, Benchmark, load_task, parse_benchmarks
from olympiad.evaluation.errors import EvaluationError
from olympiad.evaluation.prompts import INSTRUCTION, SHOTS, STYLES, find_style
from olympiad.verification import POLICIES, verify


def test_constants_exist() -> None:
    """Guards against a benchmark of a source, split or policy that does not exist."""
    for benchmark in BENCHMARKS.values():
        assert benchmark.split in SOURCES[benchmark.source].splits
        assert benchmark.policy in POLICIES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mat500", "did you mean 'math500'"),
        ("", "no benchmarks: write"),
        ("gsm8k,gsm8k:4", "stands 2 times"),
        ("gsm8k:0", "expected at least 1"),
        ("nowhere/file.jsonl", "a file that does not exist"),
        ("generated/linear_equatio", "did you mean 'linear_equation'"),
        ("generated/linear_equation/9", "expected 1 to 5"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """Guards against a mistyped name that is told after an hour, or without the right one."""
    with pytest.raises(EvaluationError, match=message):
        parse_benchmarks(text)


def test_any_file(tmp_path: Path) -> None:
    """Guards against a file's answers that are not found, ids that stand twice, and brackets in its name read as a pattern."""
    file = tmp_path / "my [set].jsonl"
    rows = [{"id": "x", "question": "1+1?", "final_answer": 2}, {"id": "x", "problem": "2+2?", "solution": r"\boxed{4}"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (benchmark,) = parse_benchmarks(f"{file}:3")
    task = load_task(benchmark)
    assert (benchmark.name, benchmark.samples) == ("my [set]", 3)
    assert [(problem.id, problem.answer) for problem in task.problems] == [("x", "2"), ("x#2", "4")]
    assert load_task(benchmark, limit=1).fingerprint != task.fingerprint == load_task(benchmark).fingerprint


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "1+1?", "solution": "It is two."}, "1 of 1 rows have no gold answer"),
        ({"problem": "1+1?", "answer": ""}, "1 of 1 rows have no gold answer"),
        ({"problem": "1+1?"}, "neither a solution nor an answer"),
        ({"answer": "2"}, "problem"),
    ],
)
def test_rows_that_can_not_be_asked(tmp_path: Path, row: dict[str, str], message: str) -> None:
    """Guards against a problem without a gold answer that every model fails."""
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(EvaluationError, match=message):
        load_task(parse_benchmarks(str(file))[0])


def test_generated() -> None:
    """Guards against problems that differ from call to call, come from the training split, or are all of one kind."""
    (benchmark,) = parse_benchmarks("generated")
    task = load_task(benchmark, limit=50)
    assert task == load_task(benchmark, limit=50)
    assert len({problem.subject for problem in task.problems}) > 4
    (one,) = parse_benchmarks("generated/linear_equation/2")
    assert {problem.level for problem in load_task(one, 9).problems} == {"Level 2"}


@pytest.mark.data
@pytest.mark.skipif("OLYMPIAD_DATA" not in os.environ, reason="OLYMPIAD_DATA names no folder")
@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"omni-math"}))
def test_real_sets(name: str) -> None:
    """Guards against a set whose gold answers its own policy can't judge."""
    task = load_task(BENCHMARKS[name])
    rows = SOURCES[BENCHMARKS[name].source].splits["test"].rows
    assert rows is not None
    assert abs(len(task.problems) - rows) <= 1
    judged = [
        verify(problem.answer, rf"So \boxed{{{problem.answer}}}", task.benchmark.policy) for problem in task.problems[:100]
    ]
    assert sum(verdict.correct for verdict in judged) >= 0.97 * len(judged)


def test_a_missing_set() -> None:
    """Guards against a set that is not here being told as a bug."""
    with pytest.raises((EvaluationError, DataError), match="nowhere"):
        load_task(Benchmark("x", "/nowhere.jsonl"))


def test_prompts() -> None:
    """Guards against a shot that is not closed, an instruction that is lost, and a text whose end is not where a model
    would go on."""
    text = STYLES["few-shot"].prompt("What is 2 + 2?").text
    assert text.count("Problem:") == 5
    assert text.endswith("\n\nProblem: What is 2 + 2?\nSolution:")
    assert STYLES["boxed"].prompt("A").text == (f"Problem: A\n\n{INSTRUCTION}\n\nSolution:")
    chat = STYLES["chat-few-shot"].prompt("A").messages
    assert [message["role"] for message in chat] == ["user", "assistant"] * 4 + ["user"]
    assert STYLES["rendered"].prompt("  A  ").text == "A"
    with pytest.raises(EvaluationError, match="did you mean 'few-shot'"):
        find_style("fewshot")


def test_shots_are_right() -> None:
    """Guards against teaching a wrong answer, or one that is not marked."""
    golds = ["21", "7", "5/36", "2"]
    for shot, gold in zip(SHOTS, golds, strict=True):
        assert verify(gold, shot.solution).correct
        assert verify(gold, shot.solution).rule != "no answer"
        assert r"\boxed{" in shot.solution

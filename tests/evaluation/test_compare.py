"""Two evaluations, problem by problem."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import Parrot, evaluate, right, row, task

from olympiad.evaluation.compare import as_markdown, compare_rows, compare_runs
from olympiad.evaluation.errors import EvaluationError


def test_paired_by_problem(tmp_path: Path) -> None:
    """Guards against rows that are matched by their place, and a sign that is turned round."""
    evaluate(tmp_path / "a", Parrot(lambda request, n: right(request) if n in (0, 3) else r"\boxed{-7}"), task(6))
    evaluate(tmp_path / "b", Parrot(lambda request, n: right(request) if n != 3 else r"\boxed{-7}"), task(6), model="n")
    (found,), notes = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (found.accuracy_before, found.accuracy_after) == (pytest.approx(1 / 3), pytest.approx(5 / 6))
    assert found.paired.difference == pytest.approx(0.5)
    assert found.won == ("sum/1", "sum/2", "sum/4", "sum/5")
    assert found.lost == ("sum/3",)
    assert found.paired.p_value == pytest.approx(0.375)
    assert not notes
    text = as_markdown([found], notes, "a", "b")
    assert "| sums | 6 | 33.3% | 83.3% | +50.0% ± 34.2% |" in text
    assert "Lost on sums: `sum/3`" in text


def test_what_differs_is_told(tmp_path: Path) -> None:
    """Guards against a difference of temperature, or of the problems, that reads like one of models."""
    evaluate(tmp_path / "a", Parrot(right), task(3), temperature=0.5)
    evaluate(tmp_path / "b", Parrot(right), task(5, samples=2), seed=4)
    (found,), notes = compare_runs(tmp_path / "a", tmp_path / "b")
    assert notes == [
        "temperature differs: 0.5 and None",
        "seed differs: 0 and 4",
        "sums: samples differs: 1 and 2",
        "sums: 2 problems are in the second run only and are left out (sum/3, ...)",
    ]
    assert (found.paired.problems, found.only_before, found.only_after) == (3, 0, 2)


def test_changed_and_unjudgeable_problems_are_left_out() -> None:
    """Guards against two problems under one id, and pairs of which one has no score."""
    before = [row("a"), row("b"), row("c", verdict="unjudgeable"), row("d")]
    after = [row("a", verdict="wrong"), row("b", problem="Another?"), row("c"), row("e")]
    notes: list[str] = []
    found = compare_rows("b", before, after, notes)
    assert found is not None
    assert found.paired.problems == 1
    assert found.paired.difference == -1
    kinds = ("have another text", "are in the first run only", "are in the second run only", "can't be judged in one run")
    for note, kind in zip(notes, kinds, strict=True):
        assert note.startswith(f"b: 1 problems {kind}")
    assert compare_rows("b", [row("a")], [row("z")], notes) is None


def test_nothing_in_common(tmp_path: Path) -> None:
    """Guards against a table of nothing."""
    evaluate(tmp_path / "a", Parrot(right), task(2))
    evaluate(tmp_path / "b", Parrot(right), task(2, name="other"))
    with pytest.raises(EvaluationError, match=r"share no benchmark: .*a holds sums, .*b holds other"):
        compare_runs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(EvaluationError, match="holds no evaluation"):
        compare_runs(tmp_path / "a", tmp_path / "c")


def test_shortcomings_of_one_run_are_told(tmp_path: Path) -> None:
    """Guards against half an evaluation, or a model that was trained on the problems, beside a whole and honest one."""
    a, b = tmp_path / "a", tmp_path / "b"
    evaluate(a, Parrot(right), task(6, samples=2))
    evaluate(b, Parrot(right), task(6, samples=2), model="n")
    results = b / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:5]))
    (a / "contamination.json").write_text('{"known": true, "problems": {"sums": {"sum/0": "exact"}}}')
    comparisons, notes = compare_runs(a, b)
    assert notes == [
        f"sums: the model of {a} was trained on 1 of these problems",
        f"sums: {b} is not finished: 5 of 12 answers",
        "sums: 3 problems are in the first run only and are left out (sum/3, ...)",
    ]
    assert "> sums: 3 problems are in the first run only" in as_markdown(comparisons, notes, "a", "b")

"""What a model was trained on, as far as its run tells."""

from __future__ import annotations

from pathlib import Path

from olympiad.data import MathProblem
from olympiad.data.samples import create_sample_problems
from olympiad.evaluation.benchmarks import Benchmark, Task
from olympiad.evaluation.contamination import find_overlaps


def test_sets_of_the_run(tmp_path: Path) -> None:
    """Guards against a problem of the training set that is reported as new, from the run's folder and from a checkpoint."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best_model.pt").write_bytes(b"")
    (tmp_path / "run.toml").write_text('[data]\ntrain = ["sample"]\n')
    trained = create_sample_problems()[0]
    task = Task(Benchmark("b", "b"), (trained, MathProblem("new", "What is the meaning of this?", answer="42")))
    for model in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "best_model.pt"):
        found = find_overlaps(str(model), [task])
        assert found["known"]
        assert found["documents"] == 3
        assert found["problems"] == {"b": {trained.id: "exact"}}


def test_not_known(tmp_path: Path) -> None:
    """Guards against "none" where nobody knows, and an evaluation that fails for a note."""
    task = Task(Benchmark("b", "b"), (MathProblem("x", "1+1?", answer="2"),))
    assert not find_overlaps("gpt-9", [task])["known"]
    (tmp_path / "run.toml").write_text('[data]\nprepared = "gone"\n')
    found = find_overlaps(str(tmp_path), [task])
    assert not found["known"]
    assert "can't be read" in found["note"]
    (tmp_path / "run.toml").write_text("[data")
    assert not find_overlaps(str(tmp_path), [task])["known"]

"""What a model was trained on, as far as its run tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made import Parrot, evaluate, right, task

from olympiad.data import MathProblem
from olympiad.data.samples import create_sample_problems
from olympiad.data.splitting import sample_problems, split_dataset
from olympiad.evaluation import contamination
from olympiad.evaluation.benchmarks import Benchmark, Task
from olympiad.evaluation.contamination import find_overlaps, note_overlaps


def test_sets_of_the_run(tmp_path: Path) -> None:
    """Guards against a problem of the training set that is reported as new, from the run's folder and from a checkpoint."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best_model.pt").write_bytes(b"")
    (tmp_path / "run.toml").write_text('[data]\ntrain = ["sample"]\n')
    trained = split_dataset(create_sample_problems()).train[0]
    task = Task(Benchmark("b", "b"), (trained, MathProblem("new", "What is the meaning of this?", answer="42")))
    for model in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "best_model.pt"):
        found = find_overlaps(str(model), [task])
        assert found["known"]
        assert found["documents"] == 2  # as in training, one is for validation
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
    (tmp_path / "run.toml").write_text("data = 5")
    assert not find_overlaps(str(tmp_path), [task])["known"]


def gsm8k(folder: Path, count: int = 40) -> list[MathProblem]:
    """A training set of so many problems in a data folder."""
    problems = [MathProblem(str(n), f"Ann has {n} apples and eats {n % 7}. How many are left?") for n in range(count)]
    rows = [{"question": each.problem, "answer": "Some.\n#### 1"} for each in problems]
    (folder / "gsm8k").mkdir(parents=True)
    (folder / "gsm8k" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return problems


def run(folder: Path, data: Path, **fields: Any) -> Path:
    """A run's folder that was trained on ten problems of that set."""
    folder.mkdir(parents=True)
    start = "".join(f'{name} = "{value}"\n' for name, value in fields.items())
    (folder / "run.toml").write_text(f'{start}[data]\ntrain = ["gsm8k"]\ntrain_limit = 10\nfolder = "{data}"\n')
    return folder


def test_the_rows_that_training_picked(tmp_path: Path) -> None:
    """Guards against a comparison with the first rows of a set, where training picks others."""
    problems = gsm8k(tmp_path / "data")
    model = run(tmp_path / "run", tmp_path / "data")
    found = find_overlaps(str(model), [Task(Benchmark("b", "b"), tuple(problems))])
    assert found["known"]
    assert set(found["problems"]["b"]) == {problem.id for problem in sample_problems(problems, 10)}


def test_the_run_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against fine-tuning that hides what the model was trained on before, and against a chain without an end."""
    problems = tuple(gsm8k(tmp_path / "data"))
    run(tmp_path / "runs" / "first", tmp_path / "data")
    tuned = tmp_path / "runs" / "tuned"
    tuned.mkdir()
    (tuned / "run.toml").write_text('start_from = "runs/first"\n[data]\ntrain = ["sample"]\n')
    asked = [Task(Benchmark("b", "b"), problems)]
    monkeypatch.chdir("/")  # elsewhere than it was trained
    found = find_overlaps(str(tuned), asked)
    assert (found["known"], found["documents"], len(found["problems"]["b"])) == (True, 12, 10)
    for start in ("runs/gone", str(tmp_path / "data"), "runs/looped"):
        looped = tmp_path / "runs" / "looped"
        looped.mkdir(exist_ok=True)
        (looped / "run.toml").write_text(f'start_from = "{start}"\n[data]\ntrain = ["sample"]\n')
        found = find_overlaps(str(looped), asked)
        assert not found["known"]
        assert "no run.toml beside" in found["note"]
        assert "which it started from" in found["note"]


def test_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a large set of which a part is compared, and "none" said of all; what was found is told."""
    problems = tuple(gsm8k(tmp_path / "data"))
    model = run(tmp_path / "run", tmp_path / "data")
    monkeypatch.setattr(contamination, "MOST_DOCUMENTS", 9)
    found = find_overlaps(str(model), [Task(Benchmark("b", "b"), problems)])
    assert not found["known"]
    assert "more than the 9 documents" in found["note"]
    assert "at least 9 of the problems" in found["note"]


def test_not_known_is_not_for_ever(tmp_path: Path) -> None:
    """Guards against "not known" that stays when the run is there, and other weights taken for those evaluated."""
    model, folder = tmp_path / "model", tmp_path / "evaluation"
    model.mkdir()
    evaluate(folder, Parrot(right), task(2), model=str(model))

    def known() -> Any:
        note_overlaps(folder)
        return json.loads((folder / "contamination.json").read_text())["known"]

    assert not known()
    (model / "run.toml").write_text('[data]\ntrain = ["sample"]\n')
    (model / "other.pt").write_bytes(b"")
    assert not known()
    (model / "other.pt").unlink()
    assert known()


def test_half_an_evaluation_is_compared_again(tmp_path: Path) -> None:
    """Guards against problems that were asked after the comparison, and count as new."""
    model, folder = tmp_path / "model", tmp_path / "evaluation"
    model.mkdir()
    (model / "run.toml").write_text('[data]\ntrain = ["sample"]\n')
    trained = split_dataset(create_sample_problems()).train[0]
    asked = Task(Benchmark("b", "b"), (MathProblem("new", "What is this?", answer="42"), trained))
    evaluate(folder, Parrot(lambda *_: "42"), asked, model=str(model))
    results, content = folder / "results.jsonl", (folder / "results.jsonl").read_bytes()
    for rows, found in ((content.splitlines(keepends=True)[0], {}), (content, {"b": {trained.id: "exact"}})):
        results.write_bytes(rows)
        note_overlaps(folder)
        assert json.loads((folder / "contamination.json").read_text())["problems"] == found

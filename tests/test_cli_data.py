"""``olympiad data ...`` as its user meets it, up to a model that trains on what was prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from olympiad.cli import main

RECIPE = """
evaluate = ["EVALUATE"]
[sources.sums]
files = ["FOLDER/train.jsonl"]
licence = "none"
"""

RUN = """
name = "sums"
output_dir = "FOLDER/run"
[model]
hidden_size = 32
intermediate_size = 48
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 2
max_sequence_length = 192
[data]
prepared = "FOLDER/out"
validation = ["sample"]
packing = true
batch_size = 2
"""


@pytest.fixture
def folder(tmp_path: Path, tiny: Any) -> Path:
    rows = [
        {"problem": p.problem + " Write it as one number.", "solution": p.solution, "answer": p.answer}
        for p in tiny.problems(30)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps({"problem": rows[3]["problem"]}) + "\n")
    for name, text in (("recipe.toml", RECIPE), ("run.toml", RUN)):
        (tmp_path / name).write_text(text.replace("FOLDER", str(tmp_path)).replace("EVALUATE", str(tmp_path / "test.jsonl")))
    return tmp_path


def prepare(folder: Path, *arguments: str) -> int:
    return main(["data", "prepare", str(folder / "recipe.toml"), "--out", str(folder / "out"), "--workers", "0", *arguments])


def test_prepare_then_train(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prepared folder that the trainer can't take, by rows that are packed or by another mixture."""
    assert prepare(folder) == 0
    assert "1 contaminated" in capsys.readouterr().out
    assert main(["train", str(folder / "run.toml"), "--num-epochs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "train: 29 documents" in printed
    assert "% padding" in printed
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
    with (folder / "run.toml").open("a") as file:
        file.write("[data.mixture.sums]\nepochs = 2\n[checkpoints]\nsave_every_epochs = 1\n")
    assert main(["train", str(folder / "run.toml"), "--output-dir", str(folder / "again"), "--num-epochs", "1"]) == 0
    assert "train: 58 documents" in capsys.readouterr().out


def test_contaminated_data_is_trained_on_by_name_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A score on problems that the model has seen."""
    assert prepare(folder, "--keep-contaminated") == 0
    assert "contaminated rows kept" in " ".join(capsys.readouterr().out.split())
    assert main(["train", str(folder / "run.toml")]) == 1
    assert "data.allow_contaminated = true" in capsys.readouterr().err
    assert main(["train", str(folder / "run.toml"), "--data.allow-contaminated"]) == 0
    assert "train: 30 documents" in capsys.readouterr().out


def test_prepared_data_must_have_been_compared_with_what_validates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data that was cleaned of other evaluation sets than the run's own."""
    (folder / "math").mkdir()
    (folder / "math" / "test.jsonl").write_text(
        "".join(
            json.dumps({"problem": f"What is the square of {n}, in base ten?", "solution": rf"$\boxed{{{n * n}}}$"}) + "\n"
            for n in range(5)
        )
    )
    assert prepare(folder) == 0
    arguments = ["train", str(folder / "run.toml"), "--data.validation", "math", "--data.folder", str(folder)]
    assert main(arguments) == 1
    assert "was not compared with math/test" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--sources", "math", "recipe.toml"]])
def test_prepare_wants_a_recipe_or_sources(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback where nothing says what to prepare."""
    assert main(["data", "prepare", *arguments, "--out", str(tmp_path / "out")]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A set that nobody can find out about."""
    assert main(["data", "list", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in ("math", "gsm8k", "numina-cot", "deepmath", "olympiadbench", "MIT", "CC"):
        assert name in printed


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems of the test split among those to train on; a file that is half written."""
    texts = {}
    for split in ("train", "test"):
        out = tmp_path / f"{split}.jsonl"
        assert main(["data", "generate", "--out", str(out), "--count", "5", "--levels", "1", "4", "--split", split]) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert {row["level"] for row in rows} == {"Level 1", "Level 4"}
        assert len(rows) >= 300
        assert all(rf"\boxed{{{row['answer']}}}" in row["solution"] for row in rows)
        texts[split] = {row["problem"] for row in rows}
    assert not texts["train"] & texts["test"]
    capsys.readouterr()
    assert main(["data", "generate", "--out", str(out), "--families", "no_such"]) == 1
    assert "no family 'no_such'" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) >= 300

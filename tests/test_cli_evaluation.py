"""``olympiad evaluate``, ``evaluate-steps`` and ``compare``, as they are typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from server import Server

from olympiad.cli import main


def problems(folder: Path) -> Path:
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "problem": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(6)))
    return file


def answer(body: dict[str, Any], number: int) -> str:
    left = int(body["messages"][-1]["content"].split()[0])
    return rf"So it is $\boxed{{{left + 1 if body['model'] == 'good' or left > 2 else 0}}}$."


def test_from_question_to_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against parts that do not fit together, and a finished evaluation that asks again."""
    file = problems(tmp_path)
    with Server(answer) as server:
        for model in ("bad", "good", "good"):
            command = [
                model,
                "--backend",
                "openai",
                "--url",
                server.url,
                "--benchmarks",
                str(file),
                "--out",
                str(tmp_path / model),
            ]
            assert main(["evaluate", *command]) == 0
        assert len(server.asked) == 12
    out = capsys.readouterr().out
    assert "50.0% ± 22.4%" in out
    assert f"{tmp_path / 'good' / 'report.html'}" in out
    assert json.loads((tmp_path / "bad" / "summary.json").read_text())["sums"]["accuracy"] == 0.5
    assert main(["compare", str(tmp_path / "bad"), str(tmp_path / "good"), "--out", str(tmp_path / "c.md")]) == 0
    assert "+50.0%" in capsys.readouterr().out
    assert "Won on sums: `0`, `1`, `2`" in (tmp_path / "c.md").read_text()
    (tmp_path / "good" / "report.md").unlink()
    assert main(["evaluate", "--recompute", str(tmp_path / "good")]) == 0
    assert "100.0%" in (tmp_path / "good" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs a model"),
        (["m"], "no benchmarks: write"),
        (["m", "--benchmarks", "mat500"], "did you mean 'math500'"),
        (["m", "--benchmarks", "FILE", "--backend", "opena"], "did you mean 'openai'"),
        (["m", "--benchmarks", "FILE", "--style", "chatt"], "did you mean 'chat'"),
        (["m", "--benchmarks", "FILE", "--backend", "openai", "--url", "x"], "expected a URL"),
        (["/nowhere.pt", "--benchmarks", "FILE", "--batch-size", "0"], "--batch-size is 0, expected at least 1"),
        (["/nowhere.pt", "--benchmarks", "FILE"], "/nowhere.pt"),
        (["--recompute", "/nowhere"], "holds no evaluation"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Guards against a traceback, or another evaluation than was asked for."""
    file = str(problems(tmp_path))
    arguments = [file if each == "FILE" else each for each in arguments]
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error.replace("\n", " ")


def test_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against labels that are read as something else than the first wrong step."""
    rows = [
        {"problem": "2 + 2?", "steps": ["$2 + 2 = 5$.", "So 5."], "label": 0},
        {"problem": "2 + 2?", "steps": ["$2 + 2 = 4$.", "So 4."], "label": -1},
    ]
    file = tmp_path / "steps.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["evaluate-steps", str(file)]) == 0
    assert capsys.readouterr().out.split()[-6:] == ["steps", "2", *["100.0%"] * 4]
    file.write_text('{"problem": "x", "steps": ["a"], "label": 7}\n')
    assert main(["evaluate-steps", str(file)]) == 1
    assert "index of the first wrong step" in capsys.readouterr().err.replace("\n", " ")

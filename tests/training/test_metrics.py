"""Where the numbers go, what survives a killed run, and what a screen or a log file shows."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from olympiad.training import TrainingError, create_sinks
from olympiad.training.console import RunConsole
from olympiad.training.metrics import JsonlSink, TensorBoardSink, WandbSink, read_metrics

ROWS = [{"step": step, "epoch": 0, "loss": 10.0 / step} for step in (1, 2, 3, 4)]


def write_rows(sink: Any, rows: list[dict[str, Any]] = ROWS) -> None:
    for row in rows:
        sink.log(row)


def test_rows_come_back(tmp_path: Path) -> None:
    """Guards against rows that are buffered, or numbers that lose digits."""
    sink = JsonlSink(tmp_path / "new" / "metrics.jsonl")
    for number, row in enumerate(ROWS, 1):
        sink.log({**row, "loss": 1 / 3})
        rows = read_metrics(sink.path)
        assert len(rows) == number
        assert rows[-1]["loss"] == 1 / 3


def test_what_json_can_not_say(tmp_path: Path) -> None:
    """Guards against NaN and Infinity, which no other language's JSON reader takes."""
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.log({"step": 1, "gradient_norm": float("inf"), "loss": float("nan"), "tokens": 3})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    row = json.loads(sink.path.read_text(), parse_constant=refuse)
    assert row == {"step": 1, "gradient_norm": None, "loss": None, "tokens": 3}


def test_rewind(tmp_path: Path) -> None:
    """Guards against steps that are in the file twice after a resumed run, or that vanish from it."""
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.rewind(0)  # there is no file yet
    write_rows(sink, [*ROWS, {"step": 4, "validation_loss": 2.0}])
    sink.rewind(4)
    assert read_metrics(sink.path) == [*ROWS, {"step": 4, "validation_loss": 2.0}]
    sink.rewind(2)
    assert read_metrics(sink.path) == ROWS[:2]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize("torn", ['{"step": 5, "lo', "{", "\x00\x00\x00"])
def test_torn_last_line(tmp_path: Path, torn: str) -> None:
    """Guards against a killed run whose file can't be read, or whose half line swallows the next row."""
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    write_rows(sink)
    with sink.path.open("a") as file:
        file.write(torn)
    assert read_metrics(sink.path) == ROWS
    sink.rewind(4)
    sink.log({"step": 5})
    assert read_metrics(sink.path) == [*ROWS, {"step": 5}]


def test_metrics_that_can_not_be_written(tmp_path: Path) -> None:
    """Guards against a traceback for a full disk or a wrong folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't write the metrics to"):
        JsonlSink(tmp_path / "file" / "metrics.jsonl").log({"step": 1})


def tensorboard_points(folder: Path, name: str) -> list[tuple[int, float]]:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder))
    accumulator.Reload()
    return [(event.step, pytest.approx(event.value)) for event in accumulator.Scalars(name)]


def test_tensorboard(tmp_path: Path) -> None:
    """Guards against other names than the guide's, and against the points of a killed run shown beside the new ones."""
    pytest.importorskip("tensorboard")
    sink = TensorBoardSink(tmp_path)
    sink.rewind(0)
    write_rows(sink, [*ROWS, {"step": 4, "epoch": 1, "validation_loss": 2.0}])
    sink.close()
    assert tensorboard_points(tmp_path, "Loss/train") == [(row["step"], row["loss"]) for row in ROWS]
    assert tensorboard_points(tmp_path, "Loss/val") == [(4, 2.0)]
    resumed = TensorBoardSink(tmp_path)
    resumed.rewind(2)
    resumed.log({"step": 3, "loss": 0.5})
    resumed.close()
    assert tensorboard_points(tmp_path, "Loss/train") == [(1, 10.0), (2, 5.0), (3, 0.5)]


def test_tensorboard_of_two_trainings(tiny: Any, tmp_path: Path) -> None:
    """Guards against a writer that the first train() closed: nothing of the second would be seen."""
    pytest.importorskip("tensorboard")
    trainer = tiny.trainer(tmp_path / "run", sinks=[TensorBoardSink(tmp_path / "board")])
    trainer.train(num_epochs=1)
    trainer.train(num_epochs=1)
    assert [step for step, _ in tensorboard_points(tmp_path / "board", "Loss/train")] == list(range(1, 9))


class FakeRun:
    """A W&B run as far as we use it: finished, it takes nothing more; its steps only rise."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.finished = False

    def log(self, row: dict[str, Any], step: int) -> None:
        assert not self.finished, "Run is finished"
        assert step >= max(self.rows, default=0), "steps must rise"
        self.rows.setdefault(step, {}).update(row)

    def finish(self) -> None:
        self.finished = True


def test_wandb_of_two_trainings(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against logging to a run that is finished, which stops the second train(); and against steps that go back."""
    runs: list[FakeRun] = []
    asked: list[dict[str, Any]] = []

    def init(**arguments: Any) -> FakeRun:
        asked.append(arguments)
        runs.append(FakeRun())
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    trainer = tiny.trainer(tmp_path, sinks=[WandbSink("math-reasoning", "baseline", {"learning_rate": 1e-2})])
    trainer.train(num_epochs=2)
    trainer.load_checkpoint("best_model.pt")
    trainer.progress.step = 4
    trainer.train(num_epochs=1)
    assert [run.finished for run in runs] == [True, True]
    assert sorted(runs[0].rows) == list(range(1, 9))
    assert {"loss", "validation_loss", "learning_rate"} <= runs[0].rows[8].keys()
    assert sorted(runs[1].rows) == list(range(5, 9))
    expected = {"project": "math-reasoning", "name": "baseline", "config": {"learning_rate": 1e-2}, "mode": "offline"}
    assert asked == [expected, expected]


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path) -> None:
    """Guards against a call that the real package does not take; without a login nothing may be asked or sent."""
    pytest.importorskip("wandb")
    code = (
        "from olympiad.training.metrics import WandbSink\n"
        "sink = WandbSink('math-reasoning', 'baseline', {})\n"
        "for _ in range(2):\n"
        "    sink.log({'step': 1, 'loss': 2.0})\n"
        "    sink.close()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.parametrize(
    ("module", "make", "advice"),
    [
        ("torch.utils.tensorboard", lambda: create_sinks(True, False, "x", {}), "pip install tensorboard"),
        ("wandb", lambda: create_sinks(False, True, "x", {}), "pip install wandb"),
    ],
)
def test_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, make: Any, advice: str) -> None:
    """Guards against a ModuleNotFoundError where one line can tell what to install."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TrainingError, match=advice):
        make()


def shown(terminal: bool, tiny: Any, folder: Path) -> str:
    screen = io.StringIO()
    trainer = tiny.trainer(folder)
    trainer.console = RunConsole(
        Console(file=screen, force_terminal=terminal, width=100, highlight=False, soft_wrap=True, emoji=False)
    )
    trainer.train(num_epochs=2)
    return screen.getvalue()


def test_log_file_is_plain(tiny: Any, tmp_path: Path) -> None:
    """Guards against progress bars and colours in the log of a batch job."""
    text = shown(False, tiny, tmp_path)
    assert "Epoch 2/2" in text
    assert not any(ord(character) < 32 and character != "\n" for character in text)
    assert "tokens/s" not in text


def test_terminal_has_a_progress_bar(tiny: Any, tmp_path: Path) -> None:
    """Guards against a bar that never shows, or that stays on the screen and hides the lines."""
    text = shown(True, tiny, tmp_path)
    assert "tokens/s" in text
    assert "\x1b[?25l" in text  # the cursor is hidden ...
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # ... and given back
    assert "Epoch 2/2" in text


def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against brackets and colons of problem names that rich takes for markup and emoji."""
    text = r"problems [bold]a[/bold], gsm8k:x:12, [/], \boxed{1} " + "long " * 60
    RunConsole().print(text)
    assert capsys.readouterr().out == text + "\n"

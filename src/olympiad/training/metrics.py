"""Where the numbers of a run go: JSON lines always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from .errors import TrainingError


class MetricsSink(Protocol):
    """Takes one row of numbers at a time; each has a ``step``."""

    def log(self, row: dict[str, Any]) -> None: ...

    def rewind(self, step: int) -> None:
        """The run goes on from ``step``: forget what came after it."""

    def close(self) -> None: ...


class JsonlSink:
    """One JSON object a line; whoever reads the file while the run writes sees whole lines only."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def log(self, row: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_json_line(row))
        except OSError as error:
            raise TrainingError(f"can't write the metrics to {self.path}: {error.strerror}") from error

    def rewind(self, step: int) -> None:
        """Keep the rows up to ``step``: what a killed run wrote after its last checkpoint will come again."""
        if not self.path.exists():
            return
        aside = self.path.with_suffix(".partial")
        kept = "".join(_json_line(row) for row in read_metrics(self.path) if row.get("step", 0) <= step)
        try:
            aside.write_text(kept, encoding="utf-8")
            os.replace(aside, self.path)
        except OSError as error:
            raise TrainingError(f"can't write the metrics {self.path}: {error.strerror}") from error

    def close(self) -> None:
        pass


def _json_line(row: dict[str, Any]) -> str:
    """JSON knows neither NaN nor infinity (the gradient norm of a float16 step that overflows): those become null."""
    finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
    return json.dumps(finite) + "\n"


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``; a torn last line (a killed run), and whatever else is no row, is left out."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


class TensorBoardSink:
    """Scalars as ``Loss/train``, ``Loss/val``, ... for ``tensorboard --logdir``."""

    names: ClassVar = {"loss": "Loss/train", "validation_loss": "Loss/val"}

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise TrainingError("--tensorboard needs the tensorboard package: pip install tensorboard") from error
        self._open = partial(SummaryWriter, str(folder))
        self.writer = self._open()

    def log(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self.writer.add_scalar(self.names.get(name, name), value, row["step"])

    def rewind(self, step: int) -> None:
        self.writer.close()
        self.writer = self._open(purge_step=step + 1)  # TensorBoard then drops the points from there on

    def close(self) -> None:
        self.writer.close()


class WandbSink:
    """A Weights & Biases run; without WANDB_API_KEY (or WANDB_MODE=online) it is written to ``./wandb`` for ``wandb sync``."""

    def __init__(self, project: str, name: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise TrainingError("--wandb needs the wandb package: pip install wandb") from error
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._start = partial(wandb.init, project=project, name=name, config=config, mode=mode)  # type: ignore[arg-type]
        self.run: wandb.Run | None = self._start()

    def log(self, row: dict[str, Any]) -> None:
        if self.run is None:  # trained on after the end: a new run, since one run's steps can't go back
            self.run = self._start()
        self.run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def rewind(self, step: int) -> None:
        pass

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()
        self.run = None


def create_sinks(tensorboard: bool, wandb: bool, name: str, config: dict[str, Any]) -> list[MetricsSink]:
    """The sinks that were asked for, beside ``metrics.jsonl``."""
    sinks: list[MetricsSink] = []
    if tensorboard:
        sinks.append(TensorBoardSink(Path("runs") / name))
    if wandb:
        sinks.append(WandbSink(project="math-reasoning", name=name, config=config))
    return sinks

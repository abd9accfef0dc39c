"""What the folder of a run tells about it: ``run.toml`` and ``metrics.jsonl``, also of a run that is still going on."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olympiad.page import shortened

from .errors import ReportError
from .metrics import read_metrics

Curve = dict[int, float]
"""Value by step, steps rising."""

QUIET_SECONDS, QUIET_STEPS = 60, 10  # a run that writes nothing for both of these is taken for interrupted


class RunRecord:
    """The rows of a run, as curves; whatever is no finite number in them is left out.

    Raises:
        ReportError: the folder holds no metrics that can be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows, modified = _read_rows(folder)
        self.toml, self.settings = _read_settings(folder / "run.toml")
        name = self.settings.get("name")
        self.label = name if isinstance(name, str) and name.strip() else folder.resolve().name
        self._quiet = max(time.time() - modified, 0.0)

    def curve(self, metric: str) -> Curve:
        """Of several rows of a step, the last one that has the number counts."""
        found = {step: value for step, row in self.rows if (value := number(row.get(metric))) is not None}
        return dict(sorted(found.items()))

    def by_source(self, metric: str) -> dict[str, Curve]:
        """The curves of ``metric/SOURCE``, in the order of the sources' names."""
        names = {name for _, row in self.rows for name in row if name.startswith(f"{metric}/")}
        curves = {name.partition("/")[2]: self.curve(name) for name in sorted(names)}
        return {source: curve for source, curve in curves.items() if curve}

    @property
    def steps(self) -> int:
        return max(step for step, _ in self.rows)

    @property
    def planned_steps(self) -> int | None:
        """As many as the epochs of ``run.toml`` take; rows tell epochs to four digits, so it is a little vague in epoch 1."""
        if told := self.curve("planned_steps"):
            return round(told[max(told)])
        epochs, planned = self.curve("epoch"), number(self.settings.get("num_epochs"))
        last = max(epochs, default=0)
        if planned is None or last < 1 or epochs[last] <= 0:
            return None
        return max(round(planned * last / epochs[last]), self.steps)

    @property
    def state(self) -> tuple[str, str]:
        """ "finished", "running", "interrupted" or "unknown", and what that is said by."""
        done, planned = max(self.curve("epoch").values(), default=0.0), number(self.settings.get("num_epochs"))
        quiet = f"last row {duration(self._quiet)} ago"
        unit = "epochs"
        if self.curve("planned_steps"):
            done, planned, unit = float(self.steps), float(self.planned_steps or 0), "steps"
        if planned is None:
            return "unknown", f"no plan in run.toml; {quiet}"
        if done >= planned:
            return "finished", f"all {planned:g} {unit}"
        patience = max(QUIET_SECONDS, QUIET_STEPS * max(self.curve("seconds").values(), default=0.0))
        return "running" if self._quiet <= patience else "interrupted", quiet

    def events(self) -> list[tuple[int, str, str]]:
        """Step, kind and details of all that is out of the ordinary, numbers that were not finite included."""
        found = []
        for step, row in self.rows:
            lost = [name for name in ("loss", "gradient_norm") if name in row and row[name] is None]
            if row.get("event"):
                rest = {name: value for name, value in row.items() if name not in ("step", "epoch", "event", "samples")}
                found.append((step, str(row["event"]), ", ".join(f"{name} {_short(value)}" for name, value in rest.items())))
            elif lost:
                found.append((step, "not finite", ", ".join(lost)))
        return found

    def samples(self) -> dict[int, list[tuple[str, str]]]:
        """Problems and what the model wrote, by step."""
        found: dict[int, list[tuple[str, str]]] = {}
        for step, row in self.rows:
            listed = row.get("samples")
            pairs = [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []
            if pairs:
                found[step] = [(str(it.get("problem") or ""), str(it.get("text") or "")) for it in pairs]
        return dict(sorted(found.items()))


def number(value: Any) -> float | None:
    """A number that can be drawn, or None.

    >>> number(3), number("3"), number(True), number(float("nan")), number(10**400)
    (3, None, None, None, None)
    """
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100 else None


def duration(seconds: float) -> str:
    """
    >>> duration(3.21), duration(200), duration(7500), duration(200_000)
    ('3.2 s', '3 min 20 s', '2 h 5 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    pairs = [(days, "d"), (hours, "h"), (minutes, "min"), (int(seconds), "s")]
    first = next(place for place, (count, _) in enumerate(pairs) if count)
    return " ".join(f"{count} {unit}" for count, unit in pairs[first : first + 2] if count)


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """
    >>> flattened({"seed": 0, "model": {"hidden_size": 32}})
    {'seed': '0', 'model.hidden_size': '32'}
    """
    flat: dict[str, str] = {}
    for name, value in tree.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
    return flat


def _short(value: Any) -> str:
    return shortened(f"{value:.6g}" if isinstance(value, float) else str(value), 200)


def _read_rows(folder: Path) -> tuple[list[tuple[int, dict[str, Any]]], float]:
    """The rows that have a step, and when the last one was written."""
    path = folder / "metrics.jsonl"
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ReportError(f"{folder} {what}: expected the folder of a run, such as runs/NAME, as olympiad train makes it")
        if not path.exists():
            held = ", ".join(sorted(os.listdir(folder))[:5]) or "nothing"
            raise ReportError(
                f"{folder} holds no metrics.jsonl ({held}): expected the folder of a run, as olympiad train makes it"
            )
        rows, modified = read_metrics(path), path.stat().st_mtime
    except OSError as error:
        raise ReportError(f"can't read {path}: {error.strerror}") from error
    steps = ((number(row.get("step")), row) for row in rows)
    found = [(int(step), row) for step, row in steps if step is not None]
    if not found:
        raise ReportError(
            f"{path} has no whole row with a step: expected one JSON object a line; wait for the run's first step"
        )
    return found, modified


def _read_settings(path: Path) -> tuple[str, dict[str, Any]]:
    """``run.toml`` as it stands, and what it says; a run of the Python interface has none, and one may be damaged."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise ReportError(f"can't read {path}: {error.strerror}") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text, {}

"""Ask, judge, append a row: an evaluation that can be killed at any moment and goes on without asking again.

settings.json     what was asked for; a folder is continued with the same settings only
results.jsonl     a row an answer, appended as it comes
summary.json, report.md, report.html, report-images/     made of these two at any time
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from pydantic import BaseModel, ConfigDict, Field

from olympiad.data import MathProblem
from olympiad.files import written
from olympiad.model.generation import SamplingOptions
from olympiad.verification import reasoning_quality
from olympiad.verification.extraction import extract, was_answered
from olympiad.verification.pool import Judge

from .backends import Backend, Request, Response
from .benchmarks import Task
from .errors import EvaluationError
from .prompts import Style, find_style

RESULTS, SETTINGS, LOCK = "results.jsonl", "settings.json", ".lock"


class EvaluationOptions(BaseModel):
    """What an answer depends on, beside the model and the problems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: str = "auto"
    """How problems are put to the model: auto (what suits the model), chat, chat-few-shot, boxed, few-shot, rendered."""
    max_new_tokens: int = Field(default=2_048, ge=1)
    temperature: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """0 takes the most probable token; if absent 0 for one sample a problem, 0.7 for several."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    seed: int = 0
    """Each answer has its own seed, made of this one, the problem and the number of the sample."""
    limit: int | None = Field(default=None, ge=1)
    """The first problems of each benchmark only."""

    def sampling(self, samples: int) -> SamplingOptions:
        """For a benchmark of so many samples a problem."""
        shared = self.model_dump(include={"max_new_tokens", "top_p", "top_k", "min_p", "repetition_penalty"})
        temperature = self.temperature if self.temperature is not None else 0.0 if samples == 1 else 0.7
        return SamplingOptions(**shared, temperature=temperature)


@dataclass(frozen=True)
class Asked:
    """A request, and what is known of it beside."""

    request: Request
    task: Task
    problem: MathProblem
    sample: int


def request_seed(seed: int, benchmark: str, problem: str, sample: int) -> int:
    """Of one answer: the same whatever else is asked, and in whatever order. 31 bits, which every endpoint takes."""
    digest = hashlib.sha256(json.dumps([seed, benchmark, problem, sample]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def plan_requests(tasks: Sequence[Task], style: Style, options: EvaluationOptions) -> dict[str, Asked]:
    """All requests by their ids, benchmark after benchmark, the samples of a problem together."""
    plan = {}
    for task in tasks:
        name, sampling = task.benchmark.name, options.sampling(task.benchmark.samples)
        for problem in task.problems:
            prompt = style.prompt(problem.problem)
            for sample in range(task.benchmark.samples):
                seeded = sampling.model_copy(update={"seed": request_seed(options.seed, name, problem.id, sample)})
                request = Request(json.dumps([name, problem.id, sample]), prompt, seeded)
                plan[request.id] = Asked(request, task, problem, sample)
    return plan


def settings_of(model: str, backend: str, style: str, tasks: Sequence[Task], options: EvaluationOptions) -> dict[str, Any]:
    """Everything that two runs into one folder have to share."""
    benchmarks = {
        task.benchmark.name: {
            "samples": task.benchmark.samples,
            "temperature": options.sampling(task.benchmark.samples).temperature,
            "policy": task.benchmark.policy,
            "problems": len(task.problems),
            "data": task.fingerprint,
        }
        for task in tasks
    }
    shared = {**options.model_dump(), "style": style}
    return {"model": model, "weights": _weights(model), "backend": backend, **shared, "benchmarks": benchmarks}


def _weights(model: str) -> str:
    """Size and date of a local model's files, to notice other weights at the same place; empty for a name."""
    path = Path(model)
    if not path.exists():
        return ""
    kinds = (".pt", ".safetensors", ".gguf", ".bin", ".distcp")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in kinds)
    facts = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder is ours within.

    Raises:
        EvaluationError: another process writes into it, or it can't be made.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise EvaluationError(f"another evaluation writes into {folder}: wait for it, or choose another --out") from error
    except OSError as error:
        raise EvaluationError(f"can't write into {folder}: {error.strerror}; choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a new folder; raise EvaluationError, naming what differs, in one with others."""
    path = folder / SETTINGS
    if not path.exists() and (folder / RESULTS).exists():
        raise EvaluationError(f"{folder} holds results without {SETTINGS}: choose another --out")
    if not path.exists() or not read_results(folder):  # an attempt that failed before its first answer binds nobody
        with written(path) as file:
            file.write(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
        return
    earlier = read_settings(folder)
    told = json.loads(json.dumps(settings))
    differing = [
        f"{name}: {_brief(earlier.get(name))} there, {_brief(told.get(name))} now"
        for name in dict.fromkeys([*earlier, *told])
        if earlier.get(name) != told.get(name)
    ]
    if differing:
        raise EvaluationError(
            f"{folder} holds an evaluation with other settings ({'; '.join(differing)}): choose another --out"
        )


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name}:{it['samples']} ({it['problems']} problems, {it['data']}, temperature {it.get('temperature')})"
            for name, it in value.items()
        )
    return "none" if value is None or value == "" else str(value)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of an evaluation's folder.

    Raises:
        EvaluationError: it holds none.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if isinstance(settings, dict) and isinstance(settings.get("benchmarks"), dict):
            return settings
    except FileNotFoundError as error:
        raise EvaluationError(f"{folder} holds no evaluation: expected {SETTINGS} and {RESULTS} in it") from error
    except (OSError, ValueError) as error:
        raise EvaluationError(f"can't read {folder / SETTINGS}: {error}") from error
    raise EvaluationError(f"{folder / SETTINGS} is not what an evaluation writes: choose another folder")


def read_results(folder: Path, repair: bool = False) -> list[dict[str, Any]]:
    """The rows of an evaluation, each answer once, by benchmark, problem and sample; what a kill left of the last one does not count.

    Args:
        repair: cut that rest off, so that rows can be appended.

    Raises:
        EvaluationError: the file can't be read, or a row before the last is damaged.
    """
    path = folder / RESULTS
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise EvaluationError(f"can't read {path}: {error.strerror}") from error
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    whole, lines = 0, content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        row = _row_of(line)
        if row is None:
            if number < len(lines):
                raise EvaluationError(f"{path}, line {number}, is damaged: delete the line, and it is asked again")
            break
        whole += len(line)
        rows.setdefault((row["benchmark"], row["problem_id"], row["sample"]), row)
    if repair and whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return sorted(rows.values(), key=lambda row: (row["benchmark"], natural(row["problem_id"]), row["sample"]))


def natural(id: str) -> list[tuple[int, str]]:
    """A key that sorts "sum/2" before "sum/10".

    >>> sorted(["sum/10", "sum/2", "sum"], key=natural)
    ['sum', 'sum/2', 'sum/10']
    """
    return [(int(digits), "") if digits else (-1, text) for digits, text in re.findall(r"([0-9]+)|([^0-9]+)", id)]


_EVERY_ROW = {"benchmark": str, "problem_id": str, "sample": int, "verdict": str, "text": str, "gold": str}


def _row_of(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    ours = isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in _EVERY_ROW.items())
    return row if ours else None


def row_of(asked: Asked, response: Response, judge: Judge) -> dict[str, Any]:
    """What is written of an answer: the problem, what was said, and what is to be thought of it."""
    problem = asked.problem
    row = {
        "benchmark": asked.task.benchmark.name,
        "problem_id": problem.id,
        "sample": asked.sample,
        "verdict": "unjudgeable",
        "reason": f"no answer was given: {response.refused}",
        "answer": None,
        "gold": problem.answer,
        "problem": problem.problem,
        "prompt": response.prompt,
        "text": response.text,
        "finish_reason": response.finish_reason,
        "answer_rule": None,
        "prompt_tokens": response.prompt_tokens,
        "tokens": response.tokens,
        "seconds": round(response.seconds, 4),
        "seed": asked.request.sampling.seed,
        "confidence": response.confidence,
        "subject": problem.subject,
        "level": problem.level,
        "source": problem.source,
        "quality": {},
    }
    return row if response.refused else {**row, **_judged(row, asked.task.benchmark.policy, judge)}


def _judged(row: Mapping[str, Any], policy: str, judge: Judge) -> dict[str, Any]:
    """What depends on the judge: the verdict of an answer, and the quality of its reasoning."""
    found = extract(row["text"])
    if row["finish_reason"] == "length" and not was_answered(row["text"], cut_off=True):
        outcome, reason, answer = "wrong", "cut off before an answer was given", None
    else:
        verdict = judge.verdict(row["gold"], row["text"], policy)
        outcome, reason, answer = verdict.outcome, verdict.reason, verdict.prediction
        if verdict.rule == "no answer":  # what the model did not say needs no judge
            outcome, reason, answer = "wrong", "the text holds no answer", None
    scores = reasoning_quality(row["problem"], row["text"])
    if answer is None:
        scores = {**scores, "completeness": 0.0}
    return {
        "verdict": outcome,
        "reason": reason,
        "answer": answer,
        "answer_rule": found.rule if found and answer is not None else None,
        "quality": {name: None if math.isnan(score) else round(score, 4) for name, score in scores.items()},
    }


def rejudge(folder: Path) -> int:
    """Judge every answer of an evaluation again, by the judge of today; the number of verdicts that changed.

    Raises:
        EvaluationError: the folder holds no evaluation, is in use, damaged, or can't be written.
    """
    policies = {name: about["policy"] for name, about in read_settings(folder)["benchmarks"].items()}
    with locked(folder), Judge() as judge:
        earlier = read_results(folder)
        rows = [
            row if row["finish_reason"] == "refused" else {**row, **_judged(row, policies[row["benchmark"]], judge)}
            for row in earlier
        ]
        with written(folder / RESULTS) as file:
            for row in rows:
                file.write(_as_line(row).decode())
    return sum(row["verdict"] != before["verdict"] for row, before in zip(rows, earlier, strict=True))


def _as_line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def run_evaluation(
    folder: Path,
    backend: Backend,
    tasks: Sequence[Task],
    settings: Mapping[str, Any],
    options: EvaluationOptions,
    progress: Callable[[int, int, Mapping[str, Any] | None], None] = lambda done, total, row: None,
) -> list[dict[str, Any]]:
    """Ask for every answer that ``folder`` does not hold yet; all rows, of the plan's order.

    Args:
        progress: called with the rows done, those planned, and the newest row.

    Raises:
        EvaluationError: the folder is in use, of other settings, damaged, or can't be written.
        BackendError: nothing can be asked any more; what was answered is kept.
    """
    with locked(folder):
        check_settings(folder, settings)
        plan = plan_requests(tasks, find_style(settings["style"]), options)
        rows = {_id(row): row for row in read_results(folder, repair=True)}
        left = [asked.request for id, asked in plan.items() if id not in rows]
        progress(len(rows), len(plan), None)
        if left:
            with Judge() as judge, _Appender(folder / RESULTS) as results:
                for response in backend.complete(left):
                    row = row_of(plan[response.request.id], response, judge)
                    results.append(row)
                    rows[response.request.id] = row
                    progress(len(rows), len(plan), row)
    missing = [id for id in plan if id not in rows]
    if missing:
        raise EvaluationError(f"{len(missing):,} requests came back without a response; the same command asks again")
    return [rows[id] for id in plan]


def _id(row: Mapping[str, Any]) -> str:
    return json.dumps([row["benchmark"], row["problem_id"], row["sample"]])


class _Appender:
    """Appends rows, each in one write, so that a kill leaves at most the last one torn."""

    def __init__(self, path: Path) -> None:
        self._path, self._synced = path, time.monotonic()
        with self._explained():
            self._file = path.open("ab", buffering=0)

    def append(self, row: Mapping[str, Any]) -> None:
        line = _as_line(row)
        with self._explained():
            if self._file.write(line) != len(line):
                raise OSError(28, "no space left on the device")
            if time.monotonic() - self._synced > 5:  # of a power failure, at most so many seconds of work
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EvaluationError(
                f"can't write {self._path}: {error.strerror}; make room, and the same command goes on"
            ) from error

    def __enter__(self) -> _Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

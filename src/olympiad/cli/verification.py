"""``olympiad verify`` and ``olympiad verify-file``."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import track

from olympiad.errors import UserError


def verify(arguments: list[str]) -> None:
    """Whether an answer is right: olympiad verify --gold "\\frac12" --answer "So it is 0.5" """
    tyro.cli(_verify, args=arguments, prog="olympiad verify")


def _verify(gold: str, answer: str, policy: str = "default") -> None:
    """Compare an answer with the gold answer; both may be whole solutions.

    Args:
        gold: the right answer.
        answer: the answer to judge.
        policy: default, strict, math, rounded, gsm8k, aime, aimo or multiple_choice.
    """
    from olympiad.verification import POLICIES
    from olympiad.verification import verify as judge

    if policy not in POLICIES:
        raise UserError(f"no policy {policy!r}, expected one of {', '.join(POLICIES)}")
    verdict = judge(gold, answer, policy)
    colour = {"correct": "green", "wrong": "red", "unjudgeable": "yellow"}[verdict.outcome]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[{colour}]{verdict.outcome}[/]: ", end="")
    console.print(verdict.reason, markup=False)
    for name, text in (("gold", verdict.gold), ("answer", verdict.prediction)):
        console.print(f"  {name}: {'none found' if text is None else text}", markup=False)


def verify_file(arguments: list[str]) -> None:
    """Verdicts for a file of pairs: olympiad verify-file pairs.jsonl --out verdicts.jsonl (goes on where it stopped)"""
    tyro.cli(_verify_file, args=arguments, prog="olympiad verify-file")


def _verify_file(
    pairs: tyro.conf.Positional[Path], out: Path, policy: str = "default", workers: int | None = None, timeout: float = 5.0
) -> None:
    """Judge the rows of a JSONL file; each comes back with outcome, reason, rule and the answers that were found.

    Args:
        pairs: rows with "gold" (or "answer") and "prediction" (or "pred", "completion", "response").
        out: JSONL, a row for each, in their order; rows that are there already are not judged again.
        policy: default, strict, math, rounded, gsm8k, aime, aimo or multiple_choice.
        workers: processes; one a core if absent.
        timeout: seconds for a pair.
    """
    from olympiad.data.rows import read_rows
    from olympiad.verification import POLICIES
    from olympiad.verification.pool import iterate_verdicts

    if policy not in POLICIES:
        raise UserError(f"no policy {policy!r}, expected one of {', '.join(POLICIES)}")
    rows = [_pair(row, number, pairs) for number, row in read_rows(pairs)]
    done = _whole_lines(out)
    if len(done) > len(rows):
        raise UserError(f"{out} has {len(done):,} rows, {pairs} only {len(rows):,}: choose another file to write")
    for number, (line, row) in enumerate(zip(done, rows, strict=False), start=1):
        if (line.get("gold"), line.get("prediction")) != row:
            raise UserError(f"{out}, row {number}, is of another pair than {pairs} has there: choose another file to write")
    counts = Counter(line["outcome"] for line in done)
    verdicts: Iterator[Any] = iterate_verdicts(rows[len(done) :], workers, policy, timeout)
    try:
        with out.open("a", encoding="utf-8") as file:
            console = Console(stderr=True)
            left = zip(rows[len(done) :], verdicts, strict=True)
            for (gold, prediction), verdict in track(
                left, "judging", total=len(rows) - len(done), console=console, disable=not console.is_terminal
            ):
                counts[verdict.outcome] += 1
                found = {"gold_answer": verdict.gold, "answer": verdict.prediction}
                line = {"gold": gold, "prediction": prediction, "outcome": verdict.outcome, "reason": verdict.reason}
                file.write(json.dumps({**line, "rule": verdict.rule, **found}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror}") from error
    total = sum(counts.values())
    print(", ".join(f"{counts[name]:,} {name}" for name in ("correct", "wrong", "unjudgeable")) + f" of {total:,}, in {out}")


def _pair(row: Any, number: int, file: Path) -> tuple[str, str]:
    values = []
    for names in (("gold", "answer"), ("prediction", "pred", "completion", "response")):
        found = [row[name] for name in names if isinstance(row, dict) and isinstance(row.get(name), str | int | float)]
        if not found:
            raise UserError(f"{file}, row {number}: expected a text under {' or '.join(map(repr, names))}")
        values.append(str(found[0]))
    return values[0], values[1]


def _whole_lines(out: Path) -> list[dict[str, Any]]:
    """The rows that were written whole; what a kill left of the last one is cut off."""
    if not out.exists():
        return []
    text = out.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(f"{out} holds something else than verdicts ({error}): choose another file to write") from error
    if len(whole) < len(text):
        with out.open("r+b") as file:
            file.truncate(len(whole))
    return rows

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
from olympiad.files import file_behind


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
    if not timeout > 0:
        raise UserError(f"timeout is {timeout:g}, expected seconds above 0")
    if file_behind(out) is None:
        raise UserError(f"{out} is a pipe or a device: expected a file, which the next call can go on with")
    if out.resolve() == pairs.resolve():
        raise UserError("out is the file of pairs itself: choose another file to write")
    rows = [_pair(row, number, pairs) for number, row in read_rows(pairs)]
    done = _whole_lines(out)
    if len(done) > len(rows):
        raise UserError(f"{out} has {len(done):,} rows, {pairs} only {len(rows):,}: choose another file to write")
    for number, (line, row) in enumerate(zip(done, rows, strict=False), start=1):
        if any(line.get(name) != value for name, value in {**row, "policy": policy}.items()):
            raise UserError(f"{out}, row {number}, is of another pair or policy than asked for: choose another file to write")
    counts = Counter(line["outcome"] for line in done)
    left = rows[len(done) :]
    verdicts: Iterator[Any] = iterate_verdicts([(row["gold"], row["prediction"]) for row in left], workers, policy, timeout)
    try:
        with out.open("a", encoding="utf-8", errors="backslashreplace") as file:
            console = Console(stderr=True)
            shown = track(
                zip(left, verdicts, strict=True), "judging", len(left), console=console, disable=not console.is_terminal
            )
            for row, verdict in shown:
                counts[verdict.outcome] += 1
                found = {"rule": verdict.rule, "gold_answer": verdict.gold, "predicted_answer": verdict.prediction}
                line = {**row, "policy": policy, "outcome": verdict.outcome, "reason": verdict.reason, **found}
                file.write(json.dumps(line, ensure_ascii=not str(line).isprintable()) + "\n")
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror}") from error
    total = sum(counts.values())
    print(", ".join(f"{counts[name]:,} {name}" for name in ("correct", "wrong", "unjudgeable")) + f" of {total:,}, in {out}")


def _pair(row: Any, number: int, file: Path) -> dict[str, str]:
    """Id (where there is one), gold and prediction of a row; a prediction that is null is an empty text."""
    if not isinstance(row, dict):
        raise UserError(str(row))
    pair = {"id": str(row["id"])} if "id" in row else {}
    for field, names in (("gold", ("gold", "answer")), ("prediction", ("prediction", "pred", "completion", "response"))):
        name = next((name for name in names if name in row), None)
        value = None if name is None else row[name]
        if value is None and (field == "gold" or name is None):
            raise UserError(f"{file}, row {number}: expected a text under {' or '.join(map(repr, names))}")
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise UserError(f"{file}, row {number}: {name!r} is a {type(value).__name__}, expected a text")
        pair[field] = "" if value is None else str(value)
    return pair


def _whole_lines(out: Path) -> list[dict[str, Any]]:
    """The rows that were written whole; what a kill left of the last one is cut off."""
    refused = UserError(f"{out} holds something else than verdicts: choose another file to write")
    try:
        text = out.read_bytes() if out.exists() else b""
    except OSError as error:
        raise UserError(f"can't read {out}: {error.strerror}") from error
    whole = text[: text.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise refused from error
    cut = text[len(whole) :]
    ours = all(isinstance(row, dict) and {"gold", "prediction", "outcome", "policy"} <= row.keys() for row in rows)
    if not ours or (cut and not cut.startswith((b'{"id": ', b'{"gold": ')) and not b'{"gold": '.startswith(cut)):
        raise refused
    if cut:
        with out.open("r+b") as file:
            file.truncate(len(whole))
    return rows

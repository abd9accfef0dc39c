"""Two evaluations of the same problems, side by side: paired, since problems differ more than models do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EvaluationError
from .metrics import Row, grouped, problem_scores
from .report import read_overlaps
from .runner import read_results, read_settings
from .statistics import Paired, paired

IRRELEVANT = ("model", "weights", "benchmarks")


@dataclass(frozen=True)
class Comparison:
    """One benchmark in two runs. ``won`` and ``lost``: ids of problems whose score rose or fell, the largest changes first.

    ``only_before`` and ``only_after`` count problems that the other run lacks, or where one of both can't be judged.
    """

    benchmark: str
    accuracy_before: float
    accuracy_after: float
    paired: Paired
    won: tuple[str, ...]
    lost: tuple[str, ...]
    only_before: int
    only_after: int


def compare_runs(before: Path, after: Path) -> tuple[list[Comparison], list[str]]:
    """The benchmarks that both folders hold, and what else differs between the two.

    Raises:
        EvaluationError: a folder holds no evaluation, or they share no problem.
    """
    settings = [read_settings(folder) for folder in (before, after)]
    rows = [grouped(read_results(folder), lambda row: row["benchmark"]) for folder in (before, after)]
    shared = [name for name in rows[0] if name in rows[1]]
    if not shared:
        held = [", ".join(each) or "no answers" for each in rows]
        raise EvaluationError(f"the runs share no benchmark: {before} holds {held[0]}, {after} holds {held[1]}")
    notes = _differences(*settings)
    comparisons = []
    for name in shared:
        for folder, answers, about in zip((before, after), rows, settings, strict=True):
            notes += _shortcomings(name, folder, answers[name], about["benchmarks"].get(name, {}))
        found = compare_rows(name, rows[0][name], rows[1][name], notes)
        if found is None:
            notes.append(f"{name}: no problem that both runs can be judged on")
        else:
            comparisons.append(found)
    if not comparisons:
        raise EvaluationError(f"{before} and {after} share no problem that both can be judged on: {'; '.join(notes)}")
    return comparisons, notes


def compare_rows(name: str, before: Sequence[Row], after: Sequence[Row], notes: list[str]) -> Comparison | None:
    """The problems that both have, by id and the same text; None where there are none. Remarks are added to ``notes``."""
    texts = [{row["problem_id"]: (row["problem"], row["gold"]) for row in rows} for rows in (before, after)]
    changed = [id for id in texts[0] if id in texts[1] and texts[0][id] != texts[1][id]]
    if changed:
        notes.append(f"{name}: {len(changed):,} problems have another text or gold answer and are left out ({changed[0]}, ...)")
    scores = [
        {id: sum(each) / len(each) for id, each in problem_scores(rows).items() if each and id not in changed}
        for rows in (before, after)
    ]
    for ids, others, run in ((texts[0], texts[1], "first"), (texts[1], texts[0], "second")):
        if alone := [id for id in ids if id not in others]:
            notes.append(f"{name}: {len(alone):,} problems are in the {run} run only and are left out ({alone[0]}, ...)")
    common = [id for id in scores[0] if id in scores[1]]
    unjudged = sum(id in texts[1] and id not in changed for id in texts[0]) - len(common)
    if unjudged:
        notes.append(f"{name}: {unjudged:,} problems can't be judged in one run or both and are left out")
    if not common:
        return None
    old, new = ([each[id] for id in common] for each in scores)
    change = {id: b - a for id, a, b in zip(common, old, new, strict=True)}
    ordered = sorted(common, key=lambda id: -abs(change[id]))
    return Comparison(
        name,
        sum(old) / len(old),
        sum(new) / len(new),
        paired(old, new),
        tuple(id for id in ordered if change[id] > 0),
        tuple(id for id in ordered if change[id] < 0),
        len(texts[0]) - len(common),
        len(texts[1]) - len(common),
    )


def _shortcomings(name: str, folder: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> list[str]:
    """Why one run's score of a benchmark may not be what it looks like."""
    notes = []
    planned = about.get("problems", 0) * about.get("samples", 1)
    if len(rows) < planned:
        notes.append(f"{name}: {folder} is not finished: {len(rows):,} of {planned:,} answers")
    if trained := read_overlaps(folder).get("problems", {}).get(name):
        notes.append(f"{name}: the model of {folder} was trained on {len(trained):,} of these problems")
    return notes


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Settings other than the model that differ, so that a difference may be theirs."""
    names = [name for name in dict.fromkeys([*before, *after]) if name not in IRRELEVANT]
    notes = [
        f"{name} differs: {before.get(name)} and {after.get(name)}" for name in names if before.get(name) != after.get(name)
    ]
    for name, about in before["benchmarks"].items():
        other = after["benchmarks"].get(name)
        notes += [
            f"{name}: {key} differs: {about[key]} and {other[key]}"
            for key in ("samples", "policy")
            if other is not None and about.get(key) != other.get(key)
        ]
    return notes


def as_markdown(comparisons: Sequence[Comparison], notes: Sequence[str], before: str, after: str) -> str:
    """A table, a row a benchmark, and the problems won and lost."""
    lines = [f"# {after} beside {before}", ""]
    lines += [f"> {note}\n" for note in notes]
    lines += [
        "| benchmark | problems | " + f"{before} | {after} | difference | 95% interval | won | lost | p (McNemar, exact) |"
    ]
    lines += ["| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(cells(each)) + " |" for each in comparisons]
    for each in comparisons:
        for word, ids in (("Won", each.won), ("Lost", each.lost)):
            if ids:
                more = f" and {len(ids) - 20} more" if len(ids) > 20 else ""
                lines += ["", f"{word} on {each.benchmark}: {', '.join(f'`{id}`' for id in ids[:20])}{more}"]
    return "\n".join(lines) + "\n"


def cells(each: Comparison) -> list[str]:
    """Of one benchmark what a table shows."""
    found = each.paired
    error = "" if found.standard_error is None else f" ± {found.standard_error:.1%}"
    return [
        each.benchmark,
        f"{found.problems:,}",
        f"{each.accuracy_before:.1%}",
        f"{each.accuracy_after:.1%}",
        f"{found.difference:+.1%}{error}",
        f"{found.low:+.1%} to {found.high:+.1%}",
        f"{found.better:,}",
        f"{found.worse:,}",
        f"{found.p_value:.2g}",
    ]

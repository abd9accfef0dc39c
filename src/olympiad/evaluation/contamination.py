"""Which evaluated problems the model was trained on, as far as its run, and those that it started from, say it.

A run's ``run.toml`` names its sets, or the prepared folder whose documents are read again, and by ``start_from`` the run
before it. What can't be followed to its end is "not known". The rule is that of :mod:`olympiad.data.decontamination`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from olympiad.data import MathDatasetLoader, MathProblem
from olympiad.data.decontamination import EvaluationIndex
from olympiad.data.preprocessing import normalize_text
from olympiad.data.rows import DataError
from olympiad.data.samples import create_sample_problems
from olympiad.data.splitting import sample_problems, split_dataset
from olympiad.files import written
from olympiad.tokenizer import special

from .benchmarks import Benchmark, Task
from .report import OVERLAPS, read_overlaps
from .runner import EvaluationOptions, read_results, read_settings, settings_of

MOST_DOCUMENTS = 300_000  # in all: some minutes


def note_overlaps(folder: Path) -> None:
    """Write what is known of an evaluation's problems into its folder, unless it is known of all of them already.

    Raises:
        EvaluationError: the folder holds no evaluation.
        OutputError: it can't be written.
    """
    settings = read_settings(folder)
    problems: dict[str, dict[str, MathProblem]] = {}
    for row in read_results(folder):
        problem = MathProblem(row["problem_id"], row["problem"], answer=row["gold"])
        problems.setdefault(row["benchmark"], {})[problem.id] = problem
    asked, earlier = sum(map(len, problems.values())), read_overlaps(folder)
    if earlier.get("known") and earlier.get("asked", asked) == asked:
        return
    tasks = [Task(Benchmark(name, name), tuple(each.values())) for name, each in problems.items()]
    model = settings["model"]
    if settings_of(model, "", "", [], EvaluationOptions())["weights"] == settings.get("weights"):
        found = find_overlaps(model, tasks)
    else:
        found = _unknown(f"{model} is gone, or holds other weights than were evaluated")
    with written(folder / OVERLAPS) as file:
        file.write(json.dumps({**found, "asked": asked}, indent=1, ensure_ascii=False) + "\n")


def find_overlaps(model: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """``{"known": bool, "note": ..., "documents": n, "problems": {benchmark: {id: rule}}}``; not known: why, in the note."""
    asked = [(task.benchmark.name, problem) for task in tasks for problem in task.problems]
    index = EvaluationIndex(problem.problem for _, problem in asked)
    found: dict[str, dict[str, str]] = {}
    compared: list[str] = []
    count, place = 0, Path(model)
    try:
        for place, run in _runs(Path(model)):
            texts, what = _trained_on(run.get("data", {}), place.parent)
            for text in texts:
                count += 1
                if count > MOST_DOCUMENTS:
                    raise DataError(f"it is more than the {MOST_DOCUMENTS:,} documents that are read again")
                for match in index.matches(normalize_text(text)):
                    name, problem = asked[match.number]
                    found.setdefault(name, {})[problem.id] = match.rule
            compared.append(f"{what} ({place})")
    except (OSError, ValueError, DataError, KeyError, TypeError, AttributeError) as error:
        least = sum(map(len, found.values()))
        more = f"; at least {least:,} of the problems are in what could be read" if least else ""
        return _unknown(f"what {place} was trained on can't be read: {error}{more}")
    return {"known": True, "note": f"compared with {' and '.join(compared)}", "documents": count, "problems": found}


def _unknown(why: str) -> dict[str, Any]:
    return {"known": False, "note": why, "documents": 0, "problems": {}}


def _runs(model: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """``run.toml`` and what it holds, of the run that made the model and of each that it started from.

    Raises:
        DataError: a link is missing.
    """
    seen: list[Path] = []
    start: Any = model
    while start is not None:
        model = _place(start, seen[-1].parent) if seen else model
        recipe = _recipe(model)
        if recipe is None or recipe in seen:
            raise DataError(f"no run.toml beside {model} says it" + (", which it started from" if seen else ""))
        seen.append(recipe)
        run = tomllib.loads(recipe.read_text(encoding="utf-8"))
        yield recipe, run
        start = run.get("start_from")


def _recipe(model: Path) -> Path | None:
    """run.toml of the run that a folder or checkpoint belongs to."""
    if not model.exists():
        return None
    places = [model.resolve(), *model.resolve().parents[:2]]
    return next((place / "run.toml" for place in places if (place / "run.toml").is_file()), None)


def _place(named: str, folder: Path) -> Path:
    """What a run in ``folder`` names: from where it was started, mostly a folder above its own."""
    places = [Path(named), *(each / named for each in (folder, *folder.parents))]
    return next((place for place in places if place.exists()), Path(named))


def _trained_on(data: Mapping[str, Any], folder: Path) -> tuple[Iterator[str], str]:
    """Statements that were trained on, and what they are in words."""
    if prepared := data.get("prepared"):
        place = _place(prepared, folder)
        return _prepared_statements(place), f"the prepared folder {place}"
    names, limit = data.get("train", ["math"]), data.get("train_limit")
    loader = MathDatasetLoader(data.get("folder"), on_error="skip")
    sets = [split_dataset(create_sample_problems()).train if name == "sample" else loader.load(name, "train") for name in names]
    chosen = (problem.problem for each in sets for problem in sample_problems(each, limit))  # as training chooses
    return chosen, f"the training split of {', '.join(names)}"


def _prepared_statements(folder: Path) -> Iterator[str]:
    """Of each document what stands between the marks of problem and solution, or all of a text."""
    from olympiad.data.show import open_documents

    documents, tokenizer, _ = open_documents(folder)
    ends = [tokenizer.special_ids[mark] for mark in (special.SOLUTION, special.ANSWER)]
    total = len(documents.lengths)
    if total > MOST_DOCUMENTS:
        raise DataError(f"{folder} holds {total:,} documents, more than the {MOST_DOCUMENTS:,} that are read again")
    for number in range(total):
        ids = documents[number][0].tolist()
        end = min((ids.index(mark) for mark in ends if mark in ids), default=len(ids))
        yield tokenizer.decode(ids[:end]).replace(special.BEGIN, " ").replace(special.PROBLEM, " ").replace(special.END, " ")

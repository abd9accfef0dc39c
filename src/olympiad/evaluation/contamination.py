"""Which evaluated problems the model was trained on, as far as its run says what it was trained on.

A run's ``run.toml`` names its sets, or the prepared folder whose documents are read again. The rule is that of
:mod:`olympiad.data.decontamination`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from olympiad.data import MathDatasetLoader
from olympiad.data.decontamination import EvaluationIndex
from olympiad.data.preprocessing import normalize_text
from olympiad.data.rows import DataError
from olympiad.data.samples import create_sample_problems
from olympiad.tokenizer import special

from .benchmarks import Task

MOST_DOCUMENTS = 300_000  # of a prepared folder: some minutes


def find_overlaps(model: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """``{"known": bool, "note": ..., "documents": n, "problems": {benchmark: {id: rule}}}``; not known: why, in the note."""
    recipe = _recipe(Path(model))
    if recipe is None:
        return _unknown("no run.toml beside the model says what it was trained on")
    try:
        data = tomllib.loads(recipe.read_text(encoding="utf-8")).get("data", {})
        texts, what = _trained_on(data, recipe.parent)
        return {"known": True, **_matches(texts, tasks), "note": f"compared with {what} ({recipe})"}
    except (OSError, ValueError, DataError, KeyError) as error:
        return _unknown(f"what {recipe} names can't be read: {error}")


def _unknown(why: str) -> dict[str, Any]:
    return {"known": False, "note": why, "documents": 0, "problems": {}}


def _recipe(model: Path) -> Path | None:
    """run.toml of the run that a folder or checkpoint belongs to."""
    if not model.exists():
        return None
    places = [model, *model.resolve().parents[:2]]
    return next((place / "run.toml" for place in places if (place / "run.toml").is_file()), None)


def _trained_on(data: Mapping[str, Any], folder: Path) -> tuple[Iterator[str], str]:
    """Statements that were trained on, and what they are in words."""
    if prepared := data.get("prepared"):
        place = Path(prepared)
        place = place if place.exists() else folder / place
        return _prepared_statements(place), f"the prepared folder {place}"
    names = data.get("train", ["math"])
    loader = MathDatasetLoader(data.get("folder"), on_error="skip")
    sets = [
        create_sample_problems() if name == "sample" else loader.load(name, "train", limit=data.get("train_limit"))
        for name in names
    ]
    return (problem.problem for each in sets for problem in each), f"the training split of {', '.join(names)}"


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


def _matches(texts: Iterator[str], tasks: Sequence[Task]) -> dict[str, Any]:
    asked = [(task.benchmark.name, problem) for task in tasks for problem in task.problems]
    index = EvaluationIndex(problem.problem for _, problem in asked)
    found: dict[str, dict[str, str]] = {}
    count = 0
    for text in islice(texts, MOST_DOCUMENTS):
        count += 1
        for match in index.matches(normalize_text(text)):
            name, problem = asked[match.number]
            found.setdefault(name, {})[problem.id] = match.rule
    return {"documents": count, "problems": found}

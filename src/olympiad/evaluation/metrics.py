"""Rows of results -> numbers. Everything here is made of the rows alone, at any time.

What counts: correct is 1, wrong is 0 (no answer, or one that is cut off without one, is wrong), and unjudgeable is left
out and counted; ``accuracy_if_wrong`` and ``accuracy_if_correct`` say what it would be with those as 0 or as 1.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from statistics import median
from typing import Any

from olympiad.verification import aggregate, answer_classes
from olympiad.verification.extraction import MARKED

from .statistics import Estimate, estimate, mcnemar, pass_at_k, process_f1, vote, voted_score

__all__ = ["calibration", "length_bins", "mcnemar", "pass_at_k", "problem_scores", "process_f1", "summarize", "summarize_all"]

Row = Mapping[str, Any]
OUTCOMES = ("correct", "wrong", "unjudgeable")


def summarize_all(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of each benchmark, by name."""
    by_benchmark = grouped(rows, itemgetter("benchmark"))
    return {
        name: summarize(by_benchmark[name], about["policy"], about["problems"] * about["samples"])
        for name, about in settings["benchmarks"].items()
        if name in by_benchmark
    }


def summarize(rows: Sequence[Row], policy: str = "default", planned: int | None = None) -> dict[str, Any]:
    """All numbers of one benchmark: see docs/evaluation.md.

    Args:
        policy: with which answers are compared when they vote.
        planned: how many rows there will be; as many as there are if absent.
    """
    problems = list(grouped(rows, itemgetter("problem_id")).values())
    samples = max(len(each) for each in problems)
    counts = Counter(row["verdict"] for row in rows)
    summary: dict[str, Any] = {
        **accuracy(rows),
        "samples_per_problem": samples,
        "answers": len(rows),
        "answers_planned": len(rows) if planned is None else planned,
        "verdicts": {outcome: counts[outcome] for outcome in OUTCOMES},
        "unjudgeable_reasons": dict(Counter(row["reason"] for row in rows if row["verdict"] == "unjudgeable").most_common(10)),
        "accuracy_if_wrong": _mean([row["verdict"] == "correct" for row in rows]),
        "accuracy_if_correct": _mean([row["verdict"] != "wrong" for row in rows]),
        "rates": rates(rows),
        "tokens": _spread([row["tokens"] for row in rows if row.get("tokens") is not None]),
        "seconds": _spread([row["seconds"] for row in rows if row.get("seconds") is not None]),
    }
    if samples > 1:
        summary |= repeated(problems, policy, samples)
    for name in ("subject", "level", "source"):
        parts = grouped((row for row in rows if row.get(name)), itemgetter(name))
        if len(parts) > 1 or (parts and name != "source"):
            summary[f"by_{name}"] = {part: accuracy(parts[part]) for part in sorted(parts)}
    summary["quality"] = quality(problems)
    return summary


def quality(problems: Sequence[Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """Each score of reasoning: the mean over problems of their samples' means, with its standard error over problems."""
    means = []
    for rows in problems:
        scores = [
            {name: math.nan if v is None else v for name, v in row["quality"].items()} for row in rows if row.get("quality")
        ]
        means.append({name: score.mean for name, score in aggregate(scores).items()})
    return {
        name: {"mean": _finite(score.mean), "standard_error": _finite(score.standard_error), "problems": score.solutions}
        for name, score in aggregate(means).items()
    }


def accuracy(rows: Iterable[Row]) -> dict[str, Any]:
    """pass@1 averaged over the samples of each problem, with its standard error over problems."""
    rows = list(rows)
    found = estimate(list(problem_scores(rows).values()))
    counted = {
        "problems": len({row["problem_id"] for row in rows}),
        "judged": sum(row["verdict"] != "unjudgeable" for row in rows),
    }
    return {**_as_dict(found, "accuracy"), **counted}


def _as_dict(found: Estimate | None, name: str) -> dict[str, Any]:
    if found is None:
        return {name: None, "standard_error": None, "interval": None}
    return {name: found.mean, "standard_error": found.standard_error, "interval": [found.low, found.high]}


def problem_scores(rows: Iterable[Row]) -> dict[str, list[float]]:
    """For each problem the scores of its judged samples."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        of_problem = scores.setdefault(row["problem_id"], [])
        if row["verdict"] != "unjudgeable":
            of_problem.append(float(row["verdict"] == "correct"))
    return scores


def rates(rows: Sequence[Row]) -> dict[str, float | None]:
    """Shares of all answers: without an answer, cut off by the limit of tokens, with an answer that is marked as one."""
    given = [row for row in rows if row.get("finish_reason") != "refused"]
    return {
        "unjudgeable": _mean([row["verdict"] == "unjudgeable" for row in rows]),
        "refused": _mean([row.get("finish_reason") == "refused" for row in rows]),
        "no_answer": _mean([row.get("answer") is None for row in given]),
        "truncated": _mean([row.get("finish_reason") == "length" for row in given]),
        "marked_answer": _mean([str(row.get("answer_rule")).partition(",")[0] in MARKED for row in given]),
    }


def repeated(problems: Sequence[Sequence[Row]], policy: str, samples: int) -> dict[str, Any]:
    """pass@k, votes of k, and how well the share of votes says whether the winner is right."""
    sizes = sorted({1 << power for power in range(samples.bit_length()) if 1 << power <= samples} | {samples})
    votes = [_votes(rows, policy) for rows in problems]
    schemes = ["majority"] + [name for name in ("validity", "confidence") if any(name in each["weights"] for each in votes)]
    result: dict[str, Any] = {"pass_at_k": {}, **{f"{scheme}_at_k": {} for scheme in schemes}}
    for k in sizes:
        passed = [
            [pass_at_k(len(each), int(sum(each)), k)]
            for rows in problems
            if len(each := problem_scores(rows)[rows[0]["problem_id"]]) >= k
        ]
        result["pass_at_k"][str(k)] = {**_as_dict(estimate(passed), "mean"), "problems": len(passed)}
        for scheme in schemes:
            scores = [
                voted_score(each["classes"], each["right"], k, each["weights"].get(scheme))
                for each in votes
                if len(each["classes"]) >= k
            ]
            decided = [[score] for score in scores if score is not None]
            result[f"{scheme}_at_k"][str(k)] = {**_as_dict(estimate(decided), "mean"), "problems": len(decided)}
    points = [(share, score) for each in votes for share, score in _winning_shares(each)]
    return {**result, "calibration": calibration(points)}


def _votes(rows: Sequence[Row], policy: str) -> dict[str, Any]:
    """Of one problem the classes of its answers (the gold is not asked), their verdicts, and weights by scheme."""
    rows = sorted(rows, key=lambda row: row["sample"])
    weights: dict[str, list[float]] = {}
    validity = [(row.get("quality") or {}).get("validity") for row in rows]
    if any(value is not None for value in validity):  # a step that is wrong takes from a vote; one without claims counts half
        weights["validity"] = [0.5 if value is None else value for value in validity]
    if all(row.get("confidence") is not None for row in rows):
        weights["confidence"] = [row["confidence"] for row in rows]
    right = [None if row["verdict"] == "unjudgeable" else row["verdict"] == "correct" for row in rows]
    return {"classes": answer_classes([row.get("answer") for row in rows], policy), "right": right, "weights": weights}


def _winning_shares(votes: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """The winner's share of the samples, and whether it is right; nothing where nobody wins alone or it can't be judged."""
    winners = vote(votes["classes"])
    if len(winners) != 1:
        return []
    right = [value for number, value in zip(votes["classes"], votes["right"], strict=True) if number == winners[0]]
    judged = [value for value in right if value is not None]
    return [(len(right) / len(votes["classes"]), judged[0])] if judged else []


def calibration(points: Sequence[tuple[float, bool]], bins: int = 5) -> dict[str, Any]:
    """Confidence (a share from 0 to 1) against being right, in bins of equal width; and the expected calibration error,
    the mean distance of the two, weighted by the bins' sizes (arXiv:1706.04599, equation 3).

    >>> calibration([(0.9, True), (0.9, False)])["expected_error"]
    0.4
    """
    inside: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for share, right in points:
        inside[min(int(share * bins), bins - 1)].append((share, right))
    filled = [
        {
            "share": sum(share for share, _ in each) / len(each),
            "accuracy": sum(right for _, right in each) / len(each),
            "problems": len(each),
        }
        for _, each in sorted(inside.items())
    ]
    error = sum(abs(each["share"] - each["accuracy"]) * each["problems"] for each in filled) / max(1, len(points))
    return {"bins": filled, "expected_error": round(error, 12) if points else None}


def length_bins(rows: Iterable[Row], bins: int = 6) -> list[dict[str, Any]]:
    """Accuracy of answers by their length: bins of equally many answers, each with its range of tokens."""
    judged = sorted(
        (row["tokens"], row["verdict"] == "correct") for row in rows if row.get("tokens") and row["verdict"] != "unjudgeable"
    )
    cuts = {0, len(judged)}
    for number in range(1, bins):  # moved up to where a length ends: one length is one group
        length = judged[round(len(judged) * number / bins) - 1][0] if judged else 0
        cuts.add(sum(tokens <= length for tokens, _ in judged))
    parts = [judged[start:stop] for start, stop in pairwise(sorted(cuts))]
    return [
        {
            "least": each[0][0],
            "most": each[-1][0],
            "accuracy": sum(right for _, right in each) / len(each),
            "answers": len(each),
        }
        for each in parts
    ]


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": sum(values) / len(values), "median": median(values), "largest": max(values), "total": sum(values)}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value

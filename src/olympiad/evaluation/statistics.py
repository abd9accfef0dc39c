"""The statistics of scores: pure functions over numbers.

Samples of one problem are alike, so problems are what is drawn at random: every standard error is over problems
(clusters: Miller 2024, arXiv:2411.00640, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # 95%


class Estimate(NamedTuple):
    """A mean over problems, its standard error (None for one problem) and the interval that covers it 19 times in 20."""

    mean: float
    standard_error: float | None
    low: float
    high: float
    problems: int


def estimate(scores: Sequence[Sequence[float]]) -> Estimate | None:
    """The mean of the problems' means, each problem given by the scores (0 to 1) of its samples.

    The standard error is the clustered one: with equally many samples s of each problem, that of arXiv:2411.00640,
    equation 4, but for n - 1 instead of n. The interval is Wilson's with as many independent answers as would have this
    error, which stays within 0 and 1 and does not shrink to nothing where all are right.

    >>> estimate([[1], [0], [1], [1]])[:2]
    (0.75, 0.25)
    """
    means = [sum(each) / len(each) for each in scores if each]
    count = len(means)
    if not count:
        return None
    mean = sum(means) / count
    if count == 1:
        return Estimate(mean, None, *wilson(mean, 1.0), 1)
    variance = sum((value - mean) ** 2 for value in means) / (count - 1)
    error = math.sqrt(variance / count)
    samples = sum(map(len, scores))
    independent = min(float(samples), mean * (1 - mean) / error**2) if error > 0 else float(count)
    independent = max(independent, float(count)) if error > 0 else independent
    return Estimate(mean, error, *wilson(mean, independent), count)


def wilson(mean: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (95%) of a share among ``count`` independent answers (Wilson 1927; Brown, Cai, DasGupta 2001).

    >>> [round(bound, 4) for bound in wilson(0.9, 10)]
    [0.5958, 0.9821]
    """
    centre = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(mean * (1 - mean) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The probability that at least one of k of these samples is correct: 1 - C(n - c, k) / C(n, k), the unbiased
    estimate of arXiv:2107.03374, equation 1.

    >>> pass_at_k(5, 2, 1), round(pass_at_k(5, 2, 2), 4), pass_at_k(5, 4, 2)
    (0.4, 0.7, 1.0)

    Raises:
        ValueError: k is not from 1 to the number of samples.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(
            f"{correct} of {samples} samples are correct and k is {k}: expected 1 <= k <= samples, 0 <= correct <= samples"
        )
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def vote(classes: Sequence[int | None], weights: Sequence[float] | None = None) -> list[int]:
    """The classes with the most votes (the greatest weight); several where they are equal, none where nobody votes.
    Where no vote has any weight, all count alike.

    >>> vote([0, 1, 1, None]), vote([0, 1]), vote([0, 1, 1], [3, 1, 1]), vote([None]), vote([0, 1, 1], [0, 0, 0])
    ([1], [0, 1], [0], [], [1])
    """
    if weights is not None and not any(weights[place] > 0 for place, number in enumerate(classes) if number is not None):
        weights = None
    totals: dict[int, float] = {}
    for place, number in enumerate(classes):
        weight = 1.0 if weights is None else weights[place]
        if number is not None and weight > 0:
            totals[number] = totals.get(number, 0.0) + weight
    most = max(totals.values(), default=0.0)
    return sorted(number for number, total in totals.items() if math.isclose(total, most))


def voted_score(
    classes: Sequence[int | None],
    right: Sequence[bool | None],
    k: int,
    weights: Sequence[float] | None = None,
    draws: int = 100,
) -> float | None:
    """How often a vote of k of these samples finds the right answer; equal classes share. None where that can't be judged.

    The vote sees ``classes`` only; ``right`` (None: unjudgeable) then says of the winning class whether it was right.
    The mean over all subsets of k, or over ``draws`` of them where there are more, the same ones each time.
    """
    truth: dict[int, bool] = {}
    for number, value in zip(classes, right, strict=True):
        if number is not None and value is not None:
            truth.setdefault(number, value)
    scores = []
    for chosen in _subsets(len(classes), k, draws):
        winners = vote([classes[place] for place in chosen], None if weights is None else [weights[place] for place in chosen])
        judged = [truth[winner] for winner in winners if winner in truth]
        if judged or not winners:
            scores.append(sum(judged) / len(judged) if judged else 0.0)
    return sum(scores) / len(scores) if scores else None


def _subsets(count: int, k: int, draws: int) -> Iterator[Sequence[int]]:
    if math.comb(count, k) <= draws:
        yield from combinations(range(count), k)
        return
    random = np.random.default_rng(0)
    for _ in range(draws):
        yield random.choice(count, k, replace=False).tolist()


class Paired(NamedTuple):
    """The mean difference of two scores of the same problems. ``p_value``: of McNemar's exact test."""

    difference: float
    standard_error: float | None
    low: float
    high: float
    problems: int
    better: int
    worse: int
    p_value: float


def paired(before: Sequence[float], after: Sequence[float], draws: int = 10_000) -> Paired:
    """``after`` less ``before``, problem by problem: the interval (95%) is of the bootstrap over problems (percentiles), the
    test is McNemar's: exact, over the problems whose scores differ (with several samples each it is the sign test).

    Raises:
        ValueError: there is no problem, or not equally many.
    """
    differences = np.array(after, float) - np.array(before, float)
    if differences.size == 0:
        raise ValueError("expected at least one problem that both have")
    count = len(differences)
    random = np.random.default_rng(0)
    means = np.concatenate([differences[random.integers(0, count, (100, count))].mean(axis=1) for _ in range(-(-draws // 100))])
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    error = float(differences.std(ddof=1) / math.sqrt(count)) if count > 1 else None
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Paired(float(differences.mean()), error, low, high, count, better, worse, mcnemar(better, worse))


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p-value of McNemar's exact test: how likely so uneven a split of ``better + worse`` fair coins is.

    >>> mcnemar(0, 5), mcnemar(3, 3)
    (0.0625, 1.0)
    """
    count, least = better + worse, min(better, worse)
    return min(1.0, 2 * sum(math.comb(count, number) for number in range(least + 1)) / 2**count)


class ProcessScore(NamedTuple):
    """First errors found in solutions: shares of those with and without an error that are told rightly, and more."""

    f1: float
    erroneous: float
    correct: float
    precision: float
    solutions: int


def process_f1(labels: Sequence[int | None], found: Sequence[int | None]) -> ProcessScore:
    """ProcessBench's F1 (arXiv:2412.06559, section 4): the harmonic mean of the accuracies on erroneous and correct
    solutions. Each is the index of the first wrong step, None (or -1) for none.

    >>> process_f1([2, 0, None, None], [2, 1, None, 3])[:3]
    (0.5, 0.5, 0.5)
    """
    pairs = [(None if a == -1 else a, None if b == -1 else b) for a, b in zip(labels, found, strict=True)]
    hits = sum(label == first for label, first in pairs if label is not None)
    clean = [first is None for label, first in pairs if label is None]
    errors = sum(label is not None for label, _ in pairs)
    erroneous, correct = hits / max(1, errors), sum(clean) / max(1, len(clean))
    f1 = 2 * erroneous * correct / (erroneous + correct) if erroneous + correct else 0.0
    return ProcessScore(f1, erroneous, correct, hits / max(1, sum(first is not None for _, first in pairs)), len(pairs))

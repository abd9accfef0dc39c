"""The statistics, by simulation and beside published numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from olympiad.evaluation.statistics import estimate, mcnemar, paired, pass_at_k, process_f1, vote, voted_score, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_newcombes(right: int, count: int, low: float, high: float) -> None:
    """Guards against another interval under Wilson's name: Newcombe 1998 (Statistics in Medicine 17), Table I, method 3."""
    assert wilson(right / count, count) == pytest.approx((low, high), abs=5e-5)


def test_mcnemar_is_fagerlands() -> None:
    """Guards against a one-sided or asymptotic test: Fagerland, Lydersen and Laake 2013 (BMC Medical Research Methodology
    13:91), airway example with 1 and 7 discordant pairs: exact conditional p = 0.070, where the asymptotic one is 0.034."""
    assert mcnemar(1, 7) == pytest.approx(0.070, abs=5e-4)
    assert mcnemar(7, 1) == mcnemar(1, 7)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1.0


def test_pass_at_k_is_the_mean_over_all_subsets() -> None:
    """Guards against the biased 1 - (1 - c/n)^k, which arXiv:2107.03374 warns of."""
    for samples, correct, k in itertools.product((1, 2, 5, 7), range(8), range(1, 8)):
        if correct > samples or k > samples:
            continue
        right = [place < correct for place in range(samples)]
        subsets = list(itertools.combinations(right, k))
        assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_unbiased() -> None:
    """Guards against an estimate of pass@k from n samples that is not that of k samples on average."""
    random = np.random.default_rng(1)
    for probability, k in ((0.1, 4), (0.5, 2), (0.03, 10)):
        right = random.binomial(12, probability, 20_000)
        mean = np.mean([pass_at_k(12, int(c), k) for c in right])
        assert mean == pytest.approx(1 - (1 - probability) ** k, abs=0.008)


def test_pass_at_k_refuses_what_makes_no_sense() -> None:
    """Guards against a silent 1.0 for more samples than there are."""
    for samples, correct, k in ((4, 2, 5), (4, 5, 1), (4, 2, 0)):
        with pytest.raises(ValueError, match="expected 1 <= k"):
            pass_at_k(samples, correct, k)


def test_standard_error_is_the_clustered_one() -> None:
    """Guards against samples of one problem that count as independent: arXiv:2411.00640, equation 4, times n / (n - 1)."""
    random = np.random.default_rng(2)
    scores = random.binomial(1, random.beta(1, 1, (25, 1)), (25, 6)).astype(float)
    found = estimate(scores.tolist())
    assert found is not None
    assert found.standard_error is not None
    deviations = scores - scores.mean()
    independent = (deviations**2).sum() / scores.size**2
    within = sum(a * b for row in deviations for a, b in itertools.permutations(row, 2)) / scores.size**2
    assert found.standard_error**2 == pytest.approx((independent + within) * 25 / 24)


@pytest.mark.parametrize("samples", [1, 4, 32])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 3.0), (8.0, 2.0)])
def test_intervals_cover(samples: int, a: float, b: float) -> None:
    """Guards against intervals that miss the truth more often than 1 in 20: too narrow where samples are not independent."""
    random = np.random.default_rng(3)
    truth, hits, trials = a / (a + b), 0, 600
    for _ in range(trials):
        right = random.binomial(samples, random.beta(a, b, 40))
        found = estimate([[1.0] * int(c) + [0.0] * (samples - int(c)) for c in right])
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / trials <= 0.985  # of 40 yes-or-no answers the exact coverage is 0.928 to 0.964


def test_standard_error_matches_the_spread() -> None:
    """Guards against a standard error that is wrong by a factor: the spread of the mean over repeated evaluations."""
    random = np.random.default_rng(4)
    means, errors = [], []
    for _ in range(400):
        right = random.binomial(8, random.beta(1, 2, 50))
        found = estimate([[1.0] * int(c) + [0.0] * (8 - int(c)) for c in right])
        assert found is not None
        means.append(found.mean)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_estimate_at_its_edges() -> None:
    """Guards against a division by zero, an error of 0 that reads as certainty, and problems without a judged sample."""
    everything = estimate([[1.0]] * 10)
    assert everything is not None
    assert everything.mean == 1
    assert everything.standard_error == 0
    assert everything.low == pytest.approx(0.7225, abs=1e-4)
    assert everything.high == pytest.approx(1)
    single = estimate([[1.0, 0.0]])
    assert single is not None
    assert single.standard_error is None
    assert estimate([]) is None
    assert estimate([[], []]) is None
    left_out = estimate([[1.0], [], [0.0]])
    assert left_out is not None
    assert (left_out.mean, left_out.problems) == (0.5, 2)


def test_paired_interval_covers() -> None:
    """Guards against an unpaired interval (far too wide) and one that is too narrow."""
    random = np.random.default_rng(5)
    hits, widths, trials = 0, [], 200
    for _ in range(trials):
        skill = random.beta(1, 1, 80)
        before = random.binomial(1, skill)
        after = random.binomial(1, np.clip(skill + 0.1, 0, 1))
        found = paired(before.tolist(), after.tolist(), draws=400)
        hits += found.low <= np.mean(np.clip(np.linspace(0, 1, 10_001) + 0.1, 0, 1) - np.linspace(0, 1, 10_001)) <= found.high
        widths.append(found.high - found.low)
    assert 0.9 <= hits / trials <= 0.985
    assert np.mean(widths) < 2 * 1.96 * math.sqrt(0.5 / 80)  # of two independent runs


def test_paired_is_the_same_each_time() -> None:
    """Guards against a bootstrap of the global random state."""
    before, after = [0, 1, 1, 0, 0], [1, 1, 0, 1, 0.5]
    assert paired(before, after) == paired(before, after)
    assert paired(before, after).difference == pytest.approx(0.3)
    assert (paired(before, after).better, paired(before, after).worse) == (3, 1)
    with pytest.raises(ValueError, match="at least one"):
        paired([], [])


def test_votes() -> None:
    """Guards against ties that the first class wins, and votes of those who say nothing."""
    assert vote([None, None, 0]) == [0]
    assert voted_score([0, 1], [True, False], 2) == 0.5
    assert voted_score([None, None], [False, False], 2) == 0.0
    assert voted_score([0, 0, 1], [None, None, True], 3) is None  # the winner can't be judged
    assert voted_score([0, 1, 1], [True, False, False], 3, [5.0, 1.0, 1.0]) == 1.0
    assert voted_score([0, 1, 1], [True, False, False], 1) == pytest.approx(1 / 3)


def test_votes_of_fewer_are_the_mean_over_subsets() -> None:
    """Guards against a vote of k that is taken over the first k only."""
    classes, right = [0, 1, 0, 2, 1, 0], [True, False, True, False, False, True]
    by_hand = []
    for chosen in itertools.combinations(range(6), 3):
        picked = [classes[place] for place in chosen]
        best = max(map(picked.count, picked))
        winners = [c for c in set(picked) if picked.count(c) == best]
        by_hand.append(sum(c == 0 for c in winners) / len(winners))
    assert voted_score(classes, right, 3) == pytest.approx(sum(by_hand) / len(by_hand))


def test_process_f1() -> None:
    """Guards against a mean of the wrong kind, and -1 and None that differ."""
    score = process_f1([1, -1, -1, 0], [1, None, 2, -1])
    assert (score.erroneous, score.correct, score.f1) == (0.5, 0.5, 0.5)
    assert process_f1([0, None], [1, None]).f1 == 0
    assert process_f1([0, 0, None], [0, 0, 3]).f1 == 0
    harmonic = process_f1([0, 0, None, None], [0, 1, None, None])
    assert harmonic.f1 == pytest.approx(2 / 3)

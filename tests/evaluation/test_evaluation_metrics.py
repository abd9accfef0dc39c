"""Rows -> numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from made import row

from olympiad.evaluation.metrics import calibration, length_bins, summarize


def test_unjudgeable_is_left_out_and_counted() -> None:
    """Guards against grader failures that are scored as wrong, or that vanish."""
    found = summarize([row("a"), row("b", verdict="wrong"), row("c", verdict="unjudgeable", reason="limits"), row("d")])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["verdicts"] == {"correct": 2, "wrong": 1, "unjudgeable": 1}
    assert (found["accuracy_if_wrong"], found["accuracy_if_correct"]) == (0.5, 0.75)
    assert found["unjudgeable_reasons"] == {"limits": 1}
    assert (found["problems"], found["judged"], found["samples_per_problem"]) == (4, 3, 1)


def test_nothing_judged() -> None:
    """Guards against a division by zero where no answer can be judged."""
    found = summarize([row("a", verdict="unjudgeable"), row("a", 1, verdict="unjudgeable", finish_reason="refused")])
    assert found["accuracy"] is None
    assert found["pass_at_k"]["1"]["mean"] is None
    assert found["majority_at_k"]["2"]["mean"] is None
    assert found["calibration"] == {"bins": [], "expected_error": None}


def test_accuracy_is_the_mean_over_problems() -> None:
    """Guards against a problem with more judged samples that counts more."""
    rows = [row("a", n) for n in range(4)] + [row("b", 0, "wrong")] + [row("b", n, "unjudgeable") for n in range(1, 4)]
    found = summarize(rows)
    assert found["accuracy"] == 0.5
    assert found["standard_error"] == pytest.approx(0.5)
    assert found["samples_per_problem"] == 4


def test_votes_are_over_classes_and_blind_to_the_gold() -> None:
    """Guards against 1/2 and \\frac12 that are counted apart, and against votes that peek at the gold answer."""
    answers = [r"\frac12", "0.5", "3", "3", "1/2", None]
    verdicts = ["correct", "correct", "wrong", "wrong", "correct", "wrong"]
    rows = [row("a", n, v, answer=a, gold="1/2") for n, (a, v) in enumerate(zip(answers, verdicts, strict=True))]
    assert summarize(rows)["majority_at_k"]["6"]["mean"] == 1.0
    swapped = [row("a", n, "wrong" if a != "3" else "correct", answer=a, gold="3") for n, a in enumerate(answers)]
    found = summarize(swapped)
    assert found["majority_at_k"]["6"]["mean"] == 0.0  # the same class wins, and now it is wrong
    assert found["pass_at_k"]["1"]["mean"] == pytest.approx(1 / 3)
    assert found["calibration"]["bins"] == [{"share": 0.5, "accuracy": 0.0, "problems": 1}]


def test_steps_weigh_votes() -> None:
    """Guards against weights that are not used, and against texts without claims that lose their vote."""
    answers, validity = ["1", "2", "2"], [1.0, 0.1, 0.1]
    rows = [
        row("a", n, "correct" if a == "1" else "wrong", answer=a, quality={"validity": v})
        for n, (a, v) in enumerate(zip(answers, validity, strict=True))
    ]
    found = summarize(rows)
    assert found["majority_at_k"]["3"]["mean"] == 0.0
    assert found["validity_at_k"]["3"]["mean"] == 1.0
    assert "confidence_at_k" not in found
    rows = [{**each, "confidence": c, "quality": {}} for each, c in zip(rows, (0.9, 0.2, 0.2), strict=True)]
    assert summarize(rows)["confidence_at_k"]["3"]["mean"] == 1.0
    assert "validity_at_k" not in summarize(rows)


def test_pass_at_k_of_the_summary() -> None:
    """Guards against k that are more than the samples, and powers of two only."""
    rows = [row("a", n, "correct" if n < 2 else "wrong") for n in range(5)]
    found = summarize(rows)["pass_at_k"]
    assert list(found) == ["1", "2", "4", "5"]
    assert found["2"]["mean"] == pytest.approx(0.7)
    assert found["5"]["mean"] == 1.0
    rows += [row("b", n, "unjudgeable" if n == 4 else "wrong") for n in range(5)]
    found = summarize(rows)["pass_at_k"]
    assert {k: each["problems"] for k, each in found.items()} == {"1": 2, "2": 2, "4": 2, "5": 1}  # and the report says so


def test_rates_and_spreads() -> None:
    """Guards against refused requests among the answers that are cut off or unmarked."""
    rows = [
        row("a", tokens=10, finish_reason="length", answer=None, answer_rule=None, verdict="wrong"),
        row("b", tokens=30),
        row("c", tokens=None, finish_reason="refused", answer=None, answer_rule=None, verdict="unjudgeable"),
    ]
    found = summarize(rows)
    third = pytest.approx(1 / 3)
    assert found["rates"] == {"unjudgeable": third, "refused": third, "no_answer": 0.5, "truncated": 0.5, "marked_answer": 0.5}
    assert found["tokens"] == {"mean": 20, "median": 20, "largest": 30, "total": 40}


def test_parts() -> None:
    """Guards against parts that mix, and a part for problems without a subject."""
    rows = [row("a", subject="x", level="1"), row("b", verdict="wrong", subject="y", level="1"), row("c")]
    found = summarize(rows)
    assert {part: each["accuracy"] for part, each in found["by_subject"].items()} == {"x": 1.0, "y": 0.0}
    assert found["by_level"]["1"]["problems"] == 2
    assert "by_source" not in found  # one source says nothing


def test_quality_is_clustered() -> None:
    """Guards against samples of one problem that count as independent, and NaN in a JSON file."""
    rows = [row(p, n, quality={"format": 1.0 if p == "a" else 0.0, "validity": None}) for p in "ab" for n in range(8)]
    found = summarize(rows)["quality"]
    assert found["format"] == {"mean": 0.5, "standard_error": pytest.approx(0.5), "problems": 2}
    assert found["validity"] == {"mean": None, "standard_error": None, "problems": 0}


def test_calibration() -> None:
    """Guards against a share of exactly 1 that falls out of the last bin, and unweighted bins."""
    found = calibration([(1.0, True)] * 3 + [(0.1, True)])
    assert [each["problems"] for each in found["bins"]] == [1, 3]
    assert found["expected_error"] == pytest.approx(0.9 / 4)
    assert math.isclose(found["bins"][0]["share"], 0.1)


def test_length_bins_hold_every_judged_answer_once() -> None:
    """Guards against answers that fall between bins, and bins without any."""
    rows = [row(str(n), tokens=n % 7 + 1, verdict="correct" if n % 2 else "wrong") for n in range(23)]
    bins = length_bins([*rows, row("u", verdict="unjudgeable", tokens=3), row("v", tokens=None)])
    assert sum(each["answers"] for each in bins) == 23
    assert all(a["most"] < b["least"] for a, b in pairwise(bins))  # one length is in one group
    assert length_bins(rows[:2])[0]["answers"] == 1

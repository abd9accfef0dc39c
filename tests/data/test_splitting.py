"""Splits that do not depend on the order of the problems, and never have one problem on both sides."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.data import MathProblem, Splits, create_sample_problems, sample_problems, split_dataset, without


def problems_of(*texts: str) -> list[MathProblem]:
    return [MathProblem(f"{i}", text) for i, text in enumerate(texts)]


def numbered(count: int) -> list[MathProblem]:
    return problems_of(*(f"What is {i} plus one?" for i in range(count)))


def sizes(splits: Splits) -> list[int]:
    return [len(part) for part in splits]


TEXTS = st.text(st.sampled_from("aAbBßx \t\n\u00a0"), max_size=4)  # few characters: many copies


def test_same_split_on_every_machine() -> None:
    """A split that changes between processes (a hash with a random key) or versions: test problems leak into training."""
    splits = split_dataset(numbered(12), validation=0.25, test=0.25)
    assert [[problem.id for problem in part] for part in splits] == [
        ["1", "2", "5", "7", "8", "10"],
        ["0", "4", "11"],
        ["3", "6", "9"],
    ]


@given(st.lists(TEXTS, max_size=12), st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_of_the_problems_does_not_matter(texts: list[str], random: object, seed: int) -> None:
    """A split by position: a sorted file, or one with a row more, gives other splits."""
    problems = problems_of(*texts)
    shuffled = list(problems)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for part, other in zip(split_dataset(problems, 0.3, 0.3, seed), split_dataset(shuffled, 0.3, 0.3, seed), strict=True):
        assert {problem.id for problem in part} == {problem.id for problem in other}
        assert part == [problem for problem in problems if problem in part]  # in the order that they came in


@given(st.lists(TEXTS, max_size=12), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]), st.sampled_from([0.0, 0.05, 0.09]))
def test_every_problem_once_and_copies_together(texts: list[str], validation: float, test: float) -> None:
    """A problem lost or doubled, or a copy of a training problem (other case, other spacing) in the test split."""
    problems = problems_of(*texts)
    splits = split_dataset(problems, validation, test)
    assert sorted(int(problem.id) for part in splits for problem in part) == list(range(len(texts)))
    for part, other in combinations(splits, 2):
        assert not {" ".join(p.problem.casefold().split()) for p in part} & {
            " ".join(p.problem.casefold().split()) for p in other
        }


@pytest.mark.parametrize(
    ("count", "validation", "test", "expected"),
    [
        (1000, 0.1, 0.1, [800, 100, 100]),
        (1000, 0.0, 0.25, [750, 0, 250]),
        (1000, 0.333, 0.0, [667, 333, 0]),
        (10, 0.1, 0.1, [8, 1, 1]),
        (3, 0.1, 0.1, [2, 1, 0]),
        (2, 0.1, 0.1, [1, 1, 0]),
        (2, 0.0, 0.1, [2, 0, 0]),
        (2, 0.9, 0.05, [1, 1, 0]),
        (1, 0.1, 0.1, [1, 0, 0]),
        (1, 0.9, 0.0, [1, 0, 0]),
        (1, 0.0, 0.9, [1, 0, 0]),
        (0, 0.1, 0.1, [0, 0, 0]),
    ],
)
def test_sizes_are_exact(count: int, validation: float, test: float, expected: list[int]) -> None:
    """Sizes left to chance, no validation problem in a small set, or nothing left to train on."""
    assert sizes(split_dataset(numbered(count), validation, test)) == expected


@given(st.sets(st.text().map(str.casefold).map(lambda text: " ".join(text.split())), min_size=3, max_size=3), st.integers())
def test_any_three_problems_split_into_two_one_none(texts: set[str], seed: int) -> None:
    """The baseline's "2 train, 1 val, 0 test" that holds for the sample problems only."""
    assert sizes(split_dataset(problems_of(*texts), seed=seed)) == [2, 1, 0]


def test_sample_problems_split_as_the_guide_says() -> None:
    """The baseline's "2 train, 1 val, 0 test"."""
    assert sizes(split_dataset(create_sample_problems())) == [2, 1, 0]


def test_growing_collection_moves_few_problems() -> None:
    """A split drawn anew as the collection grows: yesterday's test problems are trained on today."""
    before, after = split_dataset(numbered(2_000)), split_dataset(numbered(2_200))
    old = [{problem.id for problem in part} for part in before]
    new = [{problem.id for problem in part} for part in after]
    assert sum(len(a - b) for a, b in zip(old, new, strict=True)) < 40  # a new draw moves some 680
    assert not old[2] & new[1]
    assert not old[1] & new[2]


def test_seed_changes_the_split() -> None:
    """A seed that nothing reads."""
    assert split_dataset(numbered(100), seed=1) != split_dataset(numbered(100), seed=2)


@pytest.mark.parametrize(
    ("validation", "test", "message"),
    [
        (-0.1, 0.1, "validation is -0.1"),
        (0.1, 1.0, "test is 1.0"),
        (float("nan"), 0.1, "validation is nan"),
        (0.5, 0.5, "nothing to train on"),
    ],
)
def test_bad_shares_are_refused(validation: float, test: float, message: str) -> None:
    """A percentage (10 for 0.1) or shares of more than the whole, taken without a word."""
    with pytest.raises(ValueError, match=message):
        split_dataset(numbered(10), validation, test)


def test_a_sample_stands_for_the_whole() -> None:
    """Guards against "the first 500 rows" of a file sorted by subject, which validates on Algebra alone."""
    problems = [
        MathProblem(id=str(i), problem=f"Problem {i}?", subject="Algebra" if i < 500 else "Geometry") for i in range(1000)
    ]
    sample = sample_problems(problems, 200)
    assert len(sample) == 200
    assert 70 <= sum(problem.subject == "Algebra" for problem in sample) <= 130
    assert sample == sorted(sample, key=lambda problem: int(problem.id))
    assert sample_problems(problems[::-1], 200) == sample[::-1]
    assert sample_problems(problems, None) == sample_problems(problems, 5000) == problems


def test_what_is_held_out_is_not_trained_on() -> None:
    """Guards against a validation problem in the training set under other spacing."""
    train = [MathProblem("a", "What is  1?"), MathProblem("b", "What is 2?")]
    assert without(train, [MathProblem("c", "what is 1? ")]) == train[1:]

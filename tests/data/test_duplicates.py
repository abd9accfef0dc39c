"""One problem stays of those that are the same, and problems that differ in what matters are not the same."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.data.decontamination import words
from olympiad.data.duplicates import EXACT, KEPT, NEAR, NUM_HASHES, find_duplicates, numbers_key, signature, signatures
from olympiad.data.schema import MathProblem

VOCABULARY = [f"{a}{b}" for a in "bal cor dim fen gul hob jat kes lum nor".split() for b in "an ex ir os ut".split()]


def statement(generator: random.Random, length: int = 40) -> str:
    """Words without meaning, and two numbers."""
    chosen = [generator.choice(VOCABULARY) for _ in range(length)]
    return " ".join([*chosen, str(generator.randrange(100, 10**6)), "and", str(generator.randrange(100, 10**6))])


def keys_of(statements: Sequence[str]) -> np.ndarray:
    return np.array([int(MathProblem("", text).key[:16], 16) for text in statements], np.uint64)


def duplicates(statements: Sequence[str]) -> tuple[list[bool], list[int], list[int]]:
    numbers = np.array([numbers_key(text) for text in statements], np.uint64)
    return tuple(array.tolist() for array in find_duplicates(keys_of(statements), signatures(statements), numbers))


def jaccard(one: str, other: str) -> float:
    runs = [{tuple(text[i : i + 3]) for i in range(len(text) - 2)} for text in (words(one), words(other))]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_duplicates_by_kind() -> None:
    """A copy that is missed, or a problem with another number, sign, unknown or drawing that is lost as a copy."""
    first = (
        "Let $x$ and $y$ be the sides of a rectangle whose perimeter is 20 meters and whose area is 24 square meters, "
        "and let a circle go through its corners. If $x - y = 2$, what is the value of $x$?"
    )
    copies = [first.upper(), first.replace("what is the value of", "then find the value of")]
    others = [first.replace("24", "25"), first.replace("x - y", "x + y"), first.replace("of $x$?", "of $y$?")]
    others += [first + "[asy]draw((0,0)--(1,2));[/asy]", first + "[asy]draw((0,0)--(1,3));[/asy]", "Another problem altogether"]
    keep, original, kind = duplicates([first, *copies, *others, copies[1]])
    assert kind == [KEPT, EXACT, NEAR] + [KEPT] * len(others) + [EXACT]
    assert original == [0, 0, 0, *range(3, 3 + len(others)), 0]
    assert keep == [each == KEPT for each in kind]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(12)))
def test_planted_copies_in_any_order(seed: int, order: list[int]) -> None:
    """A later row that wins over an earlier one, or a result that depends on where in the file the copies lie."""
    generator = random.Random(seed)
    family = []
    for _ in range(3):
        text = statement(generator, 60)
        family += [text, text.replace(" ", "  "), "Find " + text, text.replace(" and ", " and 1")]  # the last: another number
    problem = [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]
    placed = [problem[i] for i in order]
    keep, original, _ = duplicates([family[i] for i in order])
    assert original == [placed.index(each) for each in placed]
    assert keep == [row == place for place, row in enumerate(original)]


def test_what_is_found_agrees_with_exact_jaccard() -> None:
    """Bands or signatures that lose pairs of high similarity, or join pairs of low similarity."""
    generator = random.Random(1)
    texts = []
    for _ in range(150):
        base = statement(generator, 90).split()
        texts.append(" ".join(base))
        for changes in (1, generator.randrange(2, 12)):
            changed = base[:]
            for _ in range(changes):
                changed[generator.randrange(90)] = generator.choice(VOCABULARY)
            texts.append(" ".join(changed))
    _, original, kind = duplicates(texts)
    roots = np.array(original)
    close = missed = 0
    for right in range(len(texts)):
        for left in range(right // 3 * 3, right):  # texts of two bases share nearly nothing
            similarity = jaccard(texts[left], texts[right])
            close += similarity >= 0.9
            missed += similarity >= 0.9 and roots[left] != roots[right]
            assert similarity >= 0.6 or kind[right] != NEAR or original[right] != left
    assert close > 50
    assert missed <= 0.05 * close
    assert all(left // 3 == right // 3 for right, left in enumerate(original))


def test_signatures_do_not_depend_on_the_batch() -> None:
    """A row that is a duplicate in one run and none in the next, which read the files in other portions."""
    texts = [statement(random.Random(i), i) for i in range(20)] + ["", "?", "one", "one two"]
    together = signatures(texts)
    assert together.shape == (24, NUM_HASHES)
    assert together.dtype == np.uint32
    assert all(np.array_equal(signature(text), row) for text, row in zip(texts, together, strict=True))
    assert np.array_equal(signatures(texts[:7]), together[:7])
    assert signatures([]).shape == (0, NUM_HASHES)
    assert int(signature("find the sum of the digits")[0]) == 1_963_363_628  # files written by an older version still fit


def test_chains_of_copies_lead_to_the_first() -> None:
    """A row whose original was itself thrown away."""
    base = [VOCABULARY[i % 50] + VOCABULARY[i // 50] for i in range(100)]
    texts = []
    for i in range(8):
        base[i * 12] = "changed"
        texts.append(" ".join(base))
    keep, original, kind = duplicates([*texts[::-1], "other words here altogether"])
    assert keep == [True] + [False] * 7 + [True]
    assert original == [0] * 8 + [8]
    assert kind == [KEPT] + [NEAR] * 7 + [KEPT]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"$\dfrac12 + 10{,}000$", r"$\frac{1}{2} + 10,000$", True),
        ("3 red and 5 blue", "5 blue and three red", True),
        ("$3!$ ways", "3 ways", False),
        ("the letters of PROOF", "the letters of TARTAR", False),
        ("$x^2 < 4$", "$x^2 > 4$", False),
        ("$3 - 5$", "$3 + 5$", False),
        ("12 and 3", "1 and 23", False),
        (r"$|b| = \sqrt{2}$", "$|b| = 2$", False),
    ],
)
def test_numbers_key(one: str, other: str, same: bool) -> None:
    """Two problems whose difference the key does not see, or one problem in two spellings."""
    assert bool(numbers_key(one) == numbers_key(other)) is same


def test_a_common_phrase_costs_no_square() -> None:
    """Thousands of rows that share a band: each compared with each."""
    count = 20_000
    table = np.random.default_rng(0).integers(0, 2**32, (count, NUM_HASHES), dtype=np.uint32)
    table[:, :6] = 7
    started = time.process_time()
    keep, *_ = find_duplicates(np.arange(count, dtype=np.uint64), table, np.zeros(count, np.uint64))
    assert keep.all()
    assert time.process_time() - started < 30


def test_a_hundred_thousand_rows_from_a_file(tmp_path: Path) -> None:
    """A step that goes through the rows one by one, or that needs the signatures in memory as an array."""
    count, generator = 100_000, np.random.default_rng(0)
    table = np.memmap(tmp_path / "signatures", np.uint32, "w+", shape=(count, NUM_HASHES))
    table[:] = generator.integers(0, 2**32, table.shape, dtype=np.uint32)
    copies = generator.choice(np.arange(1, count), 1_000, replace=False)
    table[copies, 13:] = table[0, 13:]  # 115 of 128 positions: 0.9
    started = time.process_time()
    keep, original, kind = find_duplicates(np.arange(count, dtype=np.uint64), table, np.zeros(count, np.uint64))
    assert time.process_time() - started < 10
    assert np.array_equal(np.flatnonzero(~keep), np.sort(copies))
    assert not original[copies].any()
    assert (kind[copies] == NEAR).all()


def test_nothing_at_all() -> None:
    """An empty data set that stops the run."""
    keep, original, kind = find_duplicates(np.empty(0, np.uint64), np.empty((0, NUM_HASHES), np.uint32), np.empty(0, np.uint64))
    assert len(keep) == len(original) == len(kind) == 0

"""Problems that are there twice, word for word or nearly so, among more rows than fit in memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from .decontamination import words

NUM_HASHES = 128
SEED = 1
RUN_WORDS = 3
KEPT, EXACT, NEAR = 0, 1, 2

# A row is compared with at most so many rows that share a band with it: a phrase that thousands of problems begin with
# must not cost millions of comparisons, and true duplicates meet in other bands too.
MOST_NEIGHBOURS = 200
_CHUNK = 8_192  # rows or pairs

_FRACTION_OF_DIGITS = re.compile(r"(frac|binom)\s*(\d)\s*(\d)")
_NUMERALS = {word: str(number) for number, word in enumerate("two three four five six seven eight nine ten".split(), 2)}
_NUMERAL_WORD = re.compile(rf"\b({'|'.join(_NUMERALS)})\b", re.IGNORECASE)
_SIGN = re.compile(r"-?\d+!?|[+*/^<>=]|(?<![A-Za-z\\'])[B-Zb-z](?![A-Za-z])|\b[A-Z]{2,}\b|\\sqrt")

Rows = NDArray[np.int64]


def signatures(statements: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures [n, 128] (Broder 1997) of the statements' runs of three words; of the words where there are fewer.

    Two signatures agree in about the share of positions that their sets of runs have in common (Jaccard).
    """
    texts = [words(statement) for statement in statements]
    runs = [[" ".join(text[i : i + RUN_WORDS]) for i in range(len(text) - RUN_WORDS + 1)] or text or [""] for text in texts]
    return np.array(RMinHash.digests_from_token_sets(runs, NUM_HASHES, SEED), dtype=np.uint32).reshape(-1, NUM_HASHES)


def signature(statement: str) -> NDArray[np.uint32]:
    return signatures([statement])[0]


def numbers_key(statement: str) -> np.uint64:
    """A hash of the statement's numbers, operators, single letters and words in capitals, in any order.

    Near duplicates must agree in it. Competitions ask a question again with another number, sign or unknown, and then
    the answer is another: what is a copy among texts is a new problem in mathematics. Drawings count.

    >>> bool(numbers_key(r"Is $\\dfrac{1}{2}x - 1{,}000 = 3$?") == numbers_key(r"is $\\frac12 x-1000=3$"))
    True
    >>> bool(numbers_key("Find $x$ if $x - y = 3$") == numbers_key("Find $y$ if $x - y = 3$"))
    False
    """
    plain = re.sub(r"(?<=\d)[\s{}]{0,3},[\s{}]{0,3}(?=\d{3}(?!\d))|(?<=-)\s+", "", re.sub(r"\\[,!;: ]", "", statement))
    plain = _NUMERAL_WORD.sub(lambda word: _NUMERALS[word[0].lower()], _FRACTION_OF_DIGITS.sub(r"\1 \2 \3", plain))
    signs = " ".join(sorted(_SIGN.findall(plain)))
    return np.uint64(int.from_bytes(hashlib.blake2b(signs.encode(), digest_size=8).digest(), "little"))


def find_duplicates(
    keys: NDArray[np.uint64],
    signatures: NDArray[np.uint32],
    numbers: NDArray[np.uint64],
    threshold: float = 0.8,
    bands: int = 21,
    rows: int = 6,
) -> tuple[NDArray[np.bool_], Rows, NDArray[np.uint8]]:
    """Which rows to keep; of rows that are one problem the earliest is kept.

    Exact: equal ``keys``. Near: equal ``numbers``, and signatures that agree in ``threshold`` of their positions. Only rows
    that agree in a whole band of the signature are compared: a pair of similarity s with probability
    1 - (1 - s^rows)^bands, for 21 bands of 6

        s       0.5   0.6   0.7   0.75  0.8    0.85   0.9
        found   0.28  0.63  0.93  0.98  0.998  0.9999 1.0

    (16 bands of 8: 0.947 at 0.8). A copy of a copy is a copy: clusters are those of single linkage.

    Args:
        keys: [n]. numbers: [n], see :func:`numbers_key`. signatures: [n, 128], may be mapped from a file.

    Returns:
        For each row whether it is kept, the row that stands for it (its own if kept), and KEPT, EXACT (an earlier row
        has its key) or NEAR.
    """
    own = np.arange(len(keys))
    _, firsts, group = np.unique(keys, return_index=True, return_inverse=True)
    first = firsts[group].astype(np.int64)
    parent, distinct = first.copy(), np.flatnonzero(first == own)
    for band in range(bands):
        columns = slice(band * rows, (band + 1) * rows)
        for left, right in _candidates(distinct, _band_hashes(signatures, numbers, distinct, columns)):
            unjoined = parent[left] != parent[right]
            left, right = left[unjoined], right[unjoined]
            similarity = np.mean(signatures[left] == signatures[right], axis=1)
            same = (numbers[left] == numbers[right]) & (similarity >= threshold)
            for pair in zip(left[same].tolist(), right[same].tolist(), strict=True):
                _join(parent, *pair)
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    kind = np.where(first != own, EXACT, np.where(parent != own, NEAR, KEPT)).astype(np.uint8)
    return kind == KEPT, parent, kind


def _band_hashes(
    signatures: NDArray[np.uint32], numbers: NDArray[np.uint64], chosen: Rows, columns: slice
) -> NDArray[np.uint64]:
    """A hash of the numbers and one band; those that are equal by chance differ when the signatures are compared."""
    hashes = numbers[chosen]
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        for column in signatures[chosen[part], columns].T:
            hashes[part] = (hashes[part] ^ column) * np.uint64(0x9E3779B97F4A7C15)
            hashes[part] ^= hashes[part] >> np.uint64(29)
    return hashes


def _candidates(chosen: Rows, hashes: NDArray[np.uint64]) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows with equal hashes, in chunks: each row and the next, then each row and the one after that, ..."""
    order = np.argsort(hashes, kind="stable")
    hashes, ordered = hashes[order], chosen[order]
    places = np.arange(len(hashes))
    for distance in range(1, MOST_NEIGHBOURS + 1):
        places = places[places < len(hashes) - distance]
        places = places[hashes[places] == hashes[places + distance]]
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            yield ordered[part], ordered[part + distance]


def _join(parent: Rows, left: int, right: int) -> None:
    """Make one cluster of two; its lowest row is the root."""
    roots = [left, right]
    for side in (0, 1):
        while parent[roots[side]] != roots[side]:
            parent[roots[side]] = parent[parent[roots[side]]]
            roots[side] = int(parent[roots[side]])
    parent[max(roots)] = min(roots)

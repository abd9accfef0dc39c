"""Training a tokenizer: the same texts give the same file, of exactly the size that was asked for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from olympiad.tokenizer import MATH_SYMBOLS, MathTokenizer, TokenizerError
from olympiad.tokenizer.special import SPECIAL_TOKENS
from olympiad.tokenizer.symbols import is_latin1
from olympiad.tokenizer.training import train_tokenizer

LEAST = len(SPECIAL_TOKENS) + 256 + len(MATH_SYMBOLS)


def made_up_texts(count: int = 400, seed: int = 0) -> list[str]:
    """Texts of made-up words, numbers and formulas; many words are equally frequent, so that ties decide merges."""
    draw = random.Random(seed)
    syllables = [a + b + c for a in "bdklmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(2500)]
    latin1 = ["été", "élan", "à", "ÈÉ", "«»", "§§", "§©", "ø«"] * 40  # they share first bytes with ±, ½, ×
    pieces = [*words, *words, *latin1, *map(str, range(100, 1000)), *MATH_SYMBOLS, "漢字", "∀x ± ½ ≤ y²", "\\frac{a}{b}"]
    return [" ".join(draw.choices(pieces, k=60)) for _ in range(count)]


@lru_cache
def trained(vocab_size: int, digits: str = "single") -> MathTokenizer:
    return train_tokenizer(made_up_texts(), vocab_size, digits)  # type: ignore[arg-type]


@pytest.mark.parametrize("vocab_size", [LEAST, 1024, 2048, 4096])
def test_the_vocabulary_has_exactly_the_size_asked_for(vocab_size: int) -> None:
    """A symbol counted twice or not at all: the model's embedding would not fit the tokenizer."""
    tokenizer = trained(vocab_size)
    assert tokenizer.vocab_size == vocab_size
    vocabulary = Tokenizer.from_str(tokenizer.json).get_vocab(with_added_tokens=True)
    assert sorted(vocabulary.values()) == list(range(vocab_size))
    assert tokenizer.pad_id == 0


@pytest.mark.parametrize("digits", ["single", "up_to_three"])
@pytest.mark.parametrize("vocab_size", [LEAST, 1024, 4096])
def test_every_symbol_is_one_token_at_every_size(vocab_size: int, digits: str) -> None:
    """A two-byte symbol (±, ½) whose merge is ranked after a learned one that takes one of its bytes."""
    tokenizer = trained(vocab_size, digits)
    assert tokenizer.math_symbols.keys() == MATH_SYMBOLS.keys()
    latin = [symbol for symbol in MATH_SYMBOLS if is_latin1(symbol)]
    for symbol in latin:
        for before, after in (("x", "y"), (" ", " "), ("1", "2"), ("é", "é"), (" §", "§"), (symbol, symbol)):
            assert tokenizer.encode(before + symbol + after).count(tokenizer.math_symbols[symbol]) == 1 + 2 * (before == symbol)


@settings(max_examples=40, deadline=None)
@given(st.text() | st.text("∀½±²\\frac{}12 e\u0301é漢\r\n"))
def test_a_small_vocabulary_is_lossless_too(text: str) -> None:
    """A character that the training texts lack must still have its bytes."""
    tokenizer = trained(1024)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_the_texts_does_not_matter(seed: int) -> None:
    """Ties broken by what came first: two machines that list files differently would train different tokenizers."""
    texts = made_up_texts()
    random.Random(seed).shuffle(texts)
    assert train_tokenizer(texts, 2048).json == trained(2048).json


def test_another_process_trains_the_same_file() -> None:
    """An order that comes from hash seeds is stable within a process and changes with the next."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_tokenizer_training as t; "
        "print(t.train_tokenizer(iter(t.made_up_texts()), 1024).fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, os.path.dirname(__file__)]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == trained(1024).fingerprint


def test_other_texts_train_another_file() -> None:
    """A fingerprint that ignores the merges would let a run go on with another tokenizer."""
    assert train_tokenizer(made_up_texts(seed=1), 1024).fingerprint != trained(1024).fingerprint


def test_digits_single() -> None:
    """The pattern given to the library must be the one that was asked for."""
    tokenizer = trained(4096, "single")
    assert [tokenizer.decode([index]) for index in tokenizer.encode("123456")] == list("123456")
    assert not any(sum(c in "0123456789" for c in name) > 1 for name in Tokenizer.from_str(tokenizer.json).get_vocab())


def test_digits_up_to_three() -> None:
    """Groups come from the left, of three where they were seen, and never of four."""
    tokenizer = train_tokenizer(["x = 1234567 + 7123456 + 1231234567"] * 20, 1024, "up_to_three")
    groups = [tokenizer.decode([index]) for index in tokenizer.encode("1234567")]
    assert groups == ["123", "456", "7"]
    longest = max(sum(c in "0123456789" for c in name) for name in Tokenizer.from_str(tokenizer.json).get_vocab())
    assert longest == 3


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789 ax'\\.\n", max_size=30))
def test_digits_up_to_three_one_by_one_and_batched(text: str) -> None:
    """The short way for ASCII texts must follow this pattern too."""
    tokenizer = trained(4096, "up_to_three")
    assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0]


def test_learned_merges_stop_at_symbols() -> None:
    r"""Merges learned from the inside of commands (`fra`, `\le`) would fill the vocabulary and never be used."""
    texts = [r"\frac{q}\leqslant\mathbb{R}½±"] * 50
    tokenizer = train_tokenizer(texts, 2048)
    names = set(Tokenizer.from_str(tokenizer.json).get_vocab()) - set(MATH_SYMBOLS) - set(SPECIAL_TOKENS)
    learned = {name for name in names if len(name) > 1}
    assert not {name for name in learned if any(part in name for part in ("fra", "leq", "slant", "math"))}


def test_short_texts_give_a_smaller_vocabulary() -> None:
    """There is nothing more to merge: no error, no invented entries."""
    assert LEAST <= train_tokenizer(["hello"], 4096).vocab_size < LEAST + 10


@pytest.mark.parametrize("vocab_size", [0, 300, LEAST - 1])
def test_a_vocabulary_that_is_too_small_says_what_is_needed(vocab_size: int) -> None:
    """The library would leave out symbols in silence."""
    with pytest.raises(TokenizerError, match=rf"a vocabulary of {vocab_size} is too small.* make {LEAST}"):
        train_tokenizer(made_up_texts(1), vocab_size)


@pytest.mark.parametrize("texts", [[], [""], ["∀", r"\frac"]], ids=["none", "empty", "only symbols"])
def test_no_text_is_an_error(texts: list[str]) -> None:
    """An empty folder or a wrong column must not give a tokenizer of bytes."""
    with pytest.raises(TokenizerError, match="no text to train on"):
        train_tokenizer(texts, 2048)


def test_text_that_spells_special_tokens_trains_and_stays_text() -> None:
    """A training text with `<|end|>` in it must not teach the tokenizer to cut it out as special."""
    tokenizer = train_tokenizer(["a <|end|> b <|pad|>"] * 100, 1024)
    ids = tokenizer.encode("<|end|><|pad|>")
    assert set(tokenizer.special_ids.values()).isdisjoint(ids)
    assert list(tokenizer.special_ids) == list(SPECIAL_TOKENS)

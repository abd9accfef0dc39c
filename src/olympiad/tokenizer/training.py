"""Train a tokenizer: byte-level BPE from any stream of texts, with the symbols of the table as single tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from .special import SPECIAL_TOKENS
from .symbols import MATH_SYMBOLS, is_latin1
from .tokenizer import SPLIT_PATTERNS, MathTokenizer, TokenizerError, splitter

Digits = Literal["single", "up_to_three"]


def train_tokenizer(texts: Iterable[str], vocab_size: int = 32_768, digits: Digits = "single") -> MathTokenizer:
    """Train a tokenizer of exactly ``vocab_size`` entries (fewer only where the texts are too short for more).

    The same texts in any order give the same file.

    Args:
        texts: the training texts, read once.
        vocab_size: special tokens, symbols and 256 bytes included.
        digits: ``"single"``: each digit is a token; ``"up_to_three"``: groups of one to three, from the left.

    Raises:
        TokenizerError: ``vocab_size`` leaves no room for what has to be there, or there is no text.
    """
    added = [symbol for symbol in MATH_SYMBOLS if not is_latin1(symbol)]
    merged = [symbol for symbol in MATH_SYMBOLS if is_latin1(symbol)]
    least = len(SPECIAL_TOKENS) + 256 + len(added) + len(merged)
    if vocab_size < least:
        raise TokenizerError(
            f"a vocabulary of {vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens, 256 bytes and "
            f"{len(added) + len(merged)} symbols make {least}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter(SPLIT_PATTERNS[digits])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(added) - len(merged),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces = _between_symbols(texts)
    first = next(pieces, None)
    if first is None:
        raise TokenizerError("there is no text to train on")
    try:
        tokenizer.train_from_iterator(chain([first], pieces), trainer=trainer)
    except (UnicodeEncodeError, TypeError) as error:
        raise TokenizerError(f"a training text is not Unicode (it holds a lone surrogate): {error}") from error
    tokenizer = _merge_first(tokenizer, merged)
    tokenizer.add_tokens([AddedToken(symbol, special=False, normalized=False) for symbol in added])
    return MathTokenizer.from_json(tokenizer.to_str())


def _between_symbols(texts: Iterable[str]) -> Iterator[str]:
    """What byte-pair encoding will see: the text between the symbols, which are cut out first, longest first."""
    symbols = re.compile("|".join(map(re.escape, sorted(MATH_SYMBOLS, key=len, reverse=True))))
    for text in texts:
        yield from filter(None, symbols.split(text))


def _merge_first(tokenizer: Tokenizer, symbols: list[str]) -> Tokenizer:
    """Make each two-byte symbol one token by a merge that goes before all learned ones."""
    description = json.loads(tokenizer.to_str())
    model = description["model"]
    stand_in = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    first = []
    for symbol in symbols:
        left, right = list(stand_in.pre_tokenize_str(symbol)[0][0])
        first.append([left, right])
        model["vocab"].setdefault(left + right, len(model["vocab"]))
    model["merges"] = first + [merge for merge in model["merges"] if merge not in first]
    return Tokenizer.from_str(json.dumps(description, ensure_ascii=False))

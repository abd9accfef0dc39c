"""Text <-> ids: byte-level BPE with single-token mathematics, lossless on every Unicode string."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, pre_tokenizers

from olympiad.errors import UserError

from .special import BEGIN, END, NEEDED_TOKENS, PAD, SPECIAL_TOKENS
from .symbols import MATH_SYMBOLS

SHIPPED_TOKENIZER = Path(__file__).with_name("tokenizer.json")


#: How text is cut before BPE. Both are the patterns of tokenizers in wide use (Qwen2's and Llama 3's), for one reason:
#: llama.cpp knows these two by name and no others of ours, so that a GGUF file encodes as we do.
SPLIT_PATTERNS = {
    digits: (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # English contractions
        r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the character before it
        rf"|{number}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"  # spaces
    )
    for digits, number in {"single": r"\p{N}", "up_to_three": r"\p{N}{1,3}"}.items()
}


def splitter(pattern: str) -> pre_tokenizers.PreTokenizer:
    """What cuts text into pieces by ``pattern``, and writes their bytes as the characters that stand for them."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


class TokenizerError(UserError, ValueError):
    """A tokenizer file, or a text, that can't be used."""


class MathTokenizer:
    """Byte-level BPE over mathematical text.

    ``decode(encode(text)) == text`` for every Unicode string. Text that spells a special token (``<|end|>``) is
    encoded as the plain characters that it is: only the renderer puts special ids into a sequence.

    Args:
        path: a ``tokenizer.json`` or a folder that holds one; the shipped 32,768-entry vocabulary by default.

    >>> tokenizer = MathTokenizer()
    >>> tokenizer.decode(tokenizer.encode("∀x: x² ≥ 0"))
    '∀x: x² ≥ 0'
    >>> len(tokenizer.encode("1234")), len(tokenizer.encode(r"\\frac")), len(tokenizer.encode("∀"))
    (4, 1, 1)
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        file = SHIPPED_TOKENIZER if path is None else Path(path)
        if file.is_dir():
            file = file / "tokenizer.json"
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise TokenizerError(f"no tokenizer at {file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{file} is not a tokenizer.json: it is not even text in UTF-8 ({error})") from error
        self._load(text, str(file))

    def _load(self, text: str, origin: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises a bare Exception, whatever is wrong with the file
            raise TokenizerError(f"{origin} is not a tokenizer.json that the tokenizers library can read: {error}") from error
        missing = [token for token in NEEDED_TOKENS if self._tokenizer.token_to_id(token) is None]
        if missing:
            raise TokenizerError(
                f"{origin} lacks the special tokens {', '.join(missing)}: train one with `olympiad tokenizer train`"
            )
        # Text is text: a user who writes "<|end|>" gets those seven characters, not the end of the document.
        self._tokenizer.encode_special_tokens = True
        # Transformers saves the limits of its last call with the file: never cut or pad a text because of those.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.json = text

    @classmethod
    def from_json(cls, text: str) -> MathTokenizer:
        """The tokenizer whose ``tokenizer.json`` is ``text`` (as a checkpoint carries it)."""
        tokenizer = cls.__new__(cls)
        tokenizer._load(text, "the given text")
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, without any special token.

        Raises:
            TypeError: ``text`` is no str.
            TokenizerError: ``text`` holds a lone surrogate, which no Unicode encoding can express.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is a {type(text).__name__}, expected a str: {text!r:.80}")
        if not text.isascii() or self._ascii is None:
            return self._by_library(text)
        symbols, pieces, ids_of = self._ascii
        ids: list[int] = []
        for number, part in enumerate(symbols.split(text)):  # at odd numbers the symbols, at even what lies between
            for piece in (part,) if number % 2 else pieces.findall(part):
                ids += ids_of[piece]
        return ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each text."""
        if isinstance(texts, str):
            raise TypeError(f"encode_batch takes a list of texts, got one text ({texts!r:.80}): call encode")
        return [self.encode(text) for text in texts]

    def _by_library(self, text: str) -> list[int]:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:  # the one or the other, by the library's version
            raise TokenizerError(
                "the text holds a lone surrogate (half of a character pair), so it is not Unicode: "
                "repair it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
            ) from error

    @cached_property
    def _ascii(self) -> tuple[re.Pattern[str], re.Pattern[str], _PieceIds] | None:
        """For ASCII text: what finds the symbols, what cuts the text between them, and the ids of a piece.

        The library spends most of its time on allocations for each piece that it cuts a text into, little on byte-pair
        encoding. Mathematics has few distinct pieces: to cut as the library does and look up what it said of each piece
        is three to four times as fast. None where the tokenizer cuts by another pattern than ours.
        """
        cut_by = self._tokenizer.pre_tokenizer.__getstate__() if self._tokenizer.pre_tokenizer else None
        ours = next((pattern for pattern in SPLIT_PATTERNS.values() if splitter(pattern).__getstate__() == cut_by), None)
        added = self._tokenizer.get_added_tokens_decoder().values()
        symbols = [token.content for token in added if not token.special and token.content.isascii()]
        if ours is None or self._tokenizer.normalizer or not symbols:
            return None
        pattern = ours.replace(r"\p{L}\p{N}]", "A-Za-z0-9]").replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")
        return re.compile(f"({_longest_of(symbols)})"), re.compile(pattern, re.ASCII), _PieceIds(self._tokenizer)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ``ids``; bytes that are no UTF-8 (a cut character) become U+FFFD.

        Raises:
            TokenizerError: an id outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        outside = next((i for i in ids if not 0 <= i < self.vocab_size), None)
        if outside is not None:
            raise TokenizerError(f"id {outside} is outside this tokenizer's vocabulary of {self.vocab_size}")
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    @cached_property
    def vocab_size(self) -> int:
        """Entries, special tokens included; ids are ``0 <= id < vocab_size``."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def math_symbols(self) -> dict[str, int]:
        """Each mathematical symbol that is one token, and its id."""
        encoded = zip(MATH_SYMBOLS, self.encode_batch(list(MATH_SYMBOLS)), strict=True)
        return {symbol: ids[0] for symbol, ids in encoded if len(ids) == 1}

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Each special token and its id."""
        ids = ((token, self._tokenizer.token_to_id(token)) for token in SPECIAL_TOKENS)
        return {token: id for token, id in ids if id is not None}

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """Bytes of UTF-8 that each id stands for, (V,) int64; 0 for special tokens.

        >>> tokenizer = MathTokenizer()
        >>> int(tokenizer.byte_lengths[tokenizer.encode("x = √2, naïve")].sum()), len("x = √2, naïve".encode())
        (16, 16)
        """
        added = self._tokenizer.get_added_tokens_decoder()
        lengths = np.zeros(self.vocab_size, np.int64)
        for id in range(self.vocab_size):
            if id in added:
                lengths[id] = 0 if added[id].special else len(added[id].content.encode())
            else:
                lengths[id] = len(self._tokenizer.id_to_token(id) or "")  # one character stands for one byte
        return lengths

    @property
    def pad_id(self) -> int:
        return self.special_ids[PAD]

    @property
    def begin_id(self) -> int:
        return self.special_ids[BEGIN]

    @property
    def end_id(self) -> int:
        return self.special_ids[END]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's JSON: equal fingerprints encode alike."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.json`` and the ``tokenizer_config.json`` with which Transformers' ``AutoTokenizer`` loads it."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tokenizer.json").write_text(self.json, encoding="utf-8")
            (folder / "tokenizer_config.json").write_text(json.dumps(TRANSFORMERS_CONFIG, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise TokenizerError(f"can't write a tokenizer into the folder {folder}: {error.strerror}") from error

    def __reduce__(self) -> tuple[object, ...]:
        return MathTokenizer.from_json, (self.json,)

    def __len__(self) -> int:
        return self.vocab_size


class _PieceIds(dict[str, list[int]]):
    """Piece of text -> its ids, from the library where it is new."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, piece: str) -> list[int]:
        ids = self._tokenizer.encode(piece, add_special_tokens=False).ids
        if len(piece) <= 64 and len(self) < 100_000:  # some 25 MB when full
            self[piece] = ids
        return ids


def _longest_of(words: Iterable[str]) -> str:
    """A regular expression for the longest word that fits: a tree of first letters, where plain "a|b" tries each in turn."""
    tree: dict[str, list[str]] = {}
    ends = False
    for word in words:
        ends = ends or not word
        if word:
            tree.setdefault(word[0], []).append(word[1:])
    branches = "|".join(re.escape(letter) + _longest_of(rest) for letter, rest in tree.items())
    return f"(?:{branches})" + "?" * ends if branches else ""


#: What Transformers needs beside tokenizer.json to encode and decode as we do.
TRANSFORMERS_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": BEGIN,
    "eos_token": END,
    "pad_token": PAD,
    "clean_up_tokenization_spaces": False,
    "split_special_tokens": True,  # user text never becomes a special token
}

"""Text <-> ids: byte-level BPE with single-token mathematics, lossless on every Unicode string."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from .special import BEGIN, END, PAD, SPECIAL_TOKENS
from .symbols import MATH_SYMBOLS

SHIPPED_TOKENIZER = Path(__file__).with_name("tokenizer.json")


class TokenizerError(ValueError):
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
        self._load(text, str(file))

    def _load(self, text: str, origin: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises a bare Exception, whatever is wrong with the file
            raise TokenizerError(f"{origin} is not a tokenizer.json that the tokenizers library can read: {error}") from error
        missing = [token for token in SPECIAL_TOKENS[:12] if self._tokenizer.token_to_id(token) is None]
        if missing:
            raise TokenizerError(
                f"{origin} lacks the special tokens {', '.join(missing)}: train one with `olympiad tokenizer train`"
            )
        # Text is text: a user who writes "<|end|>" gets those seven characters, not the end of the document.
        self._tokenizer.encode_special_tokens = True
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
            TokenizerError: ``text`` holds a lone surrogate, which no Unicode encoding can express.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, on all cores."""
        try:
            if len(texts) == 1:
                return [self._tokenizer.encode(texts[0], add_special_tokens=False).ids]
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encodings]
        except (UnicodeEncodeError, TypeError) as error:
            for row, text in enumerate(texts):
                if not isinstance(text, str):
                    raise TypeError(f"text {row} is a {type(text).__name__}, expected a str: {text!r:.80}") from error
            raise TokenizerError(
                "the text holds a lone surrogate (half of a character pair), so it is not Unicode: "
                "repair it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
            ) from error

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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(self.json, encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(TRANSFORMERS_CONFIG, indent=2) + "\n", encoding="utf-8")

    def __reduce__(self) -> tuple[object, ...]:
        return MathTokenizer.from_json, (self.json,)

    def __len__(self) -> int:
        return self.vocab_size


#: What Transformers needs beside tokenizer.json to encode and decode as we do.
TRANSFORMERS_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": BEGIN,
    "eos_token": END,
    "pad_token": PAD,
    "clean_up_tokenization_spaces": False,
    "split_special_tokens": True,  # user text never becomes a special token
}

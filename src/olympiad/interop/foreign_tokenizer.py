"""Tokenizers that are not ours: any ``tokenizer.json``, its chat template, and the ids that end a text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from olympiad.tokenizer import MathTokenizer
from olympiad.tokenizer.special import NEEDED_TOKENS
from olympiad.tokenizer.tokenizer import TokenizerError

from .chat import render_chat
from .errors import InteropError
from .weights import read_json

#: What goes along with a tokenizer, unchanged, where a folder holds it.
_SIDE_FILES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("generation_config.json", "tokenizer.model", "vocab.json", "merges.txt"),
)
#: Tokens of an answer's own reasoning, by which templates find it.
_REASONING = ("<think>", "</think>")
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")


class ForeignTokenizer:
    """A tokenizer of somebody else, over the ``tokenizers`` library.

    Text is text, as with ours: what spells a special token in it is encoded as plain characters. Added tokens that are not
    flagged as special (Qwen3's ``<think>``) are read in a whole text, as the library and Transformers do, but never in a
    message of a chat.

    Args:
        text: the content of ``tokenizer.json``.
        files: what belongs to it by file name: ``tokenizer_config.json``, ``generation_config.json``, ...
        config: the model's ``config.json``, which may name the ids that end a text.
        origin: where it came from, for errors.

    Raises:
        InteropError: it can't be read.
    """

    def __init__(
        self,
        text: str,
        files: Mapping[str, bytes] | None = None,
        config: Mapping[str, Any] | None = None,
        origin: str = "the tokenizer",
    ) -> None:
        try:
            self._tokenizer = _tokenizer(text)
        except Exception as error:  # the library raises a bare Exception, whatever is wrong with the file
            raise InteropError(f"{origin} is not a tokenizer.json that the tokenizers library can read: {error}") from error
        self.json = text
        self.files = dict(files or {})
        self._config = dict(config or {})
        # Older repositories name the special tokens in a file of their own.
        named = {name: token for name, token in self._object("special_tokens_map.json", origin).items() if name in _NAMED}
        settings = self._object("tokenizer_config.json", origin)
        self._settings = named | {name: value for name, value in settings.items() if value is not None}
        self._generation = self._object("generation_config.json", origin)

    def _object(self, file: str, origin: str) -> dict[str, Any]:
        try:
            content = json.loads(self.files.get(file, b"{}"))
        except (ValueError, RecursionError) as error:
            raise InteropError(f"the {file} beside {origin} is not JSON ({error}): get it from its source again") from error
        return content if isinstance(content, dict) else {}

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, without any special token.

        Raises:
            TokenizerError: ``text`` holds a lone surrogate, which no Unicode encoding can express.
        """
        return _ids(self._tokenizer, text)

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each text."""
        return [self.encode(text) for text in texts]

    def prompt_ids(self, text: str) -> list[int]:
        """The ids of a text at the beginning of a document: behind what the tokenizer puts there (Llama's begin token)."""
        return _ids(self._tokenizer, text, add_special_tokens=True)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ``ids``; ids that the model has and the tokenizer has not (padding of the vocabulary) are no text."""
        return self._tokenizer.decode(
            [int(i) for i in ids if 0 <= i < self.vocab_size], skip_special_tokens=skip_special_tokens
        )

    @cached_property
    def vocab_size(self) -> int:
        """Above every id, added tokens included; the model may have more."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """``bos_token`` and the like, as far as there are any, as text."""
        named = {name: self._settings.get(name) for name in _NAMED}
        plain = {name: token.get("content") if isinstance(token, dict) else token for name, token in named.items()}
        return {name: token for name, token in plain.items() if isinstance(token, str)}

    def id_of(self, name: str) -> int | None:
        """The id of a named special token (``"bos_token"``); None where there is none."""
        token = self.special_tokens.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """The ids after which a text ends, by the generation config, the model's config and the tokenizer's."""
        found: list[int] = []
        for given in (self._generation.get("eos_token_id"), self._config.get("eos_token_id"), self.id_of("eos_token")):
            found += [id for id in (given if isinstance(given, list) else [given]) if isinstance(id, int)]
        found = [id for id in found if 0 <= id < self.vocab_size]  # some configs say -1
        return tuple(dict.fromkeys(found))

    @property
    def end_id(self) -> int:
        """The first of ``end_ids``."""
        if not self.end_ids:
            raise InteropError("this tokenizer names no token that ends a text: add eos_token_id to generation_config.json")
        return self.end_ids[0]

    @property
    def pad_id(self) -> int:
        """What fills rows that have ended; no text is made of it."""
        pad = self.id_of("pad_token")
        return pad if pad is not None else next(iter(self.end_ids), 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's JSON: equal fingerprints encode alike."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @cached_property
    def chat_template(self) -> str | None:
        """The Jinja template of a conversation, if there is one."""
        if (file := self.files.get("chat_template.jinja")) is not None:
            return file.decode("utf-8", "replace")
        template = self._settings.get("chat_template")
        if isinstance(template, list):  # several, by name
            named = {each["name"]: each["template"] for each in template if isinstance(each, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
        """The ids of a conversation (``[{"role": "user", "content": ...}]``), up to where the model answers.

        A message that spells an added token stays what it says: plain characters. Only an answer's marks of reasoning
        (``<think>``) stay what they are for the template, which cuts the reasoning out of earlier answers.

        Returns:
            None where the model has no chat template.

        Raises:
            InteropError: the template fails or refuses the conversation, or jinja2 is missing.
        """
        if self.chat_template is None:
            return None
        plain: list[str] = []  # added tokens spelt in messages: stand-ins take their places until the template is filled

        def stand_in(match: re.Match[str]) -> str:
            plain.append(match.group())
            return f"\ue000{len(plain) - 1}\ue001"

        def safe(message: Mapping[str, str]) -> dict[str, str]:
            spelt = self._spellings[message.get("role") == "assistant"]
            return {name: spelt.sub(stand_in, said) if isinstance(said, str) else said for name, said in message.items()}

        rendered = render_chat(self.chat_template, [safe(each) for each in messages], self.special_tokens)
        ids: list[int] = []
        for number, part in enumerate(re.split("\ue000([0-9]+)\ue001", rendered) if plain else [rendered]):
            ids += _ids(self._plain, plain[int(part)]) if number % 2 else _ids(self._marked, part)
        return ids

    @cached_property
    def _spellings(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """What stands for an added token in a message, and what looks like a stand-in; then the same for answers."""
        added = sorted((token.content for token in self._tokenizer.get_added_tokens_decoder().values()), key=len, reverse=True)
        patterns = (
            [*map(re.escape, tokens), "\ue000[0-9]+\ue001"]
            for tokens in (added, [each for each in added if each not in _REASONING])
        )
        anyone, assistant = (re.compile("|".join(each)) for each in patterns)
        return anyone, assistant

    @cached_property
    def _marked(self) -> Tokenizer:
        """Reads every added token: for what a template writes. Another object, since the switch is shared by all threads."""
        return _tokenizer(self.json, encode_special_tokens=False)

    @cached_property
    def _plain(self) -> Tokenizer:
        """Reads no added token."""
        return _tokenizer(json.dumps({**json.loads(self.json), "added_tokens": []}))

    def __reduce__(self) -> tuple[object, ...]:
        return ForeignTokenizer, (self.json, self.files, self._config)

    def __len__(self) -> int:
        return self.vocab_size


def _tokenizer(text: str, encode_special_tokens: bool = True) -> Tokenizer:
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = encode_special_tokens
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _ids(tokenizer: Tokenizer, text: str, add_special_tokens: bool = False) -> list[int]:
    try:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
    except (UnicodeEncodeError, TypeError) as error:  # the one or the other, by the library's version
        raise TokenizerError(f"a text that is no Unicode can't be encoded: {error}") from error


def read_tokenizer(folder: Path, config: Mapping[str, Any]) -> MathTokenizer | ForeignTokenizer:
    """The tokenizer of a Hugging Face folder: ours if it has the tokens that our renderer needs.

    Raises:
        InteropError: none there, or none that can be read.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise InteropError(
            f"{folder} holds no tokenizer.json. Where it has another form of the tokenizer, Transformers makes one: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    try:
        text = file.read_text(encoding="utf-8")
        files = {name: (folder / name).read_bytes() for name in _SIDE_FILES if (folder / name).is_file()}
    except (OSError, UnicodeDecodeError) as error:
        raise InteropError(f"can't read the tokenizer in {folder}: {error}") from error
    return tokenizer_from_json(text, files, config, str(file))


def tokenizer_from_json(
    text: str, files: Mapping[str, bytes], config: Mapping[str, Any], origin: str
) -> MathTokenizer | ForeignTokenizer:
    """Ours if it has the tokens that our renderer needs, else a foreign one."""
    foreign = ForeignTokenizer(text, files, config, origin)
    has_ours = all(foreign._tokenizer.token_to_id(token) is not None for token in NEEDED_TOKENS)
    return MathTokenizer.from_json(text) if has_ours else foreign


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a Hugging Face folder.

    Raises:
        InteropError: no such folder or file, or no JSON.
    """
    if not folder.is_dir():
        raise InteropError(f"no model folder at {folder}")
    if not (folder / "config.json").exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InteropError(f"{folder} is no model folder: expected a config.json, found {found}")
    return read_json(folder / "config.json")

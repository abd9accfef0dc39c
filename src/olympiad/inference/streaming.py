"""Tokens -> text while they come: never half a character, never the beginning of what may become a stop string."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

REPLACEMENT = "\ufffd"  # what a decoder puts for bytes that are no character, or not one yet


class Tokenizer(Protocol):
    """What the engine needs of a tokenizer: ours and :class:`olympiad.interop.ForeignTokenizer` both have it."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str: ...

    @property
    def vocab_size(self) -> int: ...


class TextStream:
    """The text of one row, as its tokens come.

    Bytes of a character that is not complete are held back, and so is text that may be the beginning of a stop string:
    what ``take`` returns, joined, is the final text, which ends before the stop string that is complete first.

    >>> from olympiad.tokenizer import MathTokenizer
    >>> tokenizer = MathTokenizer()
    >>> stream, shown = TextStream(tokenizer, ("\\n\\n",)), []
    >>> for token in tokenizer.encode("So 7 🙂.\\n\\nProblem:"):
    ...     stopped = stream.add(token)
    ...     shown.append(stream.take())
    ...     if stopped:
    ...         break
    >>> "".join(shown), all("\\ufffd" not in piece for piece in shown)
    ('So 7 🙂.', True)
    """

    def __init__(self, tokenizer: Tokenizer, stop_strings: tuple[str, ...] = ()) -> None:
        self.text = ""
        self._tokenizer, self._stop_strings = tokenizer, stop_strings
        self._longest_stop = max(map(len, stop_strings), default=0)
        self._ids: list[int] = []
        # ids before _read are in the text; decoding begins at _start, some ids earlier, since how a token is written
        # may depend on the one before it
        self._start = self._read = 0
        self._taken = 0
        self._stopped = False

    def add(self, token: int) -> bool:
        """Take a token in; whether a stop string is complete, which ends the text before it."""
        self._ids.append(token)
        new = self._undecoded()
        if new and not new.endswith(REPLACEMENT):
            self._append(new)
        return self._stopped

    def take(self) -> str:
        """The text that is certain and was not taken yet."""
        held = 0 if self._stopped else max((_overlap(self.text, stop) for stop in self._stop_strings), default=0)
        piece = self.text[self._taken : len(self.text) - held]
        self._taken += len(piece)
        return piece

    def finish(self) -> str:
        """No more tokens come: what is left of the text."""
        if not self._stopped and (new := self._undecoded()):
            self._append(new)
        self._stop_strings = ()
        return self.take()

    def _undecoded(self) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._read])
        return self._tokenizer.decode(self._ids[self._start :])[len(before) :]

    def _append(self, new: str) -> None:
        searched = max(len(self.text) - self._longest_stop + 1, 0)
        self.text += new
        self._start, self._read = self._read, len(self._ids)
        found = [(place + len(stop), place) for stop in self._stop_strings if (place := self.text.find(stop, searched)) >= 0]
        if found:  # the one that is complete first, however the text is cut into tokens
            self.text, self._stopped = self.text[: min(found)[1]], True


def _overlap(text: str, stop: str) -> int:
    """How much of the text's end is the beginning of ``stop``.

    >>> _overlap("so 4.\\n", "\\n\\n"), _overlap("so 4.", "\\n\\n"), _overlap("aab", "abc")
    (1, 0, 2)
    """
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)

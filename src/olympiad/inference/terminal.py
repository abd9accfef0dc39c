"""Answers on a terminal: Markdown, and simple mathematics as Unicode."""

from __future__ import annotations

import re
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from olympiad.plain_math import unicode_formula
from olympiad.tokenizer.special import ANSWER, END

_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$((?:[^$\\\n]|\\.)+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)


def as_text(text: str) -> str:
    """What a model writes, for readers: formulas as Unicode, the marks of our documents as words.

    >>> as_text(r"So $x_1^2 + \\frac{3}{4} \\le \\sqrt{2}$.<|answer|>$\\boxed{7}$<|end|>")
    'So x₁² + 3/4 ≤ √2.\\n\\n**Answer:** 7'
    """
    text = text.replace(END, "").replace(ANSWER, "\n\n**Answer:** ")
    return _FORMULA.sub(lambda match: unicode_formula(next(part for part in match.groups() if part is not None)), text)


class AnswerView:
    """Shows an answer while it comes: on a terminal as Markdown, paragraph by paragraph, elsewhere as plain text."""

    def __init__(self, console: Console) -> None:
        self._console, self._pending, self._empty = console, "", True
        self._live = Live(console=console, transient=True, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> AnswerView:
        if self._live is not None:
            self._live.start()
        return self

    def add(self, piece: str) -> None:
        """Show some more text."""
        self._empty = False
        if self._live is None:
            print(piece, end="", flush=True, file=self._console.file)
            return
        self._pending += piece
        while "\n\n" in self._pending and not self._pending.partition("\n\n")[0].count("```") % 2:
            paragraph, _, self._pending = self._pending.partition("\n\n")
            self._console.print(Markdown(as_text(paragraph)))
        self._live.update(Markdown(as_text(self._pending)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is None:
            if not self._empty or error is None:
                print(file=self._console.file)
            return
        self._live.update("")
        self._live.stop()
        self._console.print(Markdown(as_text(self._pending)))

"""A conversation in the terminal."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from olympiad.errors import UserError
from olympiad.model.sampling import SamplingOptions

from .engine import Engine
from .prompts import chat_ids
from .terminal import AnswerView


class Chat:
    """Reads lines, answers each, and obeys those that begin with "/"."""

    def __init__(self, engine: Engine, sampling: SamplingOptions, console: Console) -> None:
        self.engine, self.sampling, self.console = engine, sampling, console
        self.messages: list[dict[str, str]] = []
        self.commands: dict[str, tuple[Callable[[str], None], str]] = {
            "/retry": (self._retry, "answer the last question again, with the next seed"),
            "/seed": (self._seed, "N: seed of the sampling"),
            "/temperature": (self._temperature, "X: 0 takes the most probable token each time"),
            "/clear": (self._clear, "forget the conversation"),
            "/save": (self._save, "FILE: write the conversation as Markdown"),
            "/help": (self._help, "this list"),
            "/quit": (self._quit, "leave"),
        }

    def run(self) -> None:
        """Until /quit or the end of the input."""
        self.running = True
        if sys.stdin.isatty():
            self._help("")
        for line in self._lines():
            try:
                self._obey(line) if line.startswith("/") else self._ask(line)
            except UserError as error:
                self._say(f"error: {error}")
            except ValidationError as error:
                self._say("error: " + "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors()))
            except KeyboardInterrupt:
                self._say("stopped")
            if not self.running:
                return

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                line = input("\n> " if sys.stdin.isatty() else "").strip()
            except (EOFError, KeyboardInterrupt):
                return
            if line:
                yield line

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word not in self.commands:
            near = difflib.get_close_matches(word, self.commands, n=1)
            raise UserError(f"no command {word}; " + (f"did you mean {near[0]}?" if near else "/help lists them"))
        self.commands[word][0](rest.strip())

    def _ask(self, question: str, history: Sequence[dict[str, str]] | None = None) -> None:
        """Answer, after ``history`` or all that was said; where that fails, the conversation is as it was."""
        history = self.messages if history is None else history
        messages = [*history, {"role": "user", "content": question}]
        shown: list[str] = []
        try:
            ids = self._ids(messages)
            with AnswerView(self.console) as view:

                def show(prompt: int, sample: int, piece: str) -> None:
                    shown.append(piece)
                    view.add(piece)

                self.engine.generate([ids], self.sampling, on_token=show)
        except (UserError, KeyboardInterrupt):
            if not shown:
                raise
            self._say("stopped")
        self.messages = [*messages, {"role": "assistant", "content": "".join(shown)}]

    def _ids(self, messages: Sequence[dict[str, str]]) -> list[int]:
        tokenizer, most = self.engine.tokenizer, self.engine.max_length
        ids: list[int] = chat_ids(tokenizer, messages)  # type: ignore[arg-type]
        if len(ids) >= most > len(chat_ids(tokenizer, messages[-1:])):  # type: ignore[arg-type]
            raise UserError(
                f"the conversation has {len(ids):,} tokens, the model a context of {most:,}: "
                "/clear forgets it, then ask again; /save FILE keeps it before"
            )
        return ids

    def _retry(self, _: str) -> None:
        if not self.messages:
            raise UserError("nothing was asked yet")
        if self.sampling.temperature == 0:
            raise UserError("the temperature is 0, so the answer would be the same: /temperature 0.7 first")
        self._seed(str((self.sampling.seed or 0) + 1))
        self._ask(self.messages[-2]["content"], self.messages[:-2])

    def _clear(self, _: str) -> None:
        self.messages = []
        self._say("the conversation is forgotten")

    def _seed(self, text: str) -> None:
        self._set("seed", text)

    def _temperature(self, text: str) -> None:
        self._set("temperature", text)

    def _set(self, name: str, text: str) -> None:
        self.sampling = SamplingOptions.model_validate({**self.sampling.model_dump(), name: text})
        self._say(f"{name} {text}")

    def _save(self, text: str) -> None:
        if not text:
            raise UserError("/save needs a file: /save conversation.md")
        path = Path(text).expanduser()
        parts = [f"**{each['role']}**\n\n{each['content']}\n" for each in self.messages]
        try:
            path.write_text("\n".join(parts), encoding="utf-8")
        except OSError as error:
            raise UserError(f"can't write {path}: {error.strerror}") from error
        self._say(f"{len(self.messages)} messages written to {path}")

    def _help(self, _: str) -> None:
        for word, (_action, meaning) in self.commands.items():
            self._say(f"{word:<14}{meaning}")

    def _quit(self, _: str) -> None:
        self.running = False

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, style="dim", soft_wrap=True)

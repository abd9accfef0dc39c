"""The command line: ``olympiad <verb>``. Each verb imports what it needs when it is called."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import tyro
from pydantic import ValidationError
from rich.console import Console

from olympiad.errors import UserError

from . import checkpoint, data, evaluation, inference, interop, training, verification

T = TypeVar("T")


def run_command(command: Callable[[T], None], options: type[T], arguments: Sequence[str] | None = None) -> int:
    """Parse the command line into ``options``, run ``command`` on them, and return the exit code.

    What the user can mend is one message without a traceback (exit code 1); a run that was asked to stop ends with the
    code of its signal.
    """
    return _guarded(lambda: command(tyro.cli(options, args=arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    """``olympiad <verb> ...``; the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    words = " ".join(arguments[:2])
    for verb, run in VERBS.items():
        if words == verb or words.startswith(f"{verb} "):
            return _guarded(partial(run, arguments[len(verb.split()) :]))
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: olympiad VERB ... (olympiad VERB --help tells more)\n")
        for verb, run in VERBS.items():
            print(f"  {verb:<20}{(run.__doc__ or '').splitlines()[0]}")
        return 0
    near = difflib.get_close_matches(words, VERBS, n=1, cutoff=0.4) or difflib.get_close_matches(arguments[0], VERBS, n=1)
    return _fail(
        f"no verb {arguments[0]!r}; " + (f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(VERBS)}")
    )


def _guarded(command: Callable[[], None]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no "✓" shows "?", and the run goes on
            stream.reconfigure(errors="replace")
    try:
        command()
    except BrokenPipeError:  # whoever read the output has gone: olympiad ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        return _fail(str(error))
    except ValidationError as error:
        mistakes = (
            f"{'.'.join(map(str, m['loc'])) or error.title}: {m['msg'].removeprefix('Value error, ')}" for m in error.errors()
        )
        return _fail("; ".join(mistakes))
    except KeyboardInterrupt as stop:
        return getattr(stop, "exit_code", 130)
    return 0


def _fail(message: str) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(f"error: {message}", markup=False)
    return 1


VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": training.train,
    "tokenizer train": training.tokenizer_train,
    "generate": inference.generate,
    "chat": inference.chat,
    "solve": inference.solve,
    "report": training.report,
    "checkpoint inspect": checkpoint.inspect,
    "checkpoint verify": checkpoint.verify,
    "checkpoint convert": checkpoint.convert,
    "evaluate": evaluation.evaluate,
    "evaluate-steps": evaluation.evaluate_steps,
    "compare": evaluation.compare,
    "import": interop.import_,
    "export": interop.export,
    "data list": data.list_sources,
    "data prepare": data.prepare,
    "data show": data.show,
    "data report": data.report,
    "data generate": data.generate,
    "data decontaminate": data.decontaminate,
    "verify": verification.verify,
    "verify-file": verification.verify_file,
}

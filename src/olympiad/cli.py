"""The command line: ``olympiad <verb>``. Each verb imports what it needs when it is called."""

# Annotations are not postponed here: tyro has to see the types of a class that is made inside a function.

import difflib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro
from pydantic import ValidationError
from rich.console import Console

from olympiad.errors import UserError

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


def train(arguments: list[str]) -> None:
    """Train a model: olympiad train RUN.toml [--resume] [--training.learning-rate 3e-4 ...]"""
    from olympiad.config import RunConfig, load_run
    from olympiad.training.recipe import run_recipe

    @dataclass
    class Command:
        """Train a model as a recipe says; any setting of the recipe can be changed here."""

        run: Annotated[RunConfig, tyro.conf.arg(name="")]
        resume: bool = False
        """Go on from the newest checkpoint in the run's folder."""

    recipe, rest = (None, arguments) if not arguments or arguments[0].startswith("-") else (arguments[0], arguments[1:])
    if recipe is None and not {"-h", "--help"} & set(arguments):
        raise UserError("olympiad train needs a recipe first, such as: olympiad train configs/math-small.toml")
    default = Command(RunConfig() if recipe is None else load_run(recipe))
    command = tyro.cli(
        Command, default=default, args=rest, prog=f"olympiad train {recipe or 'RUN.toml'}", config=(tyro.conf.AvoidSubcommands,)
    )
    run_recipe(command.run, resume=command.resume)


def tokenizer_train(arguments: list[str]) -> None:
    """Train a tokenizer on the training sets and the corpus of OLYMPIAD_DATA, or on files of yours"""
    tyro.cli(_tokenizer_train, args=arguments, prog="olympiad tokenizer train")


def _tokenizer_train(
    output: Path,
    vocab_size: int = 32_768,
    digits: Literal["single", "up_to_three"] = "single",
    files: tuple[Path, ...] = (),
) -> None:
    """Train a tokenizer.

    Args:
        output: folder for tokenizer.json and what Transformers needs beside it.
        vocab_size: entries, special tokens and symbols included.
        digits: each digit a token, or groups of up to three.
        files: text files, or JSONL files with texts under "text", "problem", "question", "solution" or "answer".
    """
    from olympiad.data.texts import file_texts, tokenizer_texts
    from olympiad.tokenizer.training import train_tokenizer

    tokenizer = train_tokenizer(file_texts(files) if files else tokenizer_texts(), vocab_size, digits)
    tokenizer.save(output)
    print(f"{tokenizer.vocab_size:,} entries, {len(tokenizer.math_symbols)} of them symbols, written to {output}")


def generate(arguments: list[str]) -> None:
    """Let a checkpoint solve a problem: olympiad generate CHECKPOINT "What is 2 + 3?" """
    tyro.cli(_generate, args=arguments, prog="olympiad generate")


def _generate(
    checkpoint: tyro.conf.Positional[Path],
    problem: tyro.conf.Positional[str],
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> None:
    """Let a trained checkpoint solve a problem.

    Args:
        checkpoint: a .pt file of a run.
        problem: the problem's text.
        max_new_tokens: length of the solution, at most; less where the context ends.
        temperature: 0 takes the most probable token each time.
        top_p: sample from the most probable tokens that hold this much probability.
        seed: of the sampling.
    """
    import torch

    from olympiad.data.preprocessing import normalize_text
    from olympiad.tokenizer import render_prompt
    from olympiad.training.recipe import load_model

    statement = normalize_text(problem)  # as in training
    if not statement:
        raise UserError("the problem is empty: write its text after the checkpoint")
    model, tokenizer = load_model(checkpoint)
    prompt = render_prompt(tokenizer, statement)
    room = model.config.context_limit - len(prompt)
    if room < 1:
        raise UserError(
            f"the problem has {len(prompt)} tokens, the model a context of {model.config.context_limit}: shorten it"
        )
    ids = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=min(max_new_tokens, room),
        temperature=temperature,
        top_p=top_p,
        stop_tokens=(tokenizer.end_id,),
        seed=seed,
    )
    print(tokenizer.decode(ids[0, len(prompt) :].tolist()))


def data_decontaminate(arguments: list[str]) -> None:
    """Find training problems that are evaluation problems: --train FILE... --evaluate FILE... --out hits.json"""
    tyro.cli(_data_decontaminate, args=arguments, prog="olympiad data decontaminate")


def _data_decontaminate(train: tuple[Path, ...], evaluate: tuple[Path, ...], out: Path) -> None:
    """Find training problems that are evaluation problems: the same words, or a quarter of the runs of 13 words.

    Args:
        train: JSONL or Parquet files to train on.
        evaluate: files to report scores on.
        out: a JSON list of {train_file, train_row, evaluate_file, evaluate_row, rule, score}, rows counted from 0.
    """
    from olympiad.data.decontamination import find_contamination

    hits = find_contamination(train, evaluate)
    try:
        out.write_text(json.dumps(hits, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"can't write {out}: {error.strerror}") from error
    pairs = Counter((hit["train_file"], hit["evaluate_file"], hit["rule"]) for hit in hits)
    for (train_file, evaluate_file, rule), count in sorted(pairs.items()):
        print(f"{count:6,}  {rule:<9} {train_file} -> {evaluate_file}")
    print(f"{len(hits):6,}  pairs, {len({(hit['train_file'], hit['train_row']) for hit in hits}):,} training rows, in {out}")


VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "tokenizer train": tokenizer_train,
    "generate": generate,
    "data decontaminate": data_decontaminate,
}

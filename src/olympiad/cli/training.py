"""``olympiad train``, ``report`` and ``tokenizer train``."""

# Annotations are not postponed here: tyro has to see the types of a class that is made inside a function.

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from olympiad.errors import UserError
from olympiad.files import beside


def train(arguments: list[str]) -> None:
    """Train a model: olympiad train RUN.toml [--resume [auto]] [--dry-run] [--optimizer.learning-rate 3e-4 ...]"""
    from olympiad.config import RunConfig, load_run
    from olympiad.training.devices import ClusterOptions
    from olympiad.training.recipe import describe_recipe, run_recipe

    @dataclass
    class Command:
        """Train a model as a recipe says; any setting of the recipe can be changed here. --model.depth N derives the
        model's sizes, batch, learning rate and horizon, as far as they are not given."""

        run: Annotated[RunConfig, tyro.conf.arg(name="")]
        cluster: Annotated[ClusterOptions, tyro.conf.arg(name="")]
        resume: Literal["never", "always", "auto"] = "never"
        """Go on from the newest checkpoint in the run's folder: --resume alone means "always"; "auto" starts a new run
        where there is none."""
        dry_run: bool = False
        """Print the resolved run, its arithmetic, its memory, time and price, and stop."""

    recipe, rest = (None, arguments) if not arguments or arguments[0].startswith("-") else (arguments[0], arguments[1:])
    if recipe is None and not {"-h", "--help"} & set(arguments):
        raise UserError("olympiad train needs a recipe first, such as: olympiad train configs/math-small.toml")
    changes, rest = _take_depth(_resume_always(rest))
    run = RunConfig() if recipe is None else load_run(recipe, changes)
    command = tyro.cli(
        Command,
        default=Command(run, ClusterOptions()),
        args=rest,
        prog=f"olympiad train {recipe or 'RUN.toml'}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    if run.derived and recipe is not None:  # what is given here is not derived, and others follow from it
        command.run = load_run(recipe, {**changes, **_given_settings(rest, command.run.model_dump(mode="json"))})
    if command.dry_run:
        describe_recipe(command.run, command.cluster)
    elif command.cluster != ClusterOptions():
        raise UserError("--devices and what describes them are for an estimate: add --dry-run")
    else:
        run_recipe(command.run, command.resume)


def _take_depth(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """``--model.depth N`` as a change of the recipe, and the other arguments.

    >>> _take_depth(["--seed", "1", "--model.depth", "8"]), _take_depth(["--model.depth=8"])
    (({'model.depth': 8}, ['--seed', '1']), ({'model.depth': 8}, []))
    """
    changes: dict[str, Any] = {}
    rest: list[str] = []
    words = iter(arguments)
    for argument in words:
        name, equals, value = argument.partition("=")
        if name == "--model.depth":
            value = value if equals else next(words, "")
            changes["model.depth"] = int(value) if value.isdecimal() else value
        else:
            rest.append(argument)
    return changes, rest


def _given_settings(arguments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the arguments name, by their dotted names, with their values.

    >>> _given_settings(["--data.batch-size", "4", "--no-wandb"], {"data": {"batch_size": 4}, "wandb": False, "seed": 0})
    {'data.batch_size': 4, 'wandb': False}
    """
    given = {}
    for argument in arguments:
        if not argument.startswith("--"):
            continue
        *sections, field = argument[2:].partition("=")[0].replace("-", "_").split(".")
        table: Any = settings
        for section in sections:
            table = table.get(section) if isinstance(table, dict) else None
        for name in (field, field.removeprefix("no_")):
            if isinstance(table, dict) and name in table:
                given[".".join([*sections, name])] = table[name]
    return given


def _resume_always(arguments: list[str]) -> list[str]:
    """``--resume`` without a word behind it says "always".

    >>> _resume_always(["--resume", "--seed", "1"]), _resume_always(["--resume", "auto"])
    (['--resume', 'always', '--seed', '1'], ['--resume', 'auto'])
    """
    full: list[str] = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        full.append(argument)
        if argument == "--resume" and following not in ("never", "always", "auto"):
            full.append("always")
    return full


def report(arguments: list[str]) -> None:
    """Curves, validation and samples of a run as one HTML page, or of several side by side: RUN [RUN ...] [--png]"""
    tyro.cli(_report, args=arguments, prog="olympiad report")


def _report(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path | None = None, png: bool = False) -> None:
    """Write report.html (everything in one file) about a run, also while it goes on; several runs are compared.

    Args:
        runs: folders of runs.
        out: the file to write; report.html in the first folder if absent.
        png: write the pictures into report-images beside it, too.
    """
    from olympiad.training.report import write_report

    for path in write_report(runs, out, png):
        print(path, file=beside(path))


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

"""``olympiad data ...``: from problem sets to tokens."""

import json
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from olympiad.errors import UserError
from olympiad.files import beside, file_behind, written


def list_sources(arguments: list[str]) -> None:
    """The problem sets and corpora that are known, with licence and use: [--folder DIR]"""
    tyro.cli(_list, args=arguments, prog="olympiad data list")


def _list(folder: Path | None = None) -> None:
    """The problem sets and corpora that are known by name.

    Args:
        folder: where sets may lie; OLYMPIAD_DATA if absent.
    """
    from olympiad.data.listing import source_table
    from olympiad.data.loading import data_folder

    Console().print(source_table(data_folder(folder)))


def prepare(arguments: list[str]) -> None:
    """Clean, deduplicate, decontaminate, tokenise: RECIPE.toml --out DIR, or --sources math gsm8k --out DIR"""
    tyro.cli(_prepare, args=arguments, prog="olympiad data prepare")


def _prepare(
    recipe: tyro.conf.Positional[Path | None] = None,
    *,
    out: Path,
    sources: tuple[str, ...] = (),
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    restart: bool = False,
    keep_contaminated: bool = False,
) -> None:
    """Turn problem sets into tokens to train on; run the same command again to go on after an interruption.

    Args:
        recipe: a TOML file, see docs/preparing.md.
        out: the folder that is made.
        sources: sets of "olympiad data list", instead of a recipe: their training splits, each once.
        workers: processes; one a core if absent.
        engine: "ray" runs on the cluster that RAY_ADDRESS names, or on this machine.
        restart: throw away what the folder holds of another recipe.
        keep_contaminated: keep what is an evaluation problem, too.
    """
    from olympiad.config import load_recipe, parse_recipe
    from olympiad.data.prepare import prepare as prepare_folder
    from olympiad.data.show import mixture_tree, open_documents, shares_of

    if recipe is not None and sources:
        raise UserError("a recipe names its sources itself: leave --sources out, or the recipe")
    if recipe is None and not sources:
        raise UserError(
            "olympiad data prepare needs a recipe, or --sources NAME...: olympiad data prepare --sources math --out DIR"
        )
    options = load_recipe(recipe) if recipe else parse_recipe({"sources": {name: {} for name in sources}}, "--sources")
    if keep_contaminated:
        options = options.model_copy(update={"decontaminate": False})
    prepare_folder(options, out, workers, engine, restart)
    documents, _, manifest = open_documents(out)
    Console().print(mixture_tree(out, manifest, shares_of(documents, manifest)))


def show(arguments: list[str]) -> None:
    """What a prepared folder holds, as a tree; with --row N that document, with its loss mask in colour"""
    tyro.cli(_show, args=arguments, prog="olympiad data show")


def _show(folder: tyro.conf.Positional[Path], row: int | None = None, source: str | None = None) -> None:
    """The mixture of a prepared folder, or one of its documents.

    Args:
        row: number of a document, from 0; green is predicted, grey is only read.
        source: count within this source.
    """
    from olympiad.data.show import colour_document, mixture_tree, open_documents, shares_of

    documents, tokenizer, manifest = open_documents(folder)
    console = Console(highlight=False, soft_wrap=True)
    if row is None:
        Console(highlight=False).print(mixture_tree(folder, manifest, shares_of(documents, manifest)))
        return
    names = list(manifest["sources"])
    if source is not None and source not in names:
        raise UserError(f"no source {source!r} in {folder}, there are {', '.join(names)}")
    firsts = {name: sum(manifest["sources"][each]["documents"] for each in names[:place]) for place, name in enumerate(names)}
    first = firsts[source] if source else 0
    count = manifest["sources"][source]["documents"] if source else len(documents.lengths)
    if not 0 <= row < count:
        raise UserError(f"row is {row}, expected 0 to {count - 1}")
    description = documents.row(first + row)
    ids, mask = documents[first + row]
    console.print(" · ".join(value for value in description.values() if value), style="bold", markup=False)
    console.print(colour_document(tokenizer, ids.tolist(), mask.tolist(), marks=not console.color_system))
    console.print(f"{len(ids):,} tokens, {int(mask.sum()):,} to predict", style="italic")


def report(arguments: list[str]) -> None:
    """What was left out and why, with examples, as HTML and Markdown: olympiad data report DIR [--out DIR]"""
    tyro.cli(_report, args=arguments, prog="olympiad data report")


def _report(folder: tyro.conf.Positional[Path], out: Path | None = None, examples: bool = True) -> None:
    """Write report.html (everything in one file) and report.md with its pictures.

    Args:
        folder: a prepared folder.
        out: where the report goes; the folder itself if absent.
        examples: quote rows that were left out, and contaminated ones.
    """
    from olympiad.data.report import write_report

    for path in write_report(folder, out or folder, examples):
        print(path)


def generate(arguments: list[str]) -> None:
    """Make problems with checked solutions: --out problems.jsonl [--count 100] [--families NAME...] [--levels 1 2]"""
    tyro.cli(_generate, args=arguments, prog="olympiad data generate")


def _generate(
    out: Path,
    count: int = 100,
    families: tuple[str, ...] = (),
    levels: tuple[int, ...] = (1, 2, 3, 4, 5),
    split: Literal["train", "test"] = "train",
    seed: int = 0,
) -> None:
    """Make problems with worked solutions whose every step was checked.

    Args:
        out: a JSONL file, one problem a line, written whole or not at all; or a pipe, such as /dev/stdout.
        count: problems of each family and level; fewer where a family has no more texts.
        families: all of them if absent.
        levels: difficulties, 1 to 5.
        split: no text is in both.
        seed: another seed gives other problems.
    """
    from olympiad.data.generators import families as all_families
    from olympiad.data.generators import generate_split

    if count < 1:
        raise UserError(f"count is {count}, expected at least 1")
    families, levels = tuple(dict.fromkeys(families)), tuple(dict.fromkeys(levels))
    made = 0
    with written(out) as file:
        for name in families or all_families():
            for level in levels:
                for problem in islice(generate_split(name, level, split, seed), count):
                    file.write(json.dumps(asdict(problem), ensure_ascii=False) + "\n")
                    made += 1
    print(f"{made:,} problems written to {out}", file=beside(out))


def decontaminate(arguments: list[str]) -> None:
    """Find training problems that are evaluation problems: --train FILE... --evaluate FILE... --out hits.json"""
    tyro.cli(_decontaminate, args=arguments, prog="olympiad data decontaminate")


def _decontaminate(train: tuple[Path, ...], evaluate: tuple[Path, ...], out: Path) -> None:
    """Find training problems that are evaluation problems: the same words, or a quarter of the runs of 13 words.

    Args:
        train: JSONL or Parquet files to train on.
        evaluate: files to report scores on.
        out: a JSON list of {train_file, train_row, evaluate_file, evaluate_row, rule, score}, rows counted from 0.
    """
    from olympiad.data.decontamination import find_contamination

    file_behind(out)  # a place that can't be written is told before the work
    hits = find_contamination(train, evaluate)
    with written(out) as file:
        file.write(json.dumps(hits, indent=1) + "\n")
    pairs = Counter((hit["train_file"], hit["evaluate_file"], hit["rule"]) for hit in hits)
    for (train_file, evaluate_file, rule), count in sorted(pairs.items()):
        print(f"{count:6,}  {rule:<9} {train_file} -> {evaluate_file}", file=beside(out))
    rows = len({(hit["train_file"], hit["train_row"]) for hit in hits})
    print(f"{len(hits):6,}  pairs, {rows:,} training rows, in {out}", file=beside(out))

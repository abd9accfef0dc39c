"""``olympiad evaluate``, ``olympiad evaluate-steps`` and ``olympiad compare``."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from olympiad.errors import UserError
from olympiad.files import beside, written

TELL_EVERY = 30.0  # seconds, where no terminal shows a bar


def evaluate(arguments: list[str]) -> None:
    """Score a model: MODEL --benchmarks math500,gsm8k,aime24:32 [--backend engine|transformers|openai] [--out FOLDER]"""
    from olympiad.evaluation.endpoint import EndpointOptions
    from olympiad.evaluation.runner import EvaluationOptions

    def _evaluate(
        model: tyro.conf.Positional[str] = "",
        benchmarks: str = "",
        backend: str = "engine",
        out: Path | None = None,
        options: Annotated[EvaluationOptions, tyro.conf.arg(name="")] = EvaluationOptions(),  # noqa: B008
        endpoint: Annotated[EndpointOptions, tyro.conf.arg(name="")] = EndpointOptions(),  # noqa: B008
        batch_size: int = 32,
        recompute: Path | None = None,
        rejudge: bool = False,
    ) -> None:
        """Ask a model the problems of benchmarks, judge its answers and report. The same command goes on where it stopped.

        Args:
            model: a checkpoint or run, a folder or hub id of Transformers, a .gguf file; for an endpoint the model's name.
            benchmarks: gsm8k, svamp, math, math500, minerva, olympiadbench, omni-math, amc23, aime24, aime25, aimo,
                generated[/FAMILY[/LEVEL]], or files; with :K for K samples a problem.
            backend: engine (ours), transformers, or openai (any OpenAI-compatible endpoint, at --url).
            out: the folder of the evaluation; evaluations/MODEL if absent.
            batch_size: answers that the engine or Transformers makes together.
            recompute: write summary and report of this folder anew from its results, and ask nothing.
            rejudge: with --recompute, judge its answers again before.
        """
        if recompute is not None:
            from olympiad.evaluation.contamination import note_overlaps
            from olympiad.evaluation.report import write_reports
            from olympiad.evaluation.runner import rejudge as judge_again

            if rejudge:
                print(f"{judge_again(recompute):,} verdicts changed")
            note_overlaps(recompute)  # its run may be there by now
            show_summaries(write_reports(recompute), recompute)
        elif rejudge:
            raise UserError("--rejudge is of a finished evaluation: olympiad evaluate --recompute FOLDER --rejudge")
        elif not model:
            raise UserError("olympiad evaluate needs a model: olympiad evaluate runs/NAME --benchmarks math500,gsm8k")
        elif batch_size < 1:
            raise UserError(f"--batch-size is {batch_size}, expected at least 1")
        else:
            run(model, benchmarks, backend, out, options, {"endpoint": endpoint, "batch_size": batch_size})

    tyro.cli(_evaluate, args=arguments, prog="olympiad evaluate")


def run(model: str, benchmarks: str, backend: str, out: Path | None, options: Any, how: Mapping[str, Any]) -> None:
    """One evaluation, from the names of its parts to the report."""
    from olympiad.evaluation.backends import BACKENDS, create_backend
    from olympiad.evaluation.benchmarks import load_task, parse_benchmarks
    from olympiad.evaluation.contamination import note_overlaps
    from olympiad.evaluation.prompts import find_style
    from olympiad.evaluation.report import write_reports
    from olympiad.evaluation.runner import run_evaluation, settings_of

    chosen = parse_benchmarks(benchmarks)
    if options.style != "auto":
        find_style(options.style)  # mistakes are told before anything is loaded
    if backend not in BACKENDS:
        create_backend(backend, model)
    tasks = [load_task(benchmark, options.limit) for benchmark in chosen]
    answering = create_backend(backend, model, **how)
    style = answering.default_style if options.style == "auto" else options.style
    folder = out or Path("evaluations") / re.sub(r"[^\w.-]+", "-", model).strip("-.")
    settings = settings_of(model, backend, style, tasks, options)
    console = Console(stderr=True, highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        shown, correct, told = bar.add_task("asking", total=None), [0, 0], [time.monotonic()]

        def progress(done: int, total: int, row: Mapping[str, Any] | None) -> None:
            if row is None and done:
                bar.console.print(f"{done:,} of {total:,} answers are there already", markup=False)
            correct[0] += row is not None and row["verdict"] == "correct"
            correct[1] += row is not None
            share = f", {correct[0] / correct[1]:.0%} right" if correct[1] else ""
            if not console.is_terminal and time.monotonic() - told[0] > TELL_EVERY:
                told[0] = time.monotonic()
                console.print(f"{done:,} of {total:,} answers{share}", markup=False)
            bar.update(
                shown, completed=done, total=total, description=f"{escape(row['benchmark']) if row else 'asking'}{share}"
            )

        try:
            run_evaluation(folder, answering, tasks, settings, options, progress)
        except KeyboardInterrupt:
            console.print(f"Stopped; the answers so far are in {folder}, and the same command goes on.", markup=False)
            raise
    note_overlaps(folder)
    show_summaries(write_reports(folder), folder)


def show_summaries(summaries: Mapping[str, Any], folder: Path) -> None:
    """The scores as a table, and where the rest is."""
    from olympiad.evaluation.sections import interval

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("benchmark", "problems", "accuracy", "95% interval", "correct", "wrong", "unjudgeable", "cut off"):
        is_name = column == "benchmark"  # names are broken where a terminal is narrow, numbers are not
        table.add_column(column, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for name, each in summaries.items():
        error = "" if each["standard_error"] is None else f" ± {each['standard_error']:.1%}"
        accuracy = "none judged" if each["accuracy"] is None else f"{each['accuracy']:.1%}{error}"
        samples = f" × {each['samples_per_problem']}" if each["samples_per_problem"] > 1 else ""
        counts = [f"{each['verdicts'][outcome]:,}" for outcome in ("correct", "wrong", "unjudgeable")]
        cut = "–" if each["rates"]["truncated"] is None else f"{each['rates']['truncated']:.1%}"
        table.add_row(escape(name), f"{each['problems']:,}{samples}", accuracy, interval(each["interval"]), *counts, cut)
    _print(table)
    for name, each in summaries.items():
        if each["answers"] < each["answers_planned"]:
            print(f"{name} is not finished: {each['answers']:,} of {each['answers_planned']:,} answers")
        if each["verdicts"]["unjudgeable"]:
            low, high = each["accuracy_if_wrong"], each["accuracy_if_correct"]
            print(f"{name}: unjudgeable answers are left out; as wrong ones {low:.1%}, as correct ones {high:.1%}")
        if each.get("trained_on"):
            print(f"{name}: the model was trained on {each['trained_on']:,} of these problems, or on nearly the same text")
    print(folder / "report.html")


def _print(table: Table, console: Console | None = None) -> None:
    """As wide as it needs to be where no terminal limits it."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def compare(arguments: list[str]) -> None:
    """Two evaluations of the same problems, paired: olympiad compare RUN_A RUN_B [--out comparison.md]"""
    tyro.cli(_compare, args=arguments, prog="olympiad compare")


def _compare(before: tyro.conf.Positional[Path], after: tyro.conf.Positional[Path], out: Path | None = None) -> None:
    """The difference of two evaluations, problem by problem, with its interval and an exact test.

    Args:
        before: folder of an evaluation.
        after: folder of the one to compare with it.
        out: a Markdown file, with the problems won and lost.
    """
    from olympiad.evaluation.compare import as_markdown, cells, compare_runs

    comparisons, notes = compare_runs(before, after)
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = ("benchmark", "problems", before.name, after.name, "difference", "95% interval", "won", "lost", "p")
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if number else "left")
    for each in comparisons:
        table.add_row(*map(escape, cells(each)))
    console = Console(highlight=False, stderr=out is not None and beside(out) is not None and str(out) == "/dev/stdout")
    _print(table, console)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    if out is not None:
        with written(out) as file:
            file.write(as_markdown(comparisons, notes, before.name, after.name))
        print(out, file=beside(out))


def evaluate_steps(arguments: list[str]) -> None:
    """F1 of the step checker on ProcessBench: [FILE ...]; processbench/*.jsonl of OLYMPIAD_DATA if absent"""
    tyro.cli(_evaluate_steps, args=arguments, prog="olympiad evaluate-steps")


def _evaluate_steps(files: tyro.conf.Positional[tuple[Path, ...]] = ()) -> None:
    """First errors that algebra finds beside those that people labelled (arXiv:2412.06559).

    Args:
        files: JSONL rows with "problem", "steps" and "label", the index of the first wrong step or -1.
    """
    from olympiad.evaluation.process import score_file

    folder = os.environ.get("OLYMPIAD_DATA")
    files = files or (tuple(sorted((Path(folder) / "processbench").glob("*.jsonl"))) if folder else ())
    if not files:
        raise UserError("no files: name JSONL files of ProcessBench, or set OLYMPIAD_DATA to the folder that has processbench/")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(("file", "solutions", "F1", "erroneous", "correct", "precision")):
        table.add_column(column, justify="right" if number else "left")
    for file in files:
        score = score_file(file)
        shares = (f"{share:.1%}" for share in (score.f1, score.erroneous, score.correct, score.precision))
        table.add_row(escape(file.stem), f"{score.solutions:,}", *shares)
    _print(table)

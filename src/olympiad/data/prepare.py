"""Problem sets -> tokens to train on, in a folder that exists whole or can be gone on with.

    plan ─ parts of all files ─ clean (one part a task, on every core or every machine) ─ merge ─ manifest, last

A run that was killed anywhere goes on where it stopped: finished parts are kept. What comes out is a function of the
plan alone, byte for byte, whatever the engine, the number of workers and the interruptions.
"""

from __future__ import annotations

import difflib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

import filelock
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from olympiad.tokenizer import MathTokenizer

from .decontamination import EvaluationIndex, statement_of
from .documents import FORMAT, read_manifest
from .loading import data_folder, source_files
from .merging import Merger, write_manifest
from .mixture import MixtureOptions
from .parts import Cleaner, Task, write_aside, write_error
from .plan import is_done, work_folder
from .recipe import PrepareOptions, resolve_source
from .rows import DataError, RowError, Scan, read_rows, scan
from .schema import TextDocument
from .sources import SOURCES, Source

Engine = Literal["local", "ray"]
#: Bytes of a file that one task takes.
PART_BYTES = 4_000_000
MIXED = set(MixtureOptions.model_fields)


def prepare(
    options: PrepareOptions,
    folder: Path,
    workers: int | None = None,
    engine: Engine = "local",
    restart: bool = False,
    part_bytes: int = PART_BYTES,
    console: Console | None = None,
) -> dict[str, Any]:
    """Prepare ``folder`` as ``options`` say, or go on with it; the manifest.

    Args:
        workers: processes, 0 for none beside this one; one a core if absent.
        restart: throw away what the folder holds of another plan.

    Raises:
        DataError: a source can't be read or has changed, the folder holds something else or is being prepared, the
            disk is full. What was done up to there is kept.
    """
    console = console or Console(stderr=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock", timeout=0):
            return _prepare(options, folder, workers, engine, restart, part_bytes, console)
    except filelock.Timeout as error:
        raise DataError(f"another process is preparing {folder}: wait for it, or choose another folder") from error
    except OSError as error:
        raise write_error(folder, error) from error
    except KeyboardInterrupt:
        console.print("Stopped; the parts that are done are kept: run the same command to go on")
        raise


def _prepare(
    options: PrepareOptions,
    folder: Path,
    workers: int | None,
    engine: Engine,
    restart: bool,
    part_bytes: int,
    console: Console,
) -> dict[str, Any]:
    tokenizer = MathTokenizer(options.tokenizer)
    evaluation, evaluation_files = _evaluation_problems(options, console)
    tasks, described = _tasks(options, part_bytes)
    plan = {
        "format": FORMAT,
        "tokenizer": {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size},
        "options": options.model_dump(mode="json", exclude={"folder": True, "tokenizer": True, "sources": {"__all__": MIXED}}),
        "evaluation": evaluation_files,
        "part_bytes": part_bytes,
        "sources": described,
        "mixture": {name: source.model_dump(mode="json", include=MIXED) for name, source in options.sources.items()},
    }
    if is_done(folder, plan, restart):
        shutil.rmtree(folder / "work", ignore_errors=True)
        console.print(f"{folder} is prepared already, nothing to do")
        return _with_new_proportions(folder, plan)
    work = work_folder(folder, plan)
    work.mkdir(parents=True, exist_ok=True)
    for leftover in [*work.glob("*.partial"), *folder.glob("*.partial")]:
        leftover.unlink()
    write_aside(work / "plan.json", json.dumps(plan))
    index = EvaluationIndex(statement for *_, statement in evaluation)
    cleaner = Cleaner(work.resolve(), tokenizer.json, index, options.decontaminate, options.deduplicate)
    summaries: dict[int, dict[str, Any]] = {}
    for task in tasks:
        done = work / f"{task.number:05d}.json"
        if done.exists():
            summaries[task.number] = json.loads(done.read_text(encoding="utf-8"))
    missing = [task for task in tasks if task.number not in summaries]
    if summaries:
        console.print(f"Going on: {len(summaries):,} of {len(tasks):,} parts are done")
    with _bar(console) as bar:
        shown = bar.add_task("clean", total=len(tasks), completed=len(summaries))
        for number, summary in _ENGINES[engine](cleaner, missing, os.cpu_count() or 1 if workers is None else workers):
            summaries[number] = summary
            bar.advance(shown)
    merger = Merger(
        folder, work, plan, [summaries[task.number] for task in tasks], evaluation, tokenizer.vocab_size, tokenizer.decode
    )
    write_aside(folder / "tokenizer.json", tokenizer.json)
    manifest = merger.run()
    shutil.rmtree(folder / "work")
    return manifest


def _with_new_proportions(folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The manifest, with the mixture, seed and licences of the plan: they need no new tokens."""
    manifest = read_manifest(folder)
    before = json.dumps(manifest)
    manifest |= {"mixture": plan["mixture"], "options": plan["options"]}
    for name, source in manifest["sources"].items():
        source["licence"] = plan["sources"][name]["licence"]
    if json.dumps(manifest) != before:
        write_manifest(folder, manifest)
    return manifest


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} parts"))
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


# ---------------------------------------------------------------------------------------------------------- the plan


def _tasks(options: PrepareOptions, part_bytes: int) -> tuple[list[Task], dict[str, Any]]:
    """One task a part of a file, and what the manifest says about where the sources come from."""
    tasks: list[Task] = []
    described = {}
    for name, chosen in options.sources.items():
        source = resolve_source(name, chosen)
        split = chosen.split if chosen.split in source.splits else next(iter(source.splits))
        files = []
        for file in map(Path.resolve, source_files(source, split, options.folder)):
            status = file.stat()
            scanned: Scan = scan(file, part_bytes)
            files.append({"file": "/".join(file.parts[-2:]), "bytes": scanned.num_bytes, "sha256": scanned.sha256})
            for part in scanned.parts:
                cleaning = chosen.cleaning or options.cleaning
                tasks.append(Task(len(tasks), name, source, split, part, status.st_size, status.st_mtime_ns, cleaning))
        described[name] = {"licence": chosen.licence or source.licence, "kind": source.kind, "split": split, "files": files}
    return tasks, described


def _evaluation_problems(options: PrepareOptions, console: Console) -> tuple[list[tuple[str, int, str]], dict[str, Any]]:
    """Set, row and statement of everything that must not be trained on, and the files that it comes from."""
    found = {f"{source.name}/{split}": (source, split) for source in SOURCES.values() for split in source.splits}
    every = tuple(name for name, (source, split) in found.items() if source.splits[split].use == "evaluate")
    folder = data_folder(options.folder)
    if folder is not None and not folder.is_dir():
        raise DataError(f"there is no folder {folder}: mend OLYMPIAD_DATA (or the recipe's folder), or unset it to use the Hub")
    problems: list[tuple[str, int, str]] = []
    files: dict[str, Any] = {}
    absent: list[str] = []
    seen: set[Path] = set()
    for name in every if options.evaluate is None else options.evaluate:
        try:
            paths = source_files(*found[name], options.folder) if name in found else [Path(name)]
        except DataError:
            if options.evaluate is not None:
                raise
            absent.append(name)
            continue
        if name not in found and not paths[0].is_file():
            near = difflib.get_close_matches(name, found, n=1)
            raise DataError(f"no evaluation set or file {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if set(paths) <= seen:  # one set under two names
            continue
        seen |= set(paths)
        found_before = len(problems)
        files[name] = [{"file": "/".join(path.parts[-2:]), "sha256": scan(path).sha256} for path in paths]
        for path in paths:
            for number, row in read_rows(path):
                if isinstance(row, RowError):
                    raise DataError(f"{row} (an evaluation set has to be read whole)")
                try:
                    problems.append((name, number, _statement(found[name][0], row) if name in found else statement_of(row)))
                except DataError as error:
                    raise DataError(f"{path}, line {number}: {error}") from error
        if len(problems) == found_before:
            raise DataError(f"the evaluation set {name} is empty")
    if absent:
        console.print(f"Evaluation sets that are not here, and so not compared with: {', '.join(absent)}")
    return problems, files


def _statement(source: Source, row: dict[str, Any]) -> str:
    item = source.to_item(row, "")
    return item.text if isinstance(item, TextDocument) else item.problem


# -------------------------------------------------------------------------------------------------------- the engines

Results = Iterator[tuple[int, dict[str, Any]]]

_cleaner: Cleaner | None = None  # of this worker process


def _start_worker(cleaner: Cleaner) -> None:
    global _cleaner
    _cleaner = cleaner
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which tells the workers
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker must not outlive a parent that was killed

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _work(task: Task) -> tuple[int, dict[str, Any]]:
    assert _cleaner is not None
    return task.number, _cleaner(task)


def _local(cleaner: Cleaner, tasks: Sequence[Task], workers: int) -> Results:
    """In a pool of processes on this machine; a task that fails ends the run, after those that are under way."""
    if workers < 1 or len(tasks) < 2:
        for task in tasks:
            yield task.number, cleaner(task)
        return
    context = multiprocessing.get_context("spawn")
    main = threading.current_thread() is threading.main_thread()
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker, (cleaner,)) as pool:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None  # a worker inherits this while it starts
        futures = [pool.submit(_work, task) for task in tasks]
        if main:
            signal.signal(signal.SIGINT, before)
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError("a worker died, of too little memory most likely: run again with fewer --workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


class _RayCleaner:
    """An actor of Ray Data: rows in are task numbers, rows out are summaries."""

    def __init__(self, cleaner: Cleaner, tasks: dict[int, Task]) -> None:
        self.cleaner, self.tasks = cleaner, tasks

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"number": row["number"], "summary": json.dumps(self.cleaner(self.tasks[int(row["number"])])), "error": ""}
        except DataError as error:  # one message, instead of Ray's account of where it passed through
            return {"number": row["number"], "summary": "", "error": str(error)}


def _ray(cleaner: Cleaner, tasks: Sequence[Task], workers: int) -> Results:
    """On a Ray cluster (RAY_ADDRESS), or on this machine; the folder has to be on storage that all nodes share."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DataError("the ray engine needs Ray Data: pip install 'olympiad[cluster]'") from error
    if not tasks:
        return
    started = not ray.is_initialized()
    if started:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:  # not a cluster that happens to run here
            ray.init("local", num_cpus=max(workers, 1), include_dashboard=False, **quiet)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        numbers = ray.data.from_items([{"number": task.number} for task in tasks], override_num_blocks=len(tasks))
        arguments = (cleaner, {task.number: task for task in tasks})
        actors: Any = _RayCleaner  # Ray's annotation knows functions only
        done = numbers.map(actors, fn_constructor_args=arguments, concurrency=min(max(workers, 1), len(tasks)))
        for row in done.iter_rows():
            if row["error"]:
                raise DataError(row["error"])
            yield int(row["number"]), json.loads(row["summary"])
    finally:
        if started:
            ray.shutdown()


_ENGINES: dict[str, Callable[[Cleaner, Sequence[Task], int], Results]] = {"local": _local, "ray": _ray}

"""The data pipeline: speed of each stage, memory as the input grows, padding saved by packing, speed of the loader.

    OLYMPIAD_DATA=DIR python benchmarks/data.py [--quick]

Input: the training sets and corpora of the data folder, 66 MB; a tenth of their rows with --quick. On a shared machine,
read the shares and ratios.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from rich.console import Console
from training_step import IGNORED, build_ours

from olympiad.config import load_recipe
from olympiad.data import BatchOrder, TokenDataset, create_dataloader, merging, parts
from olympiad.data import prepare as preparing
from olympiad.data.loading import source_files
from olympiad.data.show import load_prepared, open_documents
from olympiad.data.sources import SOURCES, Source

WORKERS, BATCH = 2, 8
NAMES = ["math", "gsm8k", "aops", "deepscaler", *(name for name, source in SOURCES.items() if source.kind == "text")]
COMMAND = [sys.executable, "-c", "import sys; from olympiad.cli import main; sys.exit(main())"]


def table(title: str, head: str, rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| {head} |\n| {' | '.join('---' for _ in head.split(' | '))} |")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)


def distinct(row: dict[str, Any], copy: int, number: int) -> dict[str, Any]:
    """A row with other digits, and a number in front: no duplicate of the row that it is a copy of."""
    digits = str.maketrans("123456789", "".join(str((digit + copy - 1) % 9 + 1) for digit in range(1, 10)))
    row = {name: value.translate(digits) if isinstance(value, str) else value for name, value in row.items()}
    first = next(name for name in ("problem", "question", "text") if name in row)
    return row | {first: f"Number {copy}{number:07}. {row[first]}"}


def write_input(folder: Path, copies: int, every: int) -> tuple[int, int]:
    """A data folder with ``copies`` of each training file's rows and links to everything else; its rows and bytes."""
    data = Path(os.environ["OLYMPIAD_DATA"]).resolve()
    for file in data.rglob("*.jsonl"):
        place = folder / file.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
    num_rows = num_bytes = 0
    for file in [file for name in NAMES for file in source_files(SOURCES[name], "train", data)]:
        place = folder / file.relative_to(data)
        place.unlink()
        with file.open(encoding="utf-8") as lines, place.open("w", encoding="utf-8") as out:
            for number, line in enumerate(islice(lines, 0, None, every)):
                for copy in range(copies):
                    out.write(json.dumps(distinct(json.loads(line), copy, number)) + "\n" if copy else line)
                    num_rows += 1
        num_bytes += place.stat().st_size
    recipe = [f"[sources.{name}]\n" for name in NAMES]
    recipe[NAMES.index("deepscaler")] += "cleaning = {require_solution = false}\n"  # it has answers only
    (folder / "recipe.toml").write_text(f"folder = {json.dumps(str(folder))}\n{''.join(recipe)}")
    return num_rows, num_bytes


# --------------------------------------------------------------------------------------------------- stages, one process

STAGES: dict[str, list[tuple[Any, str]]] = {
    "fingerprint files, cut them into parts": [(preparing, "scan")],
    "index of evaluation problems": [(preparing, "_evaluation_problems"), (parts.EvaluationIndex, "__init__")],
    "read rows": [(parts, "read_rows")],
    "rows to problems": [(Source, "to_item")],
    "normalise and clean": [(parts, "clean"), (parts, "clean_texts")],
    "look up evaluation problems": [(parts.EvaluationIndex, "matches")],
    "keys of numbers": [(parts, "numbers_key")],
    "MinHash signatures": [(parts, "signatures")],
    "render and tokenise": [(parts, "render")],
    "find duplicates": [(merging, "find_duplicates")],
    "write shards": [(merging.ShardWriter, "add"), (merging.ShardWriter, "close")],
}


@contextmanager
def timers(seconds: Counter[str]) -> Iterator[None]:
    """Count the time within the functions of each stage, as the pipeline calls them; within another stage it is that one's."""
    running: list[str] = []

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if running:
                return function(*arguments, **options)
            running.append(stage)
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[stage] += time.perf_counter() - started
                running.clear()

        def each(*arguments: Any) -> Iterator[Any]:
            following = timed(stage, partial(next, function(*arguments), None))
            while (item := following()) is not None:
                yield item

        return each if inspect.isgeneratorfunction(function) else call

    with ExitStack() as patches:
        for stage, functions in STAGES.items():
            for place, name in functions:
                patches.enter_context(mock.patch.object(place, name, timed(stage, getattr(place, name))))
        yield


def measure_stages(folder: Path, num_rows: int, num_bytes: int) -> None:
    seconds: Counter[str] = Counter()
    started = time.perf_counter()
    with timers(seconds):
        preparing.prepare(load_recipe(folder / "recipe.toml"), folder / "one", workers=0, console=Console(quiet=True))
    total = time.perf_counter() - started
    taken = {stage: seconds[stage] for stage in STAGES} | {"everything else": total - sum(seconds.values()), "all": total}
    columns = "{:.2f}", "{:.1%}", "{:,.0f}", "{:,.1f}"
    values = {stage: (each, each / total, num_rows / each, num_bytes / each / 1e6) for stage, each in taken.items()}
    rows = [[stage, *(map(str.format, columns, four))] for stage, four in values.items()]
    title = f"Stages, one process: {num_rows:,} rows, {num_bytes / 1e6:.1f} MB"
    table(title, "stage | seconds | share | rows/s | MB/s of input", rows)


def run_watched(command: list[str]) -> tuple[float, dict[str, float]]:
    """Run a command; its seconds, and peaks in MB of its largest process and of all together, sampled from outside.

    ``private`` leaves out pages of mapped files, which the system takes back when it needs room.
    """
    peaks: Counter[str] = Counter()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.05):
            try:
                memory = [one.memory_info() for one in [process, *process.children(recursive=True)]]
            except psutil.NoSuchProcess:
                continue
            sizes = {"": [one.rss / 1e6 for one in memory], ", private": [(one.rss - one.shared) / 1e6 for one in memory]}
            for kind, each in sizes.items():
                peaks[f"largest process{kind}"] = max(peaks[f"largest process{kind}"], *each)
                peaks[f"all{kind}"] = max(peaks[f"all{kind}"], sum(each))

    sampler = threading.Thread(target=sample)
    started = time.perf_counter()
    sampler.start()
    errors = process.communicate()[1].decode()
    seconds = time.perf_counter() - started
    ended.set()
    sampler.join()
    assert process.returncode == 0, errors
    return seconds, dict(peaks)


def measure_prepare(folders: dict[int, Path], sizes: dict[int, tuple[int, int]]) -> None:
    rows, first, (_, idle) = [], {}, run_watched([sys.executable, "-c", "import olympiad.data.prepare"])
    for copies, folder in folders.items():
        arguments = ["data", "prepare", str(folder / "recipe.toml"), "--out", str(folder / "two"), "--workers", str(WORKERS)]
        seconds, peaks = run_watched([*COMMAND, *arguments])
        first = first or peaks
        num_rows, num_bytes = sizes[copies]
        memory = [f"{peaks[kind]:,.0f} ({peaks[kind] / first[kind]:.2f}x)" for kind in first]
        speed = [f"{seconds:.1f}", f"{num_rows / seconds:,.0f}", f"{num_bytes / seconds / 1e6:.2f}"]
        rows.append([f"{copies}x", f"{num_rows:,}", f"{len(open_documents(folder / 'two')[0].lengths):,}", *speed, *memory])
    title = f"olympiad data prepare --workers {WORKERS}: peak memory in MB, and as a ratio to 1x"
    table(title, f"input | rows | documents | seconds | rows/s | MB/s | {' | '.join(first)}", rows)
    print(f"\n(A process that prepares nothing has {idle['largest process, private']:,.0f} MB, private.)")


def padding_of_batches(lengths: np.ndarray, to: int | None) -> float:
    """The share of padding where batches, in the order of training, are padded to their longest row, or ``to`` positions."""
    padded = sum(len(rows) * (to or lengths[rows].max()) for rows in BatchOrder(len(lengths), BATCH))
    return 1 - lengths.sum() / padded


def measure_packing(folder: Path) -> None:
    documents, tokenizer, manifest = open_documents(folder / "two")
    taken = np.arange(sum(manifest["sources"][name]["documents"] for name in ("math", "gsm8k")))  # these come first
    rows = []
    for positions in (511, 2_048):
        packed = TokenDataset(documents, tokenizer, positions, "split", packing=True, instances=taken)
        pieces = TokenDataset(documents, tokenizer, positions, "split", instances=taken)
        lengths = np.array([len(pieces[row]) - 1 for row in range(len(pieces))])  # the last token is a target only
        whole = documents.lengths[taken]
        ends = np.cumsum(whole)
        broken = np.mean((ends - whole) // positions != (ends - 1) // positions)
        unpacked = [f"{padding_of_batches(lengths, to):.1%}" for to in (None, positions)]
        counts = [f"{positions:,}", f"{len(taken):,}", f"{np.mean(whole > positions):.1%}"]
        rows.append([*counts, f"{packed.padding:.2%}", *unpacked, f"0%, but {broken:.1%} of documents broken"])
    head = "positions | documents | longer | best-fit | to the batch's longest | to the full length"
    table(f"Share of padding, MATH and GSM8K, batches of {BATCH}", f"{head} | cut and concatenated", rows)


def training_speed(steps: int) -> float:
    """Positions per second of the small model's training step, 8 rows of 512, a target at each."""
    step, ids = build_ours(False), torch.randint(16, 32_000, (BATCH, 513))
    run = partial(step, ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    run()
    return BATCH * 512 / statistics.median(timeit.repeat(run, number=1, repeat=steps))


def measure_loader(folder: Path, num_batches: int, steps: int) -> None:
    consumed, rows = training_speed(steps), []
    for packing in (False, True):
        started = time.perf_counter()
        dataset, _, _ = load_prepared(folder / "two", 512, "split", packing)
        opened, speeds = time.perf_counter() - started, []
        for epoch in range(3):
            started, tokens = time.perf_counter(), 0
            for batch in islice(create_dataloader(dataset, BATCH, seed=epoch), num_batches):
                tokens += int((batch["targets"] != IGNORED).sum())
            speeds.append(tokens / (time.perf_counter() - started))
        speed = statistics.median(speeds)
        rows.append(
            ["yes" if packing else "no", f"{opened:.2f}", f"{speed:,.0f}", f"{consumed:,.0f}", f"{speed / consumed:,.0f}x"]
        )
    head = "packed | seconds to open | targets/s | training takes | ratio"
    table(f"Loader in the training process, batches of {BATCH} rows of up to 512 positions", head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, 1x and 2x only")
    quick = parser.parse_args().quick
    if not os.environ.get("OLYMPIAD_DATA"):
        parser.error("set OLYMPIAD_DATA to the folder with the problem sets, see docs/data.md")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {copies: Path(temporary) / f"{copies}x" for copies in ((1, 2) if quick else (1, 2, 4))}
        sizes = {copies: write_input(folder, copies, 10 if quick else 1) for copies, folder in folders.items()}
        measure_stages(folders[1], *sizes[1])
        measure_prepare(folders, sizes)
        measure_packing(folders[1])
        measure_loader(folders[1], 20 if quick else 100, 1 if quick else 5)


if __name__ == "__main__":
    main()

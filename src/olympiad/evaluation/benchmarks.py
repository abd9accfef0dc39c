"""A benchmark is a handful of constants: a source of problems, a split, a policy of grading, samples a problem."""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from olympiad.data import DataError, MathDatasetLoader, MathProblem, custom_source
from olympiad.data.sources import Source

from .errors import EvaluationError

_IDS = {"id": ("id", "unique_id", "problem_id", "ID")}
GENERATED_COUNT = 4  # problems of each family and level


@dataclass(frozen=True)
class Benchmark:
    """Where problems come from and how their answers are compared."""

    name: str
    source: str
    split: str = "test"
    policy: str = "default"
    """Of :data:`olympiad.verification.POLICIES`."""
    samples: int = 1
    """Samples a problem where none are asked for: small sets need many."""


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("gsm8k", "gsm8k", policy="gsm8k"),
        Benchmark("svamp", "svamp", policy="gsm8k"),
        Benchmark("math", "math", policy="math"),
        Benchmark("math500", "math500", policy="math"),
        Benchmark("minerva", "minerva", policy="rounded"),
        Benchmark("olympiadbench", "olympiadbench", policy="math"),
        Benchmark("omni-math", "omni-math", policy="math"),
        Benchmark("amc23", "amc23", samples=8),
        Benchmark("aime24", "aime24", policy="aime", samples=8),
        Benchmark("aime25", "aime25", policy="aime", samples=8),
        Benchmark("aimo", "aimo", policy="aimo", samples=8),
    )
}


@dataclass(frozen=True)
class Task:
    """A benchmark's problems, each with its own id and a gold answer, and how many samples of each are asked for."""

    benchmark: Benchmark
    problems: tuple[MathProblem, ...]

    @property
    def fingerprint(self) -> str:
        """Of ids, statements and answers: another one is another benchmark."""
        facts = [[problem.id, problem.problem, problem.answer] for problem in self.problems]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def parse_benchmarks(text: str) -> list[Benchmark]:
    """``"math500,aime24:32"`` as benchmarks with their samples a problem.

    A name is one of :data:`BENCHMARKS`, ``generated``, ``generated/FAMILY`` or ``generated/FAMILY/LEVEL``, or a file.

    >>> [(benchmark.name, benchmark.samples) for benchmark in parse_benchmarks("math500,aime24:32")]
    [('math500', 1), ('aime24', 32)]

    Raises:
        EvaluationError: an unknown name (the nearest one is named), one that stands twice, or samples below 1.
    """
    chosen = [_parsed(word.strip()) for word in text.split(",") if word.strip()]
    if not chosen:
        raise EvaluationError(f"no benchmarks: write --benchmarks math500,gsm8k,aime24:32 (there are {_known()})")
    name, count = Counter(benchmark.name for benchmark in chosen).most_common(1)[0]
    if count > 1:
        raise EvaluationError(f"the benchmark {name!r} stands {count} times: name it once, with :K for K samples a problem")
    return chosen


def _known() -> str:
    return ", ".join([*BENCHMARKS, "generated[/FAMILY[/LEVEL]]", "or a file"])


def _parsed(word: str) -> Benchmark:
    name, colon, samples = word.rpartition(":")
    name = name if colon and samples.isdecimal() else word
    if name in BENCHMARKS:
        benchmark = BENCHMARKS[name]
    elif name.partition("/")[0] == "generated":
        _check_generated(name)
        benchmark = Benchmark(name, name)
    elif Path(name).is_file():
        benchmark = Benchmark(Path(name).name.removesuffix(".gz").rpartition(".")[0] or Path(name).name, name)
    else:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        looks_like_file = "/" in name or "." in name
        advice = f"did you mean {near[0]!r}?" if near else f"there are {_known()}"
        what = "a file that does not exist" if looks_like_file else "no benchmark"
        raise EvaluationError(f"{name!r} is {what}; {advice}")
    if name == word:
        return benchmark
    if int(samples) < 1:
        raise EvaluationError(f"{word!r} asks for {samples} samples a problem, expected at least 1")
    return replace(benchmark, samples=int(samples))


def _check_generated(name: str) -> None:
    from olympiad.data.generators import families

    _, family, level = (*name.split("/", 2), "", "")[:3]
    if family and family not in families():
        near = difflib.get_close_matches(family, families(), n=1)
        raise EvaluationError(
            f"no family {family!r} of generated problems; "
            + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(families())}")
        )
    if level and level not in ("1", "2", "3", "4", "5"):
        raise EvaluationError(f"{name!r}: the level is {level!r}, expected 1 to 5")


def load_task(benchmark: Benchmark, limit: int | None = None) -> Task:
    """The benchmark's problems, the first ``limit`` of them.

    Raises:
        DataError: its files can't be found or read.
        EvaluationError: a row has no gold answer.
    """
    problems = list(islice(_problems(benchmark), limit))
    if not problems:
        raise EvaluationError(f"{benchmark.name} has no problems" + (f" within --limit {limit}" if limit is not None else ""))
    bare = [problem for problem in problems if not problem.answer.strip()]
    if bare:
        raise EvaluationError(
            f"{benchmark.name}: {len(bare):,} of {len(problems):,} rows have no gold answer, the first is {bare[0].id}: "
            'expected it under "answer", "final_answer" or "expected_answer", or boxed in the solution; add it or remove the row'
        )
    return Task(benchmark, tuple(_distinct(problems)))


def _distinct(problems: Sequence[MathProblem]) -> Iterator[MathProblem]:
    """The same problems, with a number behind an id that stood before."""
    seen: Counter[str] = Counter()
    for problem in problems:
        seen[problem.id] += 1
        count = seen[problem.id]
        yield problem if count == 1 else replace(problem, id=f"{problem.id}#{count}")


def _problems(benchmark: Benchmark) -> Iterator[MathProblem]:
    if benchmark.source.partition("/")[0] == "generated" and benchmark.name == benchmark.source:
        yield from _generated(benchmark.source)
        return
    source: str | Source = benchmark.source
    if benchmark.name not in BENCHMARKS or BENCHMARKS[benchmark.name].source != source:
        source = custom_source(
            benchmark.name, [glob.escape(str(Path(benchmark.source).resolve()))], fields=_IDS, use="evaluate"
        )
    split = source.splits.keys() if isinstance(source, Source) else [benchmark.split]
    for each in split:
        try:
            yield from MathDatasetLoader().load(source, each)
        except DataError as error:
            raise EvaluationError(f"{benchmark.name}: {str(error).replace(_SKIP_ADVICE, '')}") from error


_SKIP_ADVICE = " (on_error='skip' goes on without such rows)"


def _generated(name: str) -> Iterator[MathProblem]:
    """Fresh problems of the test split, families in turn, so that a limit keeps all kinds."""
    from olympiad.data.generators import families, generate_split

    _, family, level = (*name.split("/", 2), "", "")[:3]
    levels = [int(level)] if level else [1, 2, 3, 4, 5]
    count = GENERATED_COUNT if not family else 20 if not level else 100
    kinds = [
        islice(generate_split(each, number, "test"), count)
        for number in levels
        for each in ([family] if family else families())
    ]
    while kinds:
        for kind in list(kinds):
            if (problem := next(kind, None)) is None:
                kinds.remove(kind)
            else:
                yield problem

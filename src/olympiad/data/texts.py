"""Plain texts, for training a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .loading import MathDatasetLoader
from .rows import DataError, RowError, read_rows

_TEXT_FIELDS = ("text", "problem", "question", "solution", "answer")

# The corpus is five times the size of the problem sets, which are what the tokenizer is for.
PROBLEM_WEIGHT = 4


def tokenizer_texts() -> Iterator[str]:
    """What the shipped tokenizer is trained on: the training problems, counted four times, and the corpus.

    Raises:
        DataError: no data folder, or one without the corpus.
    """
    loader = MathDatasetLoader()
    if loader.data_dir is None:
        raise DataError("set OLYMPIAD_DATA to the folder with the problem sets and the corpus, or name files of your own")
    for problem in [*loader.load_math_dataset(), *loader.load_gsm8k(), *loader.load_aops()]:
        solution = f"{problem.solution}\n#### {problem.answer}" if problem.source == "gsm8k" else problem.solution
        yield from (problem.problem, solution) * PROBLEM_WEIGHT
    corpus = sorted((loader.data_dir / "corpus").glob("*.jsonl"))
    if not corpus:
        raise DataError(f"{loader.data_dir / 'corpus'} holds no *.jsonl: name files of your own to train without the corpus")
    yield from file_texts(corpus)


def file_texts(files: Iterable[Path]) -> Iterator[str]:
    """The texts of text files, and of the text fields of the rows of others.

    Raises:
        DataError: a file or a row can't be read.
    """
    for file in files:
        if file.suffix not in (".jsonl", ".json", ".csv", ".parquet", ".gz"):
            try:
                yield file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"can't read {file}: {error}") from error
            continue
        for _, row in read_rows(file):
            if isinstance(row, RowError):
                raise DataError(str(row))
            yield from (row[name] for name in _TEXT_FIELDS if isinstance(row.get(name), str))

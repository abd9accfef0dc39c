"""The data sets: one small entry each, that says where the files are and how a row becomes a problem.

source entry ─ files ─ rows ─ row mapping ─ MathProblem or TextDocument
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .preprocessing import last_boxed, solution_answer
from .rows import DataError, Row, text_field
from .schema import MathProblem, TextDocument

Kind = Literal["problems", "text"]
Use = Literal["train", "evaluate"]

#: Under which names a row's fields are looked for, the first that it has, where a source doesn't say.
USUAL_FIELDS: Mapping[str, Sequence[str]] = {
    "problem": ("problem", "question", "prompt"),
    "solution": ("solution", "response", "generated_solution", "reference_solution"),
    "answer": ("answer", "final_answer", "expected_answer"),
    "subject": ("subject", "type", "subfield", "topic"),
    "level": ("level", "difficulty", "difficulty_level"),
    "text": ("text", "content"),
}
_OWN_ID = {**USUAL_FIELDS, "id": ("id", "unique_id", "ID")}
_MATH_FIELDS = {**{name: name for name in ("id", "problem", "solution", "answer", "level")}, "subject": "type"}
_SOLVED = ("solution", "problem")
_ANSWERED = ("problem", "answer")


@dataclass(frozen=True)
class Split:
    """One split's files: ``local`` are glob patterns in a data folder, the first that matches wins (or ``every`` one)."""

    rows: int | None
    """As published."""
    local: Sequence[str] = ()
    hub_files: Sequence[str] = ()
    use: Use = "train"
    every: bool = False


def _every_row(row: Row) -> bool:
    return True


@dataclass(frozen=True)
class Source:
    """Where a data set is, and how one of its rows becomes a problem.

    ``fields`` gives for each field of the problem the name, or the possible names, in the row. ``needs``: those without
    which a row is an error; an answer may also be boxed in the solution. ``metadata``: row fields to keep as they are.
    ``prepare`` turns a row into one that can be mapped so. ``accept``: which rows belong to the set. Both are functions of
    a module, no lambdas: a source is sent to other processes.
    """

    name: str
    title: str
    licence: str
    splits: Mapping[str, Split]
    hub_repository: str = ""
    site: str = ""
    kind: Kind = "problems"
    fields: Mapping[str, str | Sequence[str]] = field(default_factory=lambda: USUAL_FIELDS)
    needs: Sequence[str] = _SOLVED
    metadata: Sequence[str] = ()
    prepare: Callable[[Row], Row] = dict
    accept: Callable[[Row], bool] = _every_row

    @property
    def homepage(self) -> str:
        return self.site or (f"https://huggingface.co/datasets/{self.hub_repository}" if self.hub_repository else "")

    def to_item(self, row: Row, row_id: str) -> MathProblem | TextDocument:
        """The row as a problem (as a text, in a source of texts).

        Raises:
            DataError: a field is missing or holds something else than text; the message names the row's fields.
        """
        row = self.prepare(row)
        if self.kind == "text":
            return TextDocument(row_id, text_field(row, self.fields["text"]), self.name)
        solution, problem = self._field(row, "solution"), self._field(row, "problem")
        boxed = last_boxed(solution)
        answer = self._field(row, "answer", boxed if boxed is not None or "answer" in self.needs else "")
        if not any(row.get(name) is not None for field in ("solution", "answer") for name in self._names(field)):
            raise DataError(f"neither a solution nor an answer; the row has {', '.join(map(repr, row))}")
        return MathProblem(
            id=self._field(row, "id", row_id),
            problem=problem,
            solution=solution,
            answer=answer.strip(),
            subject=self._field(row, "subject"),
            level=self._field(row, "level"),
            source=self.name,
            metadata={name: row[name] for name in self.metadata if name in row},
        )

    def _names(self, field: str) -> Sequence[str]:
        names = self.fields.get(field, ())
        return (names,) if isinstance(names, str) else names

    def _field(self, row: Row, field: str, default: str | None = "") -> str:
        if field in self.needs and field != "answer":
            default = None
        names = self._names(field)
        return text_field(row, names, default) if names else default or ""


def _gsm8k(row: Row) -> Row:
    """GSM8K's worked answer, ``... <<48/2=24>>24 ...\\n#### 24``, without the calculator's annotations."""
    worked, _ = text_field(row, "answer"), text_field(row, "question")
    solution = re.sub(r"<<[^<>]*>>", "", worked)
    return {
        "problem": row["question"],
        "solution": solution.rpartition("####")[0].strip() or solution,
        "answer": (solution_answer(worked) or "").replace(",", ""),
        "subject": "Arithmetic",
    }


def _gsm8k_tools(row: Row) -> Row:
    """The same, with the annotations as calls of a calculator and its output, in between the pieces of text."""
    row, worked = _gsm8k(row), text_field(row, "answer")
    pieces = re.split(r"<<([^<>]*)=([^<>=]*)>>", worked.rpartition("####")[0].strip() or worked)
    roles = ["solution", "python_call", "python_output", *(["text", "python_call", "python_output"] * len(pieces))]
    return {**row, "segments": [[role, piece] for role, piece in zip(roles, pieces, strict=False) if piece or role != "text"]}


def _posted(row: Row) -> bool:
    """Of NuminaMath what people posted: no rewritten, synthetic, MATH or GSM8K problems."""
    return row.get("source", "aops_forum") in ("aops_forum", "amc_aime", "olympiads")


def _first(value: Any) -> Any:
    """Of a list of one text, or of alternatives, the first."""
    return value[0] if isinstance(value, list) and value else value


def _olympiadbench(row: Row) -> Row:
    return {**row, **{name: _first(row.get(name)) for name in ("solution", "final_answer")}}


def _minerva(row: Row) -> Row:
    return {**row, "answer": _first(row.get("answer")), "answers": row.get("answer")}


def _whole_number(value: Any) -> Any:
    """27.0, or "27.0", as 27: how answers to such problems are written."""
    return re.sub(r"\.0$", "", str(value)) if isinstance(value, float | str) else value


def _amc(row: Row) -> Row:
    return {**row, "answer": _whole_number(row.get("answer"))}


def _svamp(row: Row) -> Row:
    problem = f"{text_field(row, 'Body').strip()} {text_field(row, 'Question').strip()}"
    return {**row, "problem": problem, "answer": _whole_number(row.get("Answer")), "subject": row.get("Type")}


def _shards(path: str, number: int) -> tuple[str, ...]:
    return tuple(f"{path}-{shard:05}-of-{number:05}.parquet" for shard in range(number))


def _split(rows: int, place: str, *hub_files: str, use: Use = "train") -> Split:
    """One split, in the data folder as ``place``.jsonl or as the Hub's own files."""
    return Split(rows, tuple(f"{place}{ending}" for ending in (".jsonl", "*.parquet", ".json")), hub_files, use)


_MATH_SUBJECTS = "algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra precalculus"


def _math(split: str, rows: int, use: Use) -> Split:
    # JSONL, or the authors' own layout: one JSON file a problem, in a folder a subject
    local = (f"math/{split}.jsonl", f"MATH/{split}/*/*.json", f"{split}/*/*.json")
    return Split(rows, local, tuple(f"{name}/{split}-00000-of-00001.parquet" for name in _MATH_SUBJECTS.split()), use)


_GSM8K = {
    "train": _split(7_473, "gsm8k/train", "main/train-00000-of-00001.parquet"),
    "test": _split(1_319, "gsm8k/test", "main/test-00000-of-00001.parquet", use="evaluate"),
}
_NUMINA = "AI-MO/NuminaMath-CoT"
_MAA = "problems (c) MAA"

_TRAINING = (
    Source(
        "math", "MATH: US competition problems by subject and level", "MIT",
        {"train": _math("train", 7_500, "train"), "test": _math("test", 5_000, "evaluate")},
        "EleutherAI/hendrycks_math", "https://github.com/hendrycks/math", fields=_MATH_FIELDS,
    ),
    Source("gsm8k", "GSM8K: grade school word problems", "MIT", _GSM8K, "openai/gsm8k", prepare=_gsm8k),
    Source(
        "gsm8k-tools", "GSM8K with its calculator as tool calls", "MIT", _GSM8K, "openai/gsm8k",
        prepare=_gsm8k_tools, metadata=("segments",),
    ),
    Source(
        "aops", "Contest problems: AIME 1983-2023, or what people posted", f"MIT / Apache-2.0, {_MAA}",
        {"train": Split(975, ("aime/*_solutions.jsonl", "aops/train.jsonl"), _shards("data/train", 5))},
        _NUMINA, fields={**_MATH_FIELDS, "subject": "subject", "level": "difficulty"},
        metadata=("year", "aime_number", "problem_number", "source"),
        accept=_posted,
    ),
    Source(
        "numina-cot", "NuminaMath-CoT: contests, school exams, synthetic", "Apache-2.0",
        {
            "train": _split(859_494, "numina-cot/train", *_shards("data/train", 5)),
            "test": _split(100, "numina-cot/test", *_shards("data/test", 1), use="evaluate"),
        },
        _NUMINA, metadata=("source",),
    ),
    Source(
        "numina-tir", "NuminaMath-TIR: solved with Python", "Apache-2.0",
        {  # file names not confirmed
            "train": _split(72_441, "numina-tir/train", *_shards("data/train", 1)),
            "test": _split(99, "numina-tir/test", *_shards("data/test", 1), use="evaluate"),
        },
        "AI-MO/NuminaMath-TIR",
    ),
    Source(
        "openmathreasoning", "OpenMathReasoning: AoPS problems, long solutions by models", "CC BY 4.0",
        {
            "cot": _split(3_201_061, "openmathreasoning/cot", *_shards("data/cot", 144)),
            "tir": _split(1_718_466, "openmathreasoning/tir", *_shards("data/tir", 72)),  # 72 files: not confirmed
        },
        "nvidia/OpenMathReasoning", metadata=("problem_source", "problem_type", "generation_model"),
    ),
    Source(
        "deepscaler", "DeepScaleR: problems with answers, for reinforcement", "MIT",
        {"train": Split(40_315, ("deepscaler/*.jsonl", "deepscaler/*.json"), ("deepscaler.json",))},
        "agentica-org/DeepScaleR-Preview-Dataset", needs=_ANSWERED,
    ),
    Source(
        "big-math", "Big-Math: problems with answers, for reinforcement", "Apache-2.0",  # licence and file not confirmed
        {"train": _split(251_122, "big-math/train", *_shards("data/train", 1))},
        "SynthLabsAI/Big-Math-RL-Verified", needs=_ANSWERED, metadata=("source", "domain", "llama8b_solve_rate"),
    ),
    Source(
        "deepmath", "DeepMath-103K: hard problems, decontaminated", "MIT",
        {"train": _split(103_110, "deepmath/train", *_shards("data/train", 10))},
        "zwhe99/DeepMath-103K", fields={**USUAL_FIELDS, "solution": "r1_solution_1"},
    ),
)  # fmt: skip


def _benchmark(name: str, title: str, licence: str, rows: int, local: str, repository: str, *files: str, **more: Any) -> Source:
    """A set that is there to evaluate: one split, answers, and solutions where somebody wrote them."""
    return Source(name, title, licence, {"test": Split(rows, (local,), files, "evaluate")}, repository, needs=_ANSWERED, **more)


_BENCHMARKS = (
    _benchmark(
        "math500", "MATH-500 of PRM800K", "MIT", 500, "math500/test.jsonl", "HuggingFaceH4/MATH-500", "test.jsonl",
        fields=_OWN_ID,
    ),
    _benchmark("aime24", "AIME 2024", _MAA, 30, "aime/aime24.jsonl", "HuggingFaceH4/aime_2024", *_shards("data/train", 1)),
    _benchmark("aime25", "AIME 2025", _MAA, 30, "aime/aime25.jsonl", "math-ai/aime25", "test.jsonl"),
    _benchmark(
        "amc23", "AMC 2023", _MAA, 40, "amc/amc23.jsonl", "math-ai/amc23", *_shards("test", 1), metadata=("url",),
        prepare=_amc,
    ),
    _benchmark(
        "aimo", "AIMO reference problems of progress prizes 2 and 3", "Kaggle's rules", 20, "aimo/*_reference.jsonl", "",
        site="https://www.kaggle.com/competitions/ai-mathematical-olympiad-progress-prize-3", fields=_OWN_ID,
    ),
    _benchmark(
        "olympiadbench", "OlympiadBench: mathematics, text only, English", "MIT / Apache-2.0",  # GitHub / Hub
        674, "olympiadbench/*.jsonl", "Hothan/OlympiadBench",
        "OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet", metadata=("answer_type", "unit", "error"),
        prepare=_olympiadbench,
    ),
    _benchmark(
        "omni-math", "Omni-MATH: olympiads", "Apache-2.0", 4_428, "omni-math/test.jsonl", "KbsdJames/Omni-MATH", "test.jsonl",
        metadata=("source", "domain"),
    ),
    _benchmark(
        "minerva", "Minerva's problems of MIT courses", "MIT", 272, "minerva_math/test.jsonl", "math-ai/minervamath", "test.jsonl",
        prepare=_minerva, metadata=("answers",),
    ),
    _benchmark(
        "svamp", "SVAMP: word problems with distracting numbers", "MIT", 1_000, "svamp/*.jsonl", "ChilleD/SVAMP",
        "train.json", "test.json", prepare=_svamp, fields={**USUAL_FIELDS, "id": "ID"}, site="https://github.com/arkilpatel/SVAMP",
    ),
)  # fmt: skip

# Not on the Hub: data folder only.
_CORPORA = tuple(
    Source(name, title, licence, {"train": Split(rows, (f"corpus/{name}.jsonl",))}, site=f"https://{site}", kind="text")
    for name, rows, licence, site, title in (
        ("aata", 26, "GFDL 1.3", "github.com/twjudson/aata", "Abstract Algebra: Theory and Applications"),
        ("diffyqs_lebl", 44, "CC BY-SA 4.0", "github.com/jirilebl/diffyqs", "Lebl, Differential Equations"),
        ("discrete_levin", 104, "CC BY-SA 4.0", "github.com/oscarlevin/discrete-book", "Levin, Discrete Mathematics"),
        ("fcla", 104, "GFDL 1.2", "github.com/rbeezer/fcla", "A First Course in Linear Algebra"),
        ("hott_book", 29, "CC BY-SA 3.0", "github.com/HoTT/book", "Homotopy Type Theory"),
        ("napkin", 106, "CC BY-SA 4.0, source GPL-3.0", "github.com/vEnhance/napkin", "An Infinitely Large Napkin"),
        ("openintro_stats", 68, "CC BY-SA 3.0", "github.com/OpenIntroStat/openintro-statistics", "OpenIntro Statistics"),
        ("openlogic", 709, "CC BY 4.0", "github.com/OpenLogicProject/OpenLogic", "Open Logic Project"),
        ("orcca", 113, "CC BY 4.0", "github.com/PCCMathSAC/orcca", "ORCCA: algebra for college"),
        ("planetmath", 8_925, "CC BY-SA 3.0", "github.com/planetmath", "PlanetMath, an encyclopedia"),
        ("ra_lebl", 47, "CC BY-SA 4.0", "github.com/jirilebl/ra", "Lebl, Basic Analysis"),
    )
)

SOURCES = {source.name: source for source in (*_TRAINING, *_BENCHMARKS, *_CORPORA)}


def custom_source(
    name: str,
    files: Sequence[str] = (),
    *,
    hub_repository: str = "",
    hub_files: Sequence[str] = (),
    fields: Mapping[str, str | Sequence[str]] | None = None,
    kind: Kind = "problems",
    licence: str = "",
    use: Use = "train",
) -> Source:
    """A set of your own, as one split named like its use.

    Args:
        files: glob patterns, seen from the working folder; all files that match are read.
        hub_repository: a data set of the Hugging Face Hub, with ``hub_files``, where there are no ``files``.
        fields: for each field of the problem (``problem``, ``solution``, ``answer``, ``subject``, ``level``, ``id``; for
            texts ``text``) the row's name for it. Those named here of the first three every row needs. For the
            others the usual names are tried: :data:`USUAL_FIELDS`.

    >>> mine = custom_source("mine", ["*.jsonl"], fields={"problem": "q", "answer": "final"})
    >>> mine.to_item({"q": "What is 1 + 1?", "final": 2}, "1").answer
    '2'

    Raises:
        DataError: no files, files of both kinds, or a field that no problem has.
    """
    if bool(files) == bool(hub_repository and hub_files):
        raise DataError(f"{name}: expected either files, or hub_repository with hub_files")
    fields = fields or {}
    known = ["text"] if kind == "text" else ["id", "problem", "solution", "answer", "subject", "level"]
    if not set(fields) <= set(known):
        raise DataError(f"{name} maps {', '.join(map(repr, fields))}: expected some of {', '.join(known)}")
    local = [os.path.join(glob.escape(os.getcwd()), os.path.expanduser(pattern)) for pattern in files]
    return Source(
        name,
        name,
        licence,
        {use: Split(None, local, hub_files, use, every=True)},
        hub_repository,
        kind=kind,
        fields={**USUAL_FIELDS, **fields},
        needs=[field for field in ("solution", "problem", "answer") if field in fields or field == "problem"],
    )

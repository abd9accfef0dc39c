"""The three loaders on local folders: what they read, and what they say of files and rows that can't be read."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from olympiad.data import DataError, MathDatasetLoader, MathProblem, TextDocument, custom_source, problem_segments
from olympiad.data.listing import source_table
from olympiad.data.loading import local_files, source_files
from olympiad.data.rows import RowError, read_rows
from olympiad.data.sources import SOURCES
from olympiad.data.texts import file_texts
from olympiad.tokenizer import Segment

MATH_ROW = {"problem": r"What is $1+1$?", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{2}$."}
GSM8K_ROW = {"question": "What is 500 plus 500?", "answer": "500 + 500 = <<500+500=1000>>1,000.\n#### 1,000"}
AIME_ROW = {"problem": "Find x.", "solution": r"It is $\boxed{007}$.", "answer": "7", "year": 1999, "difficulty": 4.5}


def write(file: Path, *rows: Any) -> Path:
    """The folder in which ``file`` (``<folder>/<set>/<name>``) now holds the rows: bytes as they are, others as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return file.parents[1]


@pytest.fixture(autouse=True)
def _no_data_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("OLYMPIAD_DATA", raising=False)


# --- what is read ------------------------------------------------------------------------------------------------


def test_math_rows(tmp_path: Path) -> None:
    """A field of MATH that ends up in another field of the problem, or an answer that is not taken from the box."""
    folder = write(tmp_path / "math/train.jsonl", MATH_ROW, {**MATH_ROW, "answer": "two", "id": "mine", "level": None})
    first, second = MathDatasetLoader(folder).load_math_dataset()
    assert first == MathProblem(
        id=first.id, problem=MATH_ROW["problem"], solution=MATH_ROW["solution"], answer="2", subject="Algebra", level="Level 1", source="math"
    )  # fmt: skip
    assert (second.id, second.answer, second.level) == ("mine", "two", "")


def test_gsm8k_rows(tmp_path: Path) -> None:
    """The calculator's annotations learned as text, the answer learned twice, or "1,000" that equals no 1000."""
    folder = write(tmp_path / "gsm8k/test.jsonl", GSM8K_ROW, {"question": "How many?", "answer": "None is marked."})
    first, second = MathDatasetLoader(folder).load_gsm8k("test")
    assert (first.problem, first.solution, first.answer) == (GSM8K_ROW["question"], "500 + 500 = 1,000.", "1000")
    assert (first.subject, first.source) == ("Arithmetic", "gsm8k")
    assert (second.solution, second.answer) == ("None is marked.", "")


def test_aops_rows(tmp_path: Path) -> None:
    """A number that is refused where text is expected, a given answer that the box overrides, a year that is lost."""
    write(tmp_path / "aime/1999_solutions.jsonl", AIME_ROW)
    folder = write(tmp_path / "aime/2000_solutions.jsonl", {**AIME_ROW, "answer": None, "year": 2000})
    first, second = MathDatasetLoader(folder).load_aops()
    assert (first.problem, first.answer, first.level, first.source) == ("Find x.", "7", "4.5", "aops")
    assert first.metadata == {"year": 1999}
    assert (second.answer, second.metadata) == ("007", {"year": 2000})


def test_aops_falls_back_to_its_own_folder(tmp_path: Path) -> None:
    """The second of a source's places never looked at, or both read at once."""
    folder = write(tmp_path / "aops/train.jsonl", {**AIME_ROW, "problem": "Find y."})
    assert [problem.problem for problem in MathDatasetLoader(folder).load_aops()] == ["Find y."]
    write(tmp_path / "aime/all_solutions.jsonl", AIME_ROW)
    assert [problem.problem for problem in MathDatasetLoader(folder).load_aops()] == ["Find x."]


@pytest.mark.parametrize("indent", [None, 4], ids=["one line", "indented"])
@pytest.mark.parametrize("inside", ["MATH", "."], ids=["beside others", "the folder itself"])
def test_authors_layout_of_math(tmp_path: Path, inside: str, indent: int | None) -> None:
    """MATH as its authors pack it (one indented JSON file a problem): unreadable, or many problems of one id."""
    for split, subject, name in [
        ("train", "algebra", 1),
        ("train", "algebra", 10),
        ("train", "geometry", 1),
        ("test", "algebra", 1),
    ]:
        file = tmp_path / inside / split / subject / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**MATH_ROW, "type": subject.title()}, indent=indent), encoding="utf-8")
    (tmp_path / inside / "README.md").write_text("not data", encoding="utf-8")
    loader = MathDatasetLoader(tmp_path)
    problems = loader.load_math_dataset("train")
    assert [problem.subject for problem in problems] == ["Algebra", "Algebra", "Geometry"]
    assert {problem.answer for problem in problems} == {"2"}
    assert len({problem.id for problem in [*problems, *loader.load_math_dataset("test")]}) == 4


def test_ids_are_those_of_the_rows(tmp_path: Path) -> None:
    """Ids counted over what was taken: a filter or a skipped row then renames every problem behind it."""
    folder = write(tmp_path / "math/train.jsonl", {**MATH_ROW, "type": "Geometry"}, b"", MATH_ROW)
    everything = MathDatasetLoader(folder).load_math_dataset()
    [algebra] = MathDatasetLoader(folder).load_math_dataset(subjects=["Algebra"])
    assert algebra.id == everything[1].id != everything[0].id
    assert algebra.id.endswith("/3")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "0123"),
        ({"subjects": ["Algebra"]}, "03"),
        ({"subjects": ["algebra", "GEOMETRY"]}, "013"),
        ({"subjects": ["counting_and_probability"]}, "2"),
        ({"subjects": ["Counting & Probability"]}, "2"),
        ({"levels": [1]}, "0"),
        ({"levels": [2, 5]}, "123"),
        ({"subjects": ["Algebra"], "levels": [2]}, "3"),
        ({"limit": 2}, "01"),
        ({"limit": 0}, ""),
        ({"limit": 99}, "0123"),
        ({"levels": [2, 5], "limit": 2}, "12"),
    ],
)
def test_filters(tmp_path: Path, filters: dict[str, Any], expected: str) -> None:
    """A filter that is not applied, applied after the limit, or blind to the other spelling of a subject."""
    kinds = [("Algebra", 1), ("Geometry", 2), ("Counting & Probability", 5), ("Algebra", 2)]
    rows = [{**MATH_ROW, "id": str(i), "type": kind, "level": f"Level {level}"} for i, (kind, level) in enumerate(kinds)]
    folder = write(tmp_path / "math/train.jsonl", *rows)
    assert "".join(problem.id for problem in MathDatasetLoader(folder).load_math_dataset(**filters)) == expected


def test_limit_reads_no_further(tmp_path: Path) -> None:
    """An error about a row that nobody asked for, and a whole file read for its first row."""
    write(tmp_path / "gsm8k/train.jsonl", GSM8K_ROW, b"broken")
    folder = write(tmp_path / "aime/a_solutions.jsonl", AIME_ROW, b"broken")
    assert len(MathDatasetLoader(folder).load_gsm8k(limit=1)) == 1
    assert len(MathDatasetLoader(folder).load_aops(limit=1)) == 1


def test_bom_line_ends_and_blank_lines(tmp_path: Path) -> None:
    """A file from Windows that can't be read, or line numbers that skip blank lines."""
    row = json.dumps(MATH_ROW, ensure_ascii=False).encode()
    other = json.dumps({**MATH_ROW, "problem": "x² ≥ 0\u2028?"}, ensure_ascii=False).encode()
    folder = write(tmp_path / "math/train.jsonl", b"\xef\xbb\xbf" + row + b"\r", b"\r", b"  ", other + b"\r", b"{")
    loader = MathDatasetLoader(folder, on_error="skip")
    with pytest.warns(UserWarning, match="line 5"):
        problems = loader.load_math_dataset()
    assert [problem.problem for problem in problems] == [MATH_ROW["problem"], "x² ≥ 0\u2028?"]


# --- where it is looked for --------------------------------------------------------------------------------------


def test_data_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OLYMPIAD_DATA ignored, or preferred to what the caller says; an empty value taken for the working folder."""
    write(tmp_path / "one/gsm8k/train.jsonl", GSM8K_ROW)
    write(tmp_path / "two/gsm8k/train.jsonl", {**GSM8K_ROW, "question": "Two?"})
    monkeypatch.setenv("OLYMPIAD_DATA", str(tmp_path / "one"))
    assert MathDatasetLoader().load_gsm8k()[0].problem == GSM8K_ROW["question"]
    assert MathDatasetLoader(tmp_path / "two").load_gsm8k()[0].problem == "Two?"
    assert MathDatasetLoader(str(tmp_path / "two")).load_gsm8k()[0].problem == "Two?"
    monkeypatch.setenv("OLYMPIAD_DATA", "")
    assert MathDatasetLoader().data_dir is None
    monkeypatch.delenv("OLYMPIAD_DATA")
    assert MathDatasetLoader().data_dir is None


def load(loader: MathDatasetLoader, name: str, split: str = "train") -> list[MathProblem]:
    return {"math": loader.load_math_dataset, "gsm8k": loader.load_gsm8k, "aops": loader.load_aops}[name](split)


@pytest.mark.parametrize("name", ["math", "gsm8k", "aops"])
def test_missing_folder_and_missing_files(tmp_path: Path, name: str) -> None:
    """A traceback, an empty list, or a message that does not say where the files belong."""
    with pytest.raises(DataError, match=r"no folder .*absent.*OLYMPIAD_DATA.*Hugging Face Hub"):
        load(MathDatasetLoader(tmp_path / "absent"), name)
    with pytest.raises(DataError) as caught:
        load(MathDatasetLoader(tmp_path), name)
    assert str(tmp_path) in str(caught.value)
    assert all(place in str(caught.value) for place in SOURCES[name].splits["train"].local)


@pytest.mark.parametrize(("name", "exists"), [("math", "'train', 'test'"), ("gsm8k", "'train', 'test'"), ("aops", "'train'")])
def test_unknown_split(tmp_path: Path, name: str, exists: str) -> None:
    """A misspelt split that is reported as a missing file, or without the names that there are."""
    with pytest.raises(DataError, match=f"{name} has no split 'validation', only {exists}$"):
        load(MathDatasetLoader(tmp_path), name, "validation")


@pytest.mark.parametrize("name", ["math", "gsm8k", "aops"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    """Training on no problem at all."""
    path = {"math": "math/train.jsonl", "gsm8k": "gsm8k/train.jsonl", "aops": "aops/train.jsonl"}[name]
    folder = write(tmp_path / path)
    with pytest.raises(DataError, match=rf"{name} \(train\) holds no problem"):
        load(MathDatasetLoader(folder), name)


@pytest.mark.parametrize("filters", [{"subjects": ["Algerba"]}, {"subjects": []}, {"levels": [9]}])
def test_filters_that_nothing_fits(tmp_path: Path, filters: dict[str, Any]) -> None:
    """A misspelt subject that gives an empty training set without a word."""
    folder = write(tmp_path / "math/train.jsonl", MATH_ROW)
    with pytest.raises(DataError, match="no problem that fits: check the files, subjects and levels"):
        MathDatasetLoader(folder).load_math_dataset(**filters)


# --- rows that can't be read -------------------------------------------------------------------------------------

BROKEN = {
    "not JSON": (b'{"problem": "cut', r"not JSON \(.+\)"),
    "huge number": (b'{"problem": ' + b"1" * 5_000 + b"}", r"not JSON \(.+digits"),
    "deep": (b"[" * 100_000, r"not JSON \(.*recursion"),
    "an array": (["problem"], "holds a list, expected an object"),
    "a text": ("problem", "holds a str, expected an object"),
    "null": (None, "holds a NoneType, expected an object"),
    "no field": ({"Problem": "x", "solution": ""}, "no field 'problem'; the row has 'Problem', 'solution'"),
    "no field at all": ({}, "no field 'solution'; the row has none"),
    "null field": ({**MATH_ROW, "problem": None}, "field 'problem' is null"),
    "a list field": ({**MATH_ROW, "problem": ["x"]}, r"field 'problem' holds a list, expected text: \['x'\]"),
    "a bool field": ({**MATH_ROW, "answer": True}, "field 'answer' holds a bool, expected text: True"),
    "empty problem": ({**MATH_ROW, "problem": " \n"}, "the problem is empty"),
    "not UTF-8": (b'{"problem": "caf\xe9", "solution": ""}', r"not UTF-8 \(byte 16: "),
    "half a character": (b'{"problem": "x \\ud835", "solution": ""}', "field 'problem' is not Unicode"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_row_is_named_and_stops_the_load(tmp_path: Path, kind: str) -> None:
    """A traceback, or an error that does not say which line of which file is wrong, and how."""
    row, reason = BROKEN[kind]
    folder = write(tmp_path / "math/train.jsonl", MATH_ROW, b"", row, MATH_ROW)
    with pytest.raises(DataError, match=rf"train.jsonl, line 3: {reason}.*on_error='skip'"):
        MathDatasetLoader(folder).load_math_dataset()


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_row_is_skipped_and_counted(tmp_path: Path, kind: str) -> None:
    """A row lost without a word, or good rows lost with it."""
    row, reason = BROKEN[kind]
    folder = write(tmp_path / "math/train.jsonl", MATH_ROW, row, MATH_ROW, row)
    loader = MathDatasetLoader(folder, on_error="skip")
    with pytest.warns(UserWarning, match=rf"math \(train\): skipped 2 rows .*train.jsonl, line 2: {reason}") as warned:
        problems = loader.load_math_dataset()
    assert [problem.problem for problem in problems] == [MATH_ROW["problem"]] * 2
    assert [(error.file, error.line) for error in loader.errors] == [(tmp_path / "math/train.jsonl", line) for line in (2, 4)]
    assert warned[0].filename == __file__  # the caller's line, not ours


@pytest.mark.parametrize(
    ("name", "path", "row", "field"),
    [
        ("math", "math/train.jsonl", {"problem": "x?"}, "solution"),
        ("gsm8k", "gsm8k/train.jsonl", {"question": "x?"}, "answer"),
        ("gsm8k", "gsm8k/train.jsonl", {"answer": "#### 1"}, "question"),
        ("aops", "aops/train.jsonl", {"problem": "x?"}, "solution"),
    ],
)
def test_needed_fields_of_each_source(tmp_path: Path, name: str, path: str, row: dict[str, str], field: str) -> None:
    """A row without its solution taken for a problem."""
    with pytest.raises(DataError, match=f"line 1: no field '{field}'"):
        load(MathDatasetLoader(write(tmp_path / path, row)), name)


def test_one_bad_file_of_many(tmp_path: Path) -> None:
    """An error about line 1 without the name of the one file out of 7,500."""
    folder = write(tmp_path / "MATH/train/algebra/1.json", MATH_ROW).parents[1]
    write(tmp_path / "MATH/train/algebra/2.json", b"{")
    with pytest.raises(DataError, match=r"algebra.2\.json, line 1: not JSON"):
        MathDatasetLoader(folder).load_math_dataset()


def test_errors_of_several_loads_are_kept(tmp_path: Path) -> None:
    """Errors of an earlier load lost, or counted again in the warning of the next one."""
    folder = write(tmp_path / "gsm8k/train.jsonl", GSM8K_ROW, b"1", b"2")
    write(tmp_path / "gsm8k/test.jsonl", GSM8K_ROW, b"3")
    loader = MathDatasetLoader(folder, on_error="skip")
    with pytest.warns(UserWarning, match="skipped 2 rows"):
        loader.load_gsm8k()
    with pytest.warns(UserWarning, match="skipped 1 rows"):
        loader.load_gsm8k("test")
    assert [error.line for error in loader.errors] == [2, 3, 2]


def test_on_error_is_checked() -> None:
    """A misspelt on_error that skips nothing, or everything."""
    with pytest.raises(ValueError, match="on_error is 'ignore', expected 'raise' or 'skip'"):
        MathDatasetLoader(on_error="ignore")  # type: ignore[arg-type]


# --- files that can't be read ------------------------------------------------------------------------------------


def test_file_that_is_a_folder(tmp_path: Path) -> None:
    """A traceback out of open()."""
    (tmp_path / "math/train.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match=r"can't read .*train\.jsonl: Is a directory"):
        MathDatasetLoader(tmp_path, on_error="skip").load_math_dataset()


def test_parquet_rows_are_numbered_through(tmp_path: Path) -> None:
    """Row numbers that begin anew with each batch that is read."""
    file = tmp_path / "rows.parquet"
    parquet.write_table(arrow.table({"n": list(range(2_500))}), file, row_group_size=700)
    assert list(read_rows(file)) == [(n + 1, {"n": n}) for n in range(2_500)]


@pytest.mark.parametrize("keep", [0, 3, 100, -1], ids=["empty", "three bytes", "the head", "all but a byte"])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    """A traceback, or the first half of a data set taken for the whole."""
    file = tmp_path / "rows.parquet"
    parquet.write_table(arrow.table({"problem": [f"problem {i}" for i in range(1_000)]}), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        DataError, match=r"rows\.parquet is not a whole Parquet file .*delete .*rows\.parquet to fetch it again"
    ):
        list(read_rows(file))


def test_parquet_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    """A traceback out of pyarrow."""
    with pytest.raises(DataError, match="can't read"):
        list(read_rows(tmp_path / "absent.parquet"))
    parquet.write_table(arrow.table({"problem": arrow.array([b"\xff"]).view(arrow.string())}), tmp_path / "bytes.parquet")
    with pytest.raises(DataError, match=r"bytes\.parquet"):
        list(read_rows(tmp_path / "bytes.parquet"))


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare ModuleNotFoundError for who did not install the extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install huggingface_hub pyarrow"):
        list(read_rows(tmp_path / "rows.parquet"))


def test_hub_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare ModuleNotFoundError for who did not install the extra."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"needs huggingface_hub: pip install huggingface_hub pyarrow"):
        MathDatasetLoader().load_gsm8k()


def test_row_error_reads_well() -> None:
    """An error without its place."""
    assert str(RowError(Path("a.jsonl"), 3, "not JSON")) == "a.jsonl, line 3: not JSON"


def test_texts_of_files(tmp_path: Path) -> None:
    """Texts for the tokenizer that leave out a field or a kind of file, or pass over a broken row."""
    folder = write(tmp_path / "corpus/a.jsonl", {"text": "one"}, {**MATH_ROW, "id": "no text"})
    (tmp_path / "corpus/b.txt").write_text("plain\ntext", encoding="utf-8")
    files = [folder / "corpus/a.jsonl", folder / "corpus/b.txt"]
    assert list(file_texts(files)) == ["one", MATH_ROW["problem"], MATH_ROW["solution"], "plain\ntext"]
    write(tmp_path / "corpus/a.jsonl", b"{")
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: not JSON"):
        list(file_texts(files))


# --- the real sets -----------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("OLYMPIAD_DATA"), reason="OLYMPIAD_DATA names no folder with the problem sets")
@pytest.mark.parametrize(
    ("name", "split", "count", "unanswered"),
    [("math", "train", 7_500, 2), ("math", "test", 5_000, 0), ("gsm8k", "train", 7_473, 0), ("gsm8k", "test", 1_319, 0), ("aops", "train", 975, 0)],
)  # fmt: skip
def test_real_sets_load_whole(name: str, split: str, count: int, unanswered: int) -> None:
    """A mapping that fits the rows of these tests only."""
    problems = load(MathDatasetLoader(), name, split)
    assert len(problems) == count == len({problem.id for problem in problems})
    assert all(problem.problem and problem.solution and problem.source == name for problem in problems)
    assert sum(not problem.answer for problem in problems) == unanswered  # two boxes of MATH are empty
    if name == "gsm8k":
        assert all(float(problem.answer) == int(problem.answer) for problem in problems)
        assert not any("<<" in problem.solution or "####" in problem.solution for problem in problems)
    if name == "math":
        assert len({problem.subject for problem in problems}) == 7
        assert {problem.level for problem in problems} - {"Level ?"} == {f"Level {level}" for level in range(1, 6)}


def test_only_posted_problems_of_the_aops_collection(tmp_path: Path) -> None:
    """Guards against training on rewritten GSM8K and MATH problems that the collection mixes in."""
    rows = [
        {"problem": f"Find the number {name}.", "solution": r"\boxed{1}", "source": name}
        for name in ("aops_forum", "gsm8k", "synthetic_math")
    ]
    (tmp_path / "aops").mkdir()
    (tmp_path / "aops/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [problem.metadata["source"] for problem in MathDatasetLoader(tmp_path).load_aops()] == ["aops_forum"]


# --- the registry ------------------------------------------------------------------------------------------------

ROWS = {
    "olympiadbench": ({"question": "x?", "solution": ["s", "t"], "final_answer": ["7"], "subfield": "Algebra", "unit": None}, ("s", "7", "Algebra")),
    "minerva": ({"problem": "x?", "solution": "s", "type": "Chemistry", "answer": ["9.6\n", "9.60\n"]}, ("s", "9.6", "Chemistry")),
    "svamp": ({"Body": "x", "Question": "y?", "Answer": 51.0, "Type": "Subtraction", "ID": "c"}, ("", "51", "Subtraction")),
    "amc23": ({"question": "x?", "answer": 27.0}, ("", "27", "")),
    "aime24": ({"problem": "x?", "reference_solution": "s", "expected_answer": "073"}, ("s", "073", "")),
    "openmathreasoning": ({"problem": "x?", "generated_solution": r"\boxed{5}", "expected_answer": None}, (r"\boxed{5}", "5", "")),
    "deepmath": ({"question": "x?", "final_answer": "1", "r1_solution_1": "s", "topic": "Calculus"}, ("s", "1", "Calculus")),
    "numina-cot": ({"problem": "x?", "solution": r"$\boxed{3}$", "messages": [{}], "source": "cn_k12"}, (r"$\boxed{3}$", "3", "")),
    "big-math": ({"problem": "x?", "answer": "4", "domain": ["Algebra"]}, ("", "4", "")),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_each_kind(name: str) -> None:
    """A field that ends up in another field of the problem, or a list taken for an answer."""
    row, expected = ROWS[name]
    item = SOURCES[name].to_item(row, "7")
    assert isinstance(item, MathProblem)
    assert (item.solution, item.answer, item.subject) == expected
    assert (item.problem, item.source) == ("x y?" if name == "svamp" else "x?", name)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("aime24", {"problem": "x?", "expected_answer": None}, "field 'expected_answer' is null; the row has"),
        ("deepscaler", {"problem": "x?"}, "no field 'answer' or .*; the row has 'problem'"),
        ("olympiadbench", {"question": "x?", "final_answer": [["1"]]}, "field 'final_answer' holds a list"),
        ("openlogic", {"path": "a.tex"}, "no field 'text' or 'content'; the row has 'path'"),
    ],
)
def test_rows_without_what_their_source_needs(name: str, row: dict[str, Any], message: str) -> None:
    """An evaluation problem without an answer that counts as never solved, or an empty text."""
    with pytest.raises(DataError, match=message):
        SOURCES[name].to_item(row, "7")


def test_text_source(tmp_path: Path) -> None:
    """A text taken for a problem, or loaded as one."""
    assert SOURCES["openlogic"].to_item({"text": "Let $x$."}, "7") == TextDocument("7", "Let $x$.", "openlogic")
    folder = write(tmp_path / "corpus/openlogic.jsonl", {"text": "Let $x$."})
    with pytest.raises(DataError, match="openlogic holds texts, no problems"):
        MathDatasetLoader(folder).load("openlogic")
    with pytest.raises(DataError, match="there is no data set 'opnlogic'; did you mean 'openlogic'"):
        MathDatasetLoader(folder).load("opnlogic")


def test_gsm8k_calculator_as_tool_calls() -> None:
    """Calls out of place, text lost between them, or a second start of the solution after an output."""
    row = {"question": "x?", "answer": "A is 48/2 = <<48/2=24>>24 and <<24*2=48>>48.\n#### 48"}
    item = SOURCES["gsm8k-tools"].to_item(row, "7")
    assert isinstance(item, MathProblem)
    assert (item.solution, item.answer) == ("A is 48/2 = 24 and 48.", "48")
    assert problem_segments(item) == [
        Segment("problem", "x?"),
        Segment("solution", "A is 48/2 = "),
        Segment("python_call", "48/2"),
        Segment("python_output", "24"),
        Segment("text", "24 and "),
        Segment("python_call", "24*2"),
        Segment("python_output", "48"),
        Segment("text", "48."),
        Segment("answer", "48"),
    ]
    bare = SOURCES["gsm8k-tools"].to_item({"question": "x?", "answer": "<<1+1=2>>\n#### 2"}, "7")
    assert isinstance(bare, MathProblem)
    assert problem_segments(bare)[1] == Segment("solution", "")  # opens the solution, where the prompt ends


def test_sources_can_be_sent_to_other_processes() -> None:
    """A lambda in an entry: workers can't be given the source."""
    for source in (*SOURCES.values(), custom_source("mine", ["a.jsonl"])):
        assert pickle.loads(pickle.dumps(source)) == source


# --- sets of one's own -------------------------------------------------------------------------------------------


def test_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns seen from the data folder, files after the first left out, or a name with brackets that is no pattern."""
    folder = tmp_path / "work [1]"
    write(folder / "a/one.jsonl", {"q": "One?", "final": 1})
    write(folder / "b/two.csv", b"q,final", b"Two?,2")
    monkeypatch.chdir(folder)
    mine = custom_source(
        "mine", ["a/*.jsonl", str(tmp_path / "work [[]1]/b/*.csv")], fields={"problem": "q", "answer": "final"}
    )
    problems = MathDatasetLoader().load(mine)
    assert [(problem.problem, problem.answer, problem.source) for problem in problems] == [
        ("One?", "1", "mine"),
        ("Two?", "2", "mine"),
    ]
    assert source_files(mine, "train", tmp_path / "elsewhere") == [folder / "a/one.jsonl", folder / "b/two.csv"]
    with pytest.raises(DataError, match=r"mine: each of these has to match a file: .*a/\*\.jsonl, .*absent\.csv"):
        source_files(custom_source("mine", ["a/*.jsonl", "absent.csv"]), "train")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "x?", "response": "r", "expected_answer": "1"}, ("r", "1")),
        ({"prompt": "x?", "generated_solution": r"\boxed{2}"}, (r"\boxed{2}", "2")),
        ({"problem": "x?", "question": "no", "answer": 3}, ("", "3")),
    ],
)
def test_fields_are_guessed(row: dict[str, Any], expected: tuple[str, str]) -> None:
    """A set with the usual names that needs a mapping all the same."""
    item = custom_source("mine", ["a.jsonl"]).to_item(row, "1")
    assert isinstance(item, MathProblem)
    assert (item.problem, item.solution, item.answer) == ("x?", *expected)


@pytest.mark.parametrize(
    ("fields", "row", "message"),
    [
        ({"problem": "q", "answer": "final"}, {"q": "x?", "answer": "1"}, "no field 'final'; the row has 'q', 'answer'"),
        ({"problem": "q", "solution": "s"}, {"q": "x?", "s": None}, "field 's' is null; the row has 'q', 's'"),
        (None, {"task": "x?", "answer": "1"}, "no field 'problem' or 'question' or 'prompt'; the row has 'task', 'answer'"),
        (None, {"problem": "x?", "result": "1"}, "neither a solution nor an answer; the row has 'problem', 'result'"),
    ],
)
def test_missing_field_is_named(fields: dict[str, str] | None, row: dict[str, Any], message: str) -> None:
    """A mapping that fits no row, and a set of empty problems out of it."""
    with pytest.raises(DataError, match=message):
        custom_source("mine", ["a.jsonl"], fields=fields).to_item(row, "1")


def test_own_texts(tmp_path: Path) -> None:
    """Plain text files that count as problems without a statement."""
    (tmp_path / "a.tex").write_text("Let $x$.", encoding="utf-8")
    mine = custom_source("mine", [str(tmp_path / "*.tex")], kind="text", use="evaluate")
    [file] = source_files(mine, "evaluate")
    assert [mine.to_item(row, "1") for _, row in read_rows(file)] == [TextDocument("1", "Let $x$.", "mine")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"files": ["a"], "hub_repository": "x/y", "hub_files": ["a"]}, {"hub_repository": "x/y"},
     {"files": ["a"], "fields": {"problem": "p", "anwser": "a"}},
     {"files": ["a"], "fields": {"problem": "p"}, "kind": "text"}],
)  # fmt: skip
def test_own_set_that_is_none(arguments: dict[str, Any]) -> None:
    """A misspelt field, or no files, found out only after hours."""
    with pytest.raises(DataError, match=r"^mine"):
        custom_source("mine", **arguments)


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [100, 160])
def test_table_of_sources(tmp_path: Path, width: int) -> None:
    """A set that lies here and is not shown as here, or names cut off on a screen of usual width."""
    folder = write(tmp_path / "gsm8k/train.jsonl", GSM8K_ROW)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(source_table(folder))
    lines = console.export_text().splitlines()
    [gsm8k] = [line for line in lines if line.startswith("gsm8k ")]
    assert all(word in gsm8k for word in ("7,473", "train", "gsm8k/, 0.1 kB", "MIT"))
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in SOURCES)
    assert "Big-Math-RL-Verified" in "".join(line.strip().split("  ")[-1].strip() for line in lines)
    assert not any("…" in line for line in lines)


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("OLYMPIAD_DATA"), reason="OLYMPIAD_DATA names no folder with the problem sets")
def test_every_set_that_is_here() -> None:
    """A mapping that was written from memory."""
    folder = Path(os.environ["OLYMPIAD_DATA"])
    seen = set()
    for source in SOURCES.values():
        for split in source.splits.values():
            for file in local_files(split, folder):
                items = [source.to_item(row, str(line)) for line, row in read_rows(file) if not isinstance(row, RowError)]
                assert items
                assert source.kind == "text" or split.use == "train" or all(item.answer for item in items)  # type: ignore[union-attr]
                seen.add(source.name)
    assert {"math", "gsm8k-tools", "aops", "deepscaler", "aime24", "amc23", "aimo", "olympiadbench", "minerva", "svamp"} <= seen

"""``olympiad data report``: all that the manifest counts, in two formats that no problem's text can break."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.config import parse_recipe
from olympiad.data import DataError
from olympiad.data.prepare import prepare
from olympiad.data.report import _escaped, _fenced, write_report

HOSTILE = "<script>alert(1)</script> | a | b\n```\n# heading\n````\n\u2028 \x00 &amp; <b> ![x](http://x.org) $\\frac{"
LEAKED = "A train leaves the station at noon and travels east at 60 miles per hour for three hours. How far does it go?"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    balls = "In box {} there are {} red and {} blue balls. How many are there?"
    rows = [{"problem": balls.format(n, 3 * n, n + 2), "level": f"{n % 14}|", "subject": HOSTILE} for n in range(40)]
    rows += [rows[3], *({"problem": text} for text in (HOSTILE, LEAKED, f"{LEAKED} {HOSTILE[:45]}", "x"))]
    (folder / "set.jsonl").write_text("".join(json.dumps(row | {"solution": r"$\boxed{4}$"}) + "\n" for row in rows))
    (folder / "test.jsonl").write_text(json.dumps({"problem": LEAKED}) + "\n")
    source = {"files": [str(folder / "set.jsonl")], "licence": "a|b <b>", "epochs": 2.5}
    prepare(parse_recipe({"evaluate": [str(folder / "test.jsonl")], "sources": {"balls": source}}, "recipe"), folder / "out", 0)
    write_report(folder / "out", folder / "report")
    return folder


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def read(prepared: Path, kind: str) -> str:
    return (prepared / "report" / f"report.{kind}").read_text(encoding="utf-8")


def outside_fences(markdown: str) -> str:  # a fence closes with one at least as long
    return re.sub(r"^(`{3,})text\n.*?\n\1`*$", "", markdown, flags=re.DOTALL | re.MULTILINE)


def test_every_number_of_the_manifest_is_there(prepared: Path) -> None:
    """A source, a reason or a count that the report forgets; a format that says less than the other."""
    manifest = json.loads((prepared / "out" / "manifest.json").read_text())
    balls = manifest["sources"]["balls"]
    assert balls["rejected"] == {"contaminated": 2, "duplicate": 1, "short_problem": 1, "unbalanced_braces": 1}
    numbers = [balls[key] for key in ("rows", "documents", "tokens", "targets")] + balls["lengths"]["counts"]
    numbers += [*balls["rejected"].values(), *(each["pairs"] for each in manifest["overlaps"]["evaluation"])]
    words = [*(f"{number:,}" for number in numbers), *balls["rejected"], balls["files"][0]["sha256"][:16], "2.5", "others: 7"]
    words += [manifest["tokenizer"]["fingerprint"][:16], "olympiad data prepare recipe.toml --out out"]
    assert all(f"| {reason} | {count} |" in read(prepared, "md") for reason, count in balls["rejected"].items())
    for text in (read(prepared, "md"), Tags(read(prepared, "html")).text):
        assert [word for word in words if not re.search(rf"(?<![\d,]){re.escape(word)}(?![\d,]\d)", text)] == []


def test_texts_break_neither_format(prepared: Path) -> None:
    """A problem that runs as a script, loads a picture, or ends a fence or a table cell."""
    page = Tags(read(prepared, "html"))
    assert not {"script", "link", "iframe", "a", "b"} & {tag for tag, _ in page.tags}
    addresses = [value or "" for _, names in page.tags for name, value in names if name in ("src", "href")]
    assert [address[:22] for address in addresses] == ["data:image/png;base64,"] * 5
    assert "<script>alert(1)</script>" in page.text
    rest = outside_fences(read(prepared, "md"))
    assert not re.search(r"(?<!\\)(?:<|```|\]\(http)", rest)
    assert [line for line in rest.splitlines() if line.startswith("# ")] == ["# Report on out"]
    for table in re.findall(r"(?:^\|.*\n)+", rest, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert all((prepared / "report" / image).exists() for image in re.findall(r"(?<!\\)!\[.*?\]\((.*?)\)", rest))


@given(st.text(alphabet="`~<|\\ \n\r\ta_*[]()&#1.\x85\u2028", max_size=60))
def test_markdown_of_any_text(text: str) -> None:
    """A text that ends its own fence, or the cell of a table."""
    assert outside_fences(_fenced(text)) == outside_fences(_fenced(text, 20)) == ""
    assert not re.search(r"(?<!\\)[|<`\n]", _escaped(text).replace("\\\\", ""))


def test_the_same_folder_gives_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    """A date, a version or the order of a set in the pages or the pictures; a recipe in it that makes something else."""
    for path in write_report(prepared / "out", tmp_path / "again"):
        assert path.read_bytes() == (prepared / "report" / path.relative_to(tmp_path / "again")).read_bytes()
    recipe = tomllib.loads(read(prepared, "md").split("```text\n")[-2].split("```")[0])
    prepare(parse_recipe(recipe, "recipe"), tmp_path / "out", 0)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == (prepared / "out" / "manifest.json").read_bytes()


def test_clear_errors(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback for a folder that is not prepared or lost its hits, a place that is a file, a missing package."""
    with pytest.raises(DataError, match="holds no prepared data"):
        write_report(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"can't write .*jsonl.*--out"):
        write_report(prepared / "out", prepared / "set.jsonl")
    damaged = shutil.copytree(prepared / "out", tmp_path / "damaged")
    for content, message in (("", "has 0 lines, the manifest counts 2"), ("{}\n", "hits.jsonl, line 1")):
        (damaged / "hits.jsonl").write_text(content)
        with pytest.raises(DataError, match=message):
            write_report(damaged, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(DataError, match=r"olympiad\[plots\]"):
        write_report(prepared / "out", tmp_path)


def test_no_examples(prepared: Path, tmp_path: Path) -> None:
    """Problems of a set in a report that was to go without them."""
    write_report(prepared / "out", tmp_path, examples=False)
    texts = (tmp_path / "report.md").read_text() + (tmp_path / "report.html").read_text()
    assert "Examples from" not in texts
    assert "<details" not in texts
    assert "What was left out" in texts

"""Reports: complete, of the file alone, and safe whatever a model writes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made import Parrot, evaluate, right, task

from olympiad.evaluation import report
from olympiad.evaluation.errors import EvaluationError
from olympiad.evaluation.report import write_reports
from olympiad.files import OutputError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' | ` [x](javascript:alert(3)) \x1b[31m \u202e $\\frac{1}{2}$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")

    def answer(request, number: int) -> str:  # type: ignore[no-untyped-def]
        return [right(request), HOSTILE, rf"So \boxed{{{number}}}.", right(request)][number % 4]

    evaluate(folder, Parrot(answer), task(6, samples=4), task(5, name="once"))
    write_reports(folder)
    return folder


def test_summary(folder: Path) -> None:
    """Guards against names that others read having changed, and numbers that JSON does not have."""
    text = (folder / "summary.json").read_text()
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(summary) == ["sums", "once"]
    sums = summary["sums"]
    assert {"accuracy", "standard_error", "samples_per_problem", "verdicts"} <= sums.keys()
    assert sums["samples_per_problem"] == 4
    assert sum(sums["verdicts"].values()) == 24
    assert sums["verdicts"]["correct"] >= 12
    assert list(sums["by_level"]) == ["Level 1", "Level 2", "Level 3"]


def test_everything_comes_from_the_results(folder: Path) -> None:
    """Guards against numbers that are kept elsewhere, and reports that differ from call to call."""
    names = ("summary.json", "report.md", "report.html")
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    write_reports(folder)
    assert {name: (folder / name).read_bytes() for name in names} == before


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, value in attributes if name.startswith("on") or "javascript" in (value or "")]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)


def test_no_text_becomes_markup(folder: Path) -> None:
    """Guards against what a model wrote running in the browser of who reads about it."""
    html = (folder / "report.html").read_text()
    tags = _Tags()
    tags.feed(html)
    assert tags.scripts == [report.SCRIPT]
    assert not tags.handlers
    assert "alert(1)" in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    digest = base64.b64encode(hashlib.sha256(report.SCRIPT.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:" in html
    assert not re.search(r'(?:src|href)=["\']?(?:http|//)', html)


def test_transcripts_can_be_filtered(folder: Path) -> None:
    """Guards against filters whose values no transcript has, and answers that are missing from the page."""
    html = (folder / "report.html").read_text()
    assert html.count("<details class=answer") == 29
    for key in report.KEYS:
        (select,) = re.findall(rf"<select data-key={key} .*?</select>", html)
        for value in re.findall(r'<option value="([^"]+)"', select):
            assert f'data-{key}="{value}"' in html


def test_mathematics_is_readable(folder: Path) -> None:
    """Guards against LaTeX in the transcripts, where Unicode says it; as written it stands below."""
    html = (folder / "report.html").read_text()
    assert "So it is ⟦1⟧." in html
    assert r"So it is $\boxed{1}$." in html


def test_markdown(folder: Path) -> None:
    """Guards against cells that break a table, and pictures that are not there."""
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 5
    for name in pictures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    tables = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(tables) > 20
    assert "alert" not in text
    assert report._cell("a | b\n`c` <i>") == r"a \| b \`c\` \<i\>"


def test_a_large_evaluation_makes_a_page_that_opens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a page of gigabytes; what is left out is said."""
    monkeypatch.setattr(report, "MOST_TRANSCRIPTS", 10)
    write_reports(folder)
    html = (folder / "report.html").read_text()
    assert html.count("<details class=answer") == 10
    assert "10 of 29, evenly taken" in html


def test_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against no report at all where pictures can't be drawn."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    write_reports(folder)
    assert "pip install &#x27;olympiad[plots]&#x27;" in (folder / "report.html").read_text()


def test_pictures_of_an_earlier_report(tmp_path: Path) -> None:
    """Guards against a traceback where they can't be written, and old pictures that are taken for those of this report."""
    evaluate(tmp_path, Parrot(right), task(3))
    images = tmp_path / "report-images"
    images.write_text("")
    with pytest.raises(OutputError, match=r"can't write the pictures into .*report-images: .*--recompute"):
        write_reports(tmp_path)
    images.unlink()
    images.mkdir()
    for name in ("99-gone.png", "mine.png"):
        (images / name).write_bytes(b"")
    write_reports(tmp_path)
    shown = set(re.findall(r"report-images/([^)]+)", (tmp_path / "report.md").read_text()))
    assert {each.name for each in images.iterdir()} == shown | {"mine.png"}


def test_unfinished_and_contaminated(folder: Path) -> None:
    """Guards against half an evaluation, or one on the training set, that reads like a whole and honest one."""
    results, content = folder / "results.jsonl", (folder / "results.jsonl").read_text()
    overlaps = {"known": True, "note": "compared", "documents": 9, "problems": {"sums": {"sum/0": "exact"}}}
    try:
        results.write_text("".join(content.splitlines(keepends=True)[:7]))
        (folder / "contamination.json").write_text(json.dumps(overlaps))
        assert write_reports(folder)["sums"]["trained_on"] == 1
        text = (folder / "report.md").read_text()
        assert "sums is not finished: 7 of 24 answers" in text
        assert "The model was trained on problems that it is evaluated on" in text
    finally:
        results.write_text(content)
        (folder / "contamination.json").unlink()


def test_nothing_to_report(tmp_path: Path) -> None:
    """Guards against a traceback for a folder without an evaluation."""
    with pytest.raises(EvaluationError, match=r"holds no evaluation: expected settings\.json"):
        write_reports(tmp_path)
    (tmp_path / "settings.json").write_text('{"benchmarks": {}, "model": "m"}')
    with pytest.raises(EvaluationError, match="holds no answers yet"):
        write_reports(tmp_path)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(EvaluationError, match="is not what an evaluation writes"):
        write_reports(tmp_path)

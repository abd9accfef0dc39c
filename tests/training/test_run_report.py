"""``olympiad report``: what the rows of a run say, in a page that no text of theirs can break."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from olympiad.cli import main
from olympiad.files import OutputError
from olympiad.training.curves import INK, MOST_POINTS, _thinned, smoothed
from olympiad.training.errors import ReportError
from olympiad.training.record import RunRecord
from olympiad.training.report import MOST_SAMPLED_STEPS, write_report

HOSTILE = "_</text></pre><script>alert(1)</script><img src=http://x.org> $\\frac{ \" ' \x00\u202e]]>"
TOML = 'name = "first"\nnum_epochs = 4\n\n[training]\nlearning_rate = 0.001\n'


def make_run(folder: Path, rows: list[Any], toml: str | None = TOML, torn: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
    if toml is not None:
        (folder / "run.toml").write_text(toml)
    return folder


def steps(count: int, per_epoch: int = 10, **fields: Any) -> list[dict[str, Any]]:
    """Steps of 100 tokens and half a second; a validation each tenth step, and another row after it."""
    rows: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        now = {"step": step, "epoch": round(step / per_epoch, 4)}
        row = {**now, "loss": 5 / step, "gradient_norm": 1.0, "learning_rate": 1e-3, "tokens": 100, "seconds": 0.5}
        rows.append({**row, "tokens_per_second": 200.0, **fields})
        if step % 10 == 0:
            rows.append({**now, "validation_loss": 2 + abs(step - 20) / 100, "bits_per_byte": 0.5 + abs(step - 20) / 100})
            rows.append({**now, "samples": [{"problem": f"Problem {step}", "text": f"Text {step}"}]})
    return rows


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        images = [fields for tag, fields in self.tags if tag == "img"]
        self.titles = [str(fields["alt"]) for fields in images]
        prefix = "data:image/svg+xml;base64,"
        assert all(str(fields["src"]).startswith(prefix) for fields in images)
        self.pictures = [base64.b64decode(str(fields["src"]).removeprefix(prefix)).decode() for fields in images]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "

    def has(self, *words: str) -> bool:
        """Whether the words stand in the page one after the other."""
        return re.sub(r"\s+", " ", " ".join(words)) in re.sub(r"\s+", " ", self.text)


def page_of(*folders: Path, **options: Any) -> Page:
    return Page(write_report(folders, **options)[0])


def test_what_a_run_says_of_itself(tmp_path: Path) -> None:
    """Wrong sums, a plan that is guessed wrong, a later row of a step that hides the number of an earlier one."""
    page = page_of(make_run(tmp_path / "run", steps(40, mfu=0.25, memory_bytes=3 * 2**30)))
    assert page.has("first", "finished", "all 4 epochs")
    assert page.has("Steps", "40", "of 40 planned", "Training time", "20.0 s", "without validation", "Tokens", "4,000")
    assert page.has("Best validation loss", "2.0000", "at step 20", "Best bits per byte", "0.5000", "at step 20")
    assert page.has("Tokens per second", "200", "median", "FLOPs utilisation", "25.0%", "median", "Peak memory (GiB)", "3.00")
    assert page.has(
        "Last validation", "Step 40.", "Source", "Loss in nats per token", "Bits per byte", "all", "2.2000", "0.7000"
    )
    assert page.has("learning_rate = 0.001")


def test_each_number_has_its_picture(tmp_path: Path) -> None:
    """An empty picture for a number that the run does not have, or none for one that it has."""
    bare = [{"step": step, "epoch": step / 10, "loss": 1.0} for step in range(1, 5)]
    assert page_of(make_run(tmp_path / "bare", bare)).titles == ["Loss (nats per token)"]
    rows = [*steps(10, mfu=0.25, memory_bytes=1), {"step": 10, "validation_loss/gsm8k": 1.25, "bits_per_byte/gsm8k": 0.75}]
    page = page_of(make_run(tmp_path / "full", rows))
    assert [title.partition(" (")[0] for title in page.titles] == [
        *("Loss", "Bits per byte", "Learning rate", "Gradient norm"),
        *("Throughput", "Model FLOPs utilisation", "Memory"),
    ]
    assert [word for word in ("training", "validation") if word not in page.pictures[0]] == []
    assert [word for word in (">all<", ">gsm8k<") if word not in page.pictures[1]] == []
    assert page.has("gsm8k", "1.2500", "0.7500")


def test_texts_are_shown_as_they_are(tmp_path: Path) -> None:
    """A name, a source or a sample that runs as a script, loads a picture, or breaks the SVG that it stands in."""
    toml = f"name = {json.dumps(HOSTILE)}\n"
    rows = [*steps(10), {"step": 9, "samples": [{"problem": HOSTILE, "text": f"$\\boxed{{5}}$ {HOSTILE}"}]}]
    rows += [{"step": 10, f"bits_per_byte/{HOSTILE}": 1.0}, {"step": 7, "event": HOSTILE, HOSTILE: HOSTILE}]
    first = make_run(tmp_path / "first", rows, toml)
    for folders in ((first,), (first, make_run(tmp_path / "second", rows, TOML))):
        page = page_of(*folders)
        assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "a", "text"} == set()
        assert page.has("<script>alert(1)</script><img src=http://x.org>")
        assert page.has("$\\boxed{5}$")
        assert "\x00" not in page.text + "".join(page.pictures)
        trees = [ElementTree.fromstring(picture) for picture in page.pictures]
        assert not any("script" in element.tag for tree in trees for element in tree.iter())
        assert not any(re.search('url\\((?!#)|href="[^#]', picture) for picture in page.pictures)
        assert any("_</text></pre>" in "".join(tree.itertext()) for tree in trees)  # in a legend, though it begins with "_"
    assert "default-src 'none'" in (first / "report.html").read_text()


def test_pictures_follow_a_dark_screen(tmp_path: Path) -> None:
    """Dark letters on a dark page: matplotlib's SVG has to name the colours the way that our style finds them."""
    for picture in page_of(make_run(tmp_path / "run", steps(30))).pictures:
        style, drawn = picture.split("</style>", 1)
        assert f'[style*="fill: {INK}"] {{ fill: #' in style
        assert f"fill: {INK}" in drawn
        assert f"stroke: {INK}" in drawn
        assert "#ffffff" not in drawn


@pytest.mark.parametrize(
    "torn", ['{"step": 41, "lo', "\x00\x00", "[1]\nnull\n7\n", '{"step": 1e999}\n{"step": "x"}\n{"loss": 3}\n']
)
def test_rows_that_are_none(tmp_path: Path, torn: str) -> None:
    """A traceback for the half line of a killed run, for a row without a step, or for a value of another kind."""
    odd = [{"step": 5, "loss": None, "tokens": "many", "samples": "none", "seconds": True}, {"step": 6, "samples": [3, {}]}]
    page = page_of(make_run(tmp_path / "run", [*steps(40), *odd], torn=torn))
    assert page.has("Steps", "40", "of 40 planned", "Training time", "20.0 s")
    assert page.has("Step", "Event", "Details", "5", "not finite", "loss")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "no", r"no does not exist: expected the folder of a run"),
        (lambda folder: make_run(folder / "run", steps(2)) / "metrics.jsonl", r"metrics\.jsonl is a file: expected the folder"),
        (lambda folder: folder, r"holds no metrics\.jsonl \(nothing\)"),
        (lambda folder: make_run(folder / "run", []), "has no whole row with a step"),
        (lambda folder: make_run(folder / "run", [{"loss": 1.0}], torn='{"step": 1'), "has no whole row with a step"),
    ],
)
def test_folders_without_a_run(tmp_path: Path, make: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback, or an empty page, where one line can tell what is missing."""
    with pytest.raises(ReportError, match=message):
        write_report([folder := make(tmp_path)])
    assert main(["report", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback for no run at all, for a place that can't be written, for a package that is missing."""
    run = make_run(tmp_path / "run", steps(2))
    with pytest.raises(ReportError, match="needs the folder of a run"):
        write_report([])
    with pytest.raises(OutputError, match=r"can't write .*Not a directory"):
        write_report([run], run / "run.toml" / "report.html")
    with pytest.raises(ReportError, match="--png writes pictures beside the page"):
        write_report([run], Path(os.devnull), png=True)
    (run / "report-images").write_text("")
    with pytest.raises(ReportError, match=r"can't write .*choose another place with --out"):
        write_report([run], png=True)
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ReportError, match=r"pip install 'olympiad\[plots\]'"):
        write_report([run])


@pytest.mark.parametrize(
    ("toml", "age", "state", "planned"),
    [
        (TOML, 0, "running", "of 40 planned"),
        (TOML, 3600, "interrupted", "of 40 planned"),
        (TOML.replace("4", "2"), 3600, "finished", "of 20 planned"),
        (None, 3600, "unknown", ""),
        ("num_epochs = [", 3600, "unknown", ""),
    ],
)
def test_states(tmp_path: Path, toml: str | None, age: float, state: str, planned: str) -> None:
    """A run that goes on called interrupted, or one that was killed called finished."""
    run = make_run(tmp_path / "run", steps(20), toml)
    os.utime(run / "metrics.jsonl", (time.time() - age,) * 2)
    page = page_of(run)
    assert [fields["class"] for tag, fields in page.tags if (fields.get("class") or "").startswith("state")] == [
        f"state {state}"
    ]
    assert page.has("Steps", "20", planned or "Training time")


def test_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs under one name or colour, a run that is left out, a table that compares other things than the pictures."""
    first = make_run(tmp_path / "first", steps(40))
    second = make_run(tmp_path / "second", steps(20, mfu=0.5), TOML.replace("first", "other").replace("0.001", "0.002"))
    page = page_of(first, second, first, out=tmp_path / "both.html")
    assert page.has("2 runs", "first", "other", "State", "finished", "running", "Steps, of 40 planned", "40", "20")
    assert page.has("Best validation loss, at step 20", "2.0000", "2.0000")
    assert page.has("FLOPs utilisation, median", "–", "50.0%")
    assert page.has("Settings that differ", "first", "other", "training.learning_rate", "0.001", "0.002")
    assert not page.has("num_epochs", "4", "4")
    assert page.titles[:3] == ["Training loss (nats per token)", "Validation loss (nats per token)", "Bits per byte"]
    for title, picture in zip(page.titles, page.pictures, strict=True):
        assert ">other<" in picture
        assert (">first<" in picture) == (not title.startswith("Model FLOPs"))
    strokes = {
        match for picture in page.pictures for match in re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.5", picture)
    }
    assert len(strokes) == 2  # "other" has its colour also where it is alone
    (second / "run.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)  # of one name: their folders tell them apart
    assert page_of(Path("first"), Path("second")).has("2 runs", "first", "second", "State")


def test_pictures_as_files(tmp_path: Path) -> None:
    """Pictures that nobody asked for, or that were asked for and are no PNG."""
    run = make_run(tmp_path / "run", steps(10))
    assert write_report([run]) == [run / "report.html"]
    _, *pictures = write_report([run], png=True)
    assert pictures[0] == run / "report-images" / "01-loss.png"
    assert [path.read_bytes()[:4] for path in pictures] == [b"\x89PNG"] * 5


def test_events_and_samples(tmp_path: Path) -> None:
    """A spike or a rollback that the page passes over; samples of hundreds of steps that make it heavy."""
    rows = [*steps(400), {"step": 7, "event": "spike", "loss": 9.25, "skipped": True}, {"step": 8, "event": "rollback"}]
    page = page_of(make_run(tmp_path / "run", rows))
    assert page.has("Events", "Step", "Event", "Details", "7", "spike", "loss 9.25, skipped True", "8", "rollback")
    assert page.has("12 of 40 steps.", "Step 10", "Problem 10", "Text 10")
    assert page.has("Step 400", "Problem 400", "Text 400", "run.toml")
    folded = [fields for tag, fields in page.tags if tag == "details"]
    assert ["open" in fields for fields in folded] == [False] * (MOST_SAMPLED_STEPS - 1) + [True, False]


def test_a_long_run(tmp_path: Path) -> None:
    """A page of many megabytes, or one whose thinned curves lost the spike; an average that lags behind."""
    curve = {step: 100.0 if step == 77_777 else 1 + 1e-5 * step for step in range(100_000)}
    thinned, values = _thinned(curve)
    assert len(thinned) <= MOST_POINTS + 2
    assert (values[list(thinned).index(77_777)], thinned[0], thinned[-1]) == (100.0, 0, 99_999)
    smooth = smoothed({step: float(step) for step in range(1000)})
    assert [smooth[step] for step in (0, 500, 999)] == [5.0, 500.0, 994.0]
    path = write_report([make_run(tmp_path / "run", steps(20_000, mfu=0.3, memory_bytes=1))])[0]
    assert path.stat().st_size < 500_000


def test_a_real_run(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of the trainer under other names than the report looks for."""
    tiny.trainer(tmp_path / "real").train(num_epochs=2)
    capsys.readouterr()
    assert main(["report", str(tmp_path / "real"), "--png"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "real" / "report.html")
    page = Page(tmp_path / "real" / "report.html")
    assert len(page.titles) == 7
    assert page.has("real", "finished")
    assert RunRecord(tmp_path / "real").steps == 8

"""What ``--out FILE`` does to links, pipes, devices and folders, for every verb that has one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from olympiad.cli import main
from olympiad.files import OutputError, file_behind, written

Command = Callable[[Path], list[str]]


@pytest.fixture(params=["data generate", "data decontaminate", "verify-file", "report"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Command:
    """The arguments of a verb that writes a little to a place."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "What is 2 + 2?"}) + "\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"gold": "4", "prediction": "4"}) + "\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    rows, verb = str(tmp_path / "rows.jsonl"), request.param
    rest = {
        "data generate": ["--count", "1", "--levels", "1", "--families", "ages"],
        "data decontaminate": ["--train", rows, "--evaluate", rows],
        "verify-file": [str(tmp_path / "pairs.jsonl"), "--workers", "0"],
        "report": [str(tmp_path / "run")],
    }[verb]
    return lambda out: [*verb.split(), *rest, "--out", str(out)]


def test_links_are_written_through(command: Command, tmp_path: Path) -> None:
    """A link that becomes a file, with what it led to left as it was."""
    target, link, chain = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "chain"
    target.parent.mkdir()
    link.symlink_to("there/target")
    chain.symlink_to(link)
    assert main(command(chain)) == 0  # the target is not there yet
    assert (chain.is_symlink(), link.is_symlink(), target.is_symlink()) == (True, True, False)
    assert target.read_text().endswith("\n")
    assert os.listdir(target.parent) == ["target"]


def test_folders_and_circles(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback, or a folder that is replaced, where a file was expected."""
    (tmp_path / "circle").symlink_to("circle")
    for name, message in (("run", "it is a folder"), ("circle", "symbolic links"), ("rows.jsonl/x", "Not a directory")):
        assert main(command(tmp_path / name)) == 1
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_pipes(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe that is replaced by a file; a summary in the midst of what was written; a resumable verb that hangs."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    arguments, read = command(tmp_path / "link"), []
    if arguments[0] == "verify-file":
        assert main(arguments) == 1
        assert "is a pipe or a device: expected a file" in capsys.readouterr().err
    else:
        reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()), daemon=True)
        reader.start()
        assert main(arguments) == 0
        reader.join(timeout=30)
        assert read
        assert read[0].endswith("\n")
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "link" in printed.err
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /dev/stdout as Linux has it")
def test_standard_output(tmp_path: Path) -> None:
    """The device's link replaced by a file; a file that the shell appends to replaced by a new one."""
    log = tmp_path / "all.jsonl"
    log.write_text("before\n")
    (tmp_path / "stdout").symlink_to("/dev/stdout")  # as a user might replace it, but not on this machine
    code = "import sys; from olympiad.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["data", "generate", "--count", "1", "--levels", "1", "--families", "ages", "--out"]
    with log.open("a") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, str(tmp_path / "stdout")],
            stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("1 problems written")) == (0, 1)
    before, problem = log.read_text().splitlines()
    assert before == "before"
    assert json.loads(problem)["solution"]
    assert (tmp_path / "stdout").is_symlink()


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    """A file that is half written, left beside, or open to more people than before."""
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o640)
    with pytest.raises(ZeroDivisionError), written(file) as text:
        text.writelines(str(1 // (1 - number)) for number in (0, 1))
    assert file.read_text() == "old"
    with written(file) as text:
        text.write("new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode), os.listdir(tmp_path)) == ("new", 0o640, ["file"])
    with pytest.raises(OutputError, match="No such file"), written(tmp_path / "no" / "file"):
        pass
    assert file_behind(Path(os.devnull)) is None

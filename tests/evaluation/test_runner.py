"""An evaluation that is killed, torn, doubled, mixed up: answers are kept and never asked for twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from made import Parrot, evaluate, right, task

from olympiad.evaluation.backends import Request, Response
from olympiad.evaluation.errors import BackendError, EvaluationError
from olympiad.evaluation.runner import locked, read_results, rejudge, request_seed


def test_rows_say_everything(tmp_path: Path) -> None:
    """Guards against a row that lacks what a metric or a reader needs."""
    (row,) = evaluate(tmp_path, Parrot(right), task(1))
    told = {
        name: row[name] for name in ("verdict", "answer", "gold", "finish_reason", "answer_rule", "tokens", "prompt_tokens")
    }
    assert told == {
        "verdict": "correct",
        "answer": "1",
        "gold": "1",
        "finish_reason": "stop",
        "answer_rule": "boxed",
        "tokens": 10,
        "prompt_tokens": 5,
    }
    assert row["reason"].startswith("they are equal")
    assert row["seed"] == request_seed(0, "sums", "sum/0", 0)
    assert row["quality"]["validity"] == 1.0
    assert (row["subject"], row["level"], row["source"], row["prompt"]) == ("subject 0", "Level 1", "test", "the prompt")


def test_verdicts(tmp_path: Path) -> None:
    """Guards against a missing answer that counts as unjudgeable, and a refusal or a hopeless answer that counts as wrong."""
    said: list[Any] = ["I cannot solve it.", r"\boxed{\text{the square}}", None, r"\boxed{8}"]

    def answer(request: Request, number: int) -> str | Response:
        text = said[number]
        return Response(request, finish_reason="refused", refused="too long") if text is None else text

    rows = evaluate(tmp_path, Parrot(answer), task(4))
    assert [row["verdict"] for row in rows] == ["wrong", "unjudgeable", "unjudgeable", "wrong"]
    assert [row["answer"] is None for row in rows] == [True, False, True, False]
    assert rows[2]["reason"] == "no answer was given: too long"
    assert rows[2]["quality"] == {}


def test_seeds_do_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    """Guards against samples that are all alike, and seeds that shift when a limit or another benchmark is added."""
    seeds: dict[str, int | None] = {}

    def remember(request: Request, number: int) -> str:
        assert seeds.setdefault(request.id, request.sampling.seed) == request.sampling.seed
        return "1"

    evaluate(tmp_path / "a", Parrot(remember), task(2, samples=3))
    evaluate(tmp_path / "b", Parrot(remember), task(1, name="other"), task(3, samples=4))
    assert len(set(seeds.values())) == len(seeds) == 13
    assert all(0 <= (seed or 0) < 2**31 for seed in seeds.values())


def test_temperature_follows_the_samples(tmp_path: Path) -> None:
    """Guards against k equal greedy samples, and against a greedy benchmark that is sampled."""
    found: dict[str, float] = {}

    def remember(request: Request, number: int) -> str:
        found[json.loads(request.id)[0]] = request.sampling.temperature
        return "1"

    evaluate(tmp_path / "a", Parrot(remember), task(1), task(1, samples=2, name="several"))
    assert found == {"sums": 0.0, "several": 0.7}
    evaluate(tmp_path / "b", Parrot(remember), task(1), task(1, samples=2, name="several"), temperature=0.3)
    assert found == {"sums": 0.3, "several": 0.3}


def test_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Guards against answers that are lost when a backend fails, and asked for again."""

    def fails(request: Request, number: int) -> str:
        if number == 2:
            raise BackendError("down")
        return right(request)

    first, second, third = Parrot(fails), Parrot(right), Parrot(right)
    with pytest.raises(BackendError, match="down"):
        evaluate(tmp_path, first, task(5))
    assert len(read_results(tmp_path)) == 2
    rows = evaluate(tmp_path, second, task(5))
    assert first.asked + second.asked == [json.dumps(["sums", f"sum/{n}", 0]) for n in range(5)]
    assert [row["verdict"] for row in rows] == ["correct"] * 5
    assert evaluate(tmp_path, third, task(5)) == rows
    assert not third.asked


@pytest.mark.parametrize("torn", [b'{"benchmark": "sums", "prob', b"\x00\x00\x00\n", b'{"benchmark": "sums"}\n', b"\xff\n"])
def test_a_torn_last_line_is_asked_again(tmp_path: Path, torn: bytes) -> None:
    """Guards against a torn line that the next row is glued to, or that stops the evaluation for good."""
    evaluate(tmp_path, Parrot(right), task(3))
    results = tmp_path / "results.jsonl"
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:2]) + torn)
    assert len(read_results(tmp_path)) == 2
    again = Parrot(right)
    assert len(evaluate(tmp_path, again, task(3))) == 3
    assert len(again.asked) == 1
    assert [json.loads(line)["problem_id"] for line in results.read_bytes().splitlines()] == ["sum/0", "sum/1", "sum/2"]


def test_every_cut_is_repaired(tmp_path: Path) -> None:
    """Guards against one place of a kill, within a row or between two, after which rows are lost or doubled."""
    whole = evaluate(tmp_path, Parrot(right), task(2))
    results = tmp_path / "results.jsonl"
    content = results.read_bytes()
    for cut in range(0, len(content), 97):
        results.write_bytes(content[:cut])
        rows = read_results(tmp_path, repair=True)
        assert rows == whole[: content[:cut].count(b"\n")]
        assert results.read_bytes() == b"".join(content.splitlines(keepends=True)[: len(rows)])


def test_damage_before_the_end_is_told(tmp_path: Path) -> None:
    """Guards against rows that are dropped without a word, since a line in the midst was never torn by a kill."""
    evaluate(tmp_path, Parrot(right), task(3))
    results = tmp_path / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    results.write_text(lines[0] + lines[1][:50] + "\n" + lines[2])
    with pytest.raises(EvaluationError, match=r"line 2, is damaged: delete the line"):
        evaluate(tmp_path, Parrot(right), task(3))


def test_doubled_rows_count_once(tmp_path: Path) -> None:
    """Guards against a problem that counts twice where two files were put together."""
    evaluate(tmp_path, Parrot(right), task(2))
    results = tmp_path / "results.jsonl"
    results.write_bytes(results.read_bytes() * 2)
    assert len(read_results(tmp_path)) == 2


def test_other_settings_are_refused(tmp_path: Path) -> None:
    """Guards against answers of two settings, or of two models, in one file; the message says what differs."""
    evaluate(tmp_path, Parrot(right), task(3))
    before = (tmp_path / "results.jsonl").read_bytes()
    for changed, told in (
        ({"temperature": 0.5}, "temperature: none there, 0.5 now"),
        ({"model": "n"}, "model: m there, n now"),
        ({"seed": 3, "top_p": 0.5}, "top_p: 1.0 there, 0.5 now; seed: 0 there, 3 now"),
    ):
        with pytest.raises(EvaluationError, match=re.escape(told)):
            evaluate(tmp_path, Parrot(right), task(3), **changed)
    with pytest.raises(EvaluationError, match=r"sums:1 \(3 problems, \w+, temperature 0.0\) there, sums:1 \(4 problems, "):
        evaluate(tmp_path, Parrot(right), task(4))
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_an_attempt_without_answers_binds_nobody(tmp_path: Path) -> None:
    """Guards against a folder that is locked to settings which never gave an answer."""

    def fail(request: Request, number: int) -> str:
        raise BackendError("no chat template")

    with pytest.raises(BackendError):
        evaluate(tmp_path, Parrot(fail), task(1))
    assert evaluate(tmp_path, Parrot(right), task(1), temperature=0.5)[0]["verdict"] == "correct"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1 + 0 = 1. Then half of that, which is", "wrong"),  # a number on the way
        ("<think> Maybe \\boxed{1}? Let me see", "wrong"),
        ("<think> Yes. </think> So it is \\boxed{1}. To make sure,", "correct"),
    ],
)
def test_what_was_cut_off_was_not_answered(tmp_path: Path, text: str, verdict: str) -> None:
    """Guards against an answer that is read off the place where the limit of tokens happened to be."""
    rows = evaluate(tmp_path, Parrot(lambda request, _: Response(request, text, finish_reason="length")), task(1))
    assert rows[0]["verdict"] == verdict
    assert rows[0]["quality"]["completeness"] == float(verdict == "correct")


def test_answers_are_judged_again(tmp_path: Path) -> None:
    """Guards against verdicts of an earlier judge that stay, and against answers that are lost on the way."""
    rows = evaluate(tmp_path, Parrot(right), task(3))
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"verdict": "correct"', '"verdict": "wrong"', 2))
    assert rejudge(tmp_path) == 2
    assert read_results(tmp_path) == rows
    assert rejudge(tmp_path) == 0


def test_the_temperature_is_written_down(tmp_path: Path) -> None:
    """Guards against samples of which nobody can say how they were drawn."""
    evaluate(tmp_path, Parrot(right), task(1), task(1, samples=4, name="more"))
    about = json.loads((tmp_path / "settings.json").read_text())["benchmarks"]
    assert (about["sums"]["temperature"], about["more"]["temperature"]) == (0.0, 0.7)


def test_other_weights_at_the_same_place_are_refused(tmp_path: Path) -> None:
    """Guards against going on with a checkpoint that training has overwritten since."""
    model = tmp_path / "model.pt"
    model.write_bytes(b"1")
    evaluate(tmp_path / "out", Parrot(right), task(1), model=str(model))
    model.write_bytes(b"12")
    with pytest.raises(EvaluationError, match="weights: "):
        evaluate(tmp_path / "out", Parrot(right), task(1), model=str(model))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """Guards against two processes that append to one file."""
    with locked(tmp_path), pytest.raises(EvaluationError, match="another evaluation writes into"):
        evaluate(tmp_path, Parrot(right), task(1))
    evaluate(tmp_path, Parrot(right), task(1))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Guards against a traceback for a folder that is a file, or that has results of something else."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="choose another --out"):
        evaluate(tmp_path / "file", Parrot(right), task(1))
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(EvaluationError, match="holds results without settings"):
        evaluate(tmp_path, Parrot(right), task(1))


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from made import Parrot, evaluate, right, task
def slowly(request, number):
    time.sleep(0.01)
    return right(request)
if __name__ == "__main__":
    backend = Parrot(slowly)
    evaluate(Path({folder!r}), backend, task(40))
    print(len(backend.asked))
"""


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Guards against rows that a kill -9 loses or doubles; what is whole is never asked for again."""
    script = tmp_path / "script.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "out")))
    results, done = tmp_path / "out" / "results.jsonl", 0
    for kill_after in (1, 7, 20):
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not results.exists() or results.read_bytes().count(b"\n") < kill_after):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = len(read_results(tmp_path / "out"))
        assert done >= kill_after
    last = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, env=os.environ)
    assert int(last.stdout) == 40 - done
    assert len({json.loads(line)["problem_id"] for line in results.read_text().splitlines()}) == 40
    assert results.read_text().count("\n") == 40

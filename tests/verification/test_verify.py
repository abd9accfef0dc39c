"""Verdicts, policies, extraction, the pool of processes and the command line."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from olympiad.cli import main
from olympiad.verification import POLICIES, Policy, Verdict, extract_answer, verify, verify_batch
from olympiad.verification.extraction import choice_letter


@dataclass(frozen=True)
class Slow(Policy):
    """A policy that hangs, or dies, on one answer."""

    def __getattribute__(self, name: str) -> object:
        if name == "whole":
            import inspect
            import os

            frame = inspect.currentframe()
            text = frame.f_back.f_locals.get("prediction", "") if frame and frame.f_back else ""
            if text == "hang":
                time.sleep(60)
            if text == "die":
                os._exit(1)
        return super().__getattribute__(name)


def test_a_verdict_says_why() -> None:
    """A verdict that nobody can check."""
    verdict = verify(r"\frac{1}{2}", r"So it is $\boxed{0.5}$.")
    assert (verdict.outcome, verdict.gold, verdict.prediction) == ("correct", r"\frac{1}{2}", "0.5")
    assert verdict.parsed_gold[0] == verdict.parsed_prediction[0] == "expression"
    assert verdict.rule == "exact value"
    assert verify("x + 1", "a cat").outcome == "unjudgeable"
    assert verify("", "5").outcome == verify("5", "").outcome == "unjudgeable"
    assert verify(None, 5).outcome == "unjudgeable"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "outcomes"),  # with the gold answers 160 and 7
    [
        ("80 + 80 = 160 points", ["correct", "wrong"]),
        ("80 + 80 points = 160 points", ["correct", "wrong"]),
        ("80 + 90 = 150", ["wrong", "wrong"]),
        ("80 + 80 = 7", ["unjudgeable", "unjudgeable"]),
        ("7 \\cdot 20 = 160 feet", ["unjudgeable", "wrong"]),
        ("160 feet = 1920 inches", ["unjudgeable", "unjudgeable"]),
    ],
)
def test_a_chain_of_numbers_is_its_value(answer: str, outcomes: list[str]) -> None:
    """Guards against a last line "80 + 80 = 160 points" that is not judged, and a false one that is right by one of its sides."""
    assert [verify(gold, f"The final answer is ${answer}$.").outcome for gold in ("160", "7")] == outcomes


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("x = 1", "(x - 1)^2 = 0", "unjudgeable"),
        ("xy = 1", "y = 1/x", "unjudgeable"),
        ("x^2 + y^2 = 25", "x^2 + y^2 = 24", "wrong"),
        (r"x = k\pi", r"x = n\pi", "unjudgeable"),
        (r"x = k\pi", r"x = 2n\pi", "wrong"),
        ("2x + 1", "2y + 1", "wrong"),
        ("a = b = c", "a = c", "unjudgeable"),
        ("a = b = c", "$a=b=c$", "correct"),
    ],
)
def test_what_is_undecided_is_not_called_wrong(gold: str, answer: str, expected: str) -> None:
    """Two ways to write one set of solutions that were called different, or the reverse."""
    assert verify(gold, answer).outcome == verify(answer, gold).outcome == expected


@pytest.mark.parametrize(
    ("policy", "gold", "answer", "expected"),
    [
        ("default", "50", r"50\%", "correct"),
        ("strict", "50", r"50\%", "wrong"),
        ("strict", "0.5", r"50\%", "correct"),
        ("strict", "5", r"5\text{ cm}", "unjudgeable"),
        ("default", "5", r"5\text{ cm}", "correct"),
        ("default", "6.67", r"\frac{20}{3}", "wrong"),
        ("rounded", "6.67", r"\frac{20}{3}", "correct"),
        ("rounded", "6.67", r"\frac{20.1}{3}", "wrong"),
        ("default", "4.123105625617661", r"\sqrt{17}", "correct"),
        ("strict", "4.123105625617661", r"\sqrt{17}", "wrong"),
        ("aime", "025", r"The answer is $\boxed{25}$", "correct"),
        ("aime", "25", r"\frac{51}{2}", "wrong"),
        ("aimo", "17", "100017", "correct"),
        ("aimo", "17", "17.5", "wrong"),
        ("gsm8k", "1,200", "He pays 1200 dollars.\n#### 1200", "correct"),
        ("multiple_choice", "C", "The answer is (C).", "correct"),
        ("multiple_choice", "C", "The answer is (D).", "wrong"),
    ],
)
def test_policies(policy: str, gold: str, answer: str, expected: str) -> None:
    """A convention of one benchmark that is applied in another."""
    assert verify(gold, answer, policy).outcome == expected


def test_unknown_policy() -> None:
    """A misspelt policy that silently is the default."""
    with pytest.raises(ValueError, match="no policy 'aimee', expected one of default"):
        verify("1", "1", "aimee")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"First $\boxed{3}$, no: $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
        (r"<think>\boxed{3}</think> The answer is 4.", "4"),
        ("16 - 7 = 9\n#### 9", "9"),
        ("The final answer is $x = 5$. I hope it is correct.", "x = 5"),
        ("所以一共有 3 + 10 = 13 只鸟。", "13"),
        ("Die Antwort lautet 7.", "7"),
        ("La réponse est 12.", "12"),
        ("La respuesta es 8.", "8"),
        ("Therefore there are 12 ways to do this.", "12"),
        (r"\boxed{ 5 and that is all", "5 and that is all"),
        ("There is nothing at all to be seen in here.", None),
        ("", None),
    ],
)
def test_extraction(text: str, answer: str | None) -> None:
    """An answer taken from the wrong place of a text."""
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "letter"),
    [("(B)", "B"), (r"\textbf{(A)}\ 5", "A"), ("The answer is D, not C", "D"), ("A or B", None), ("42", None)],
)
def test_choices(text: str, letter: str | None) -> None:
    """A letter that was only mentioned."""
    assert choice_letter(text) == letter


def test_batches_keep_their_order_and_lose_one_pair_to_a_hang() -> None:
    """A batch that waits for ever, or dies as a whole, for one pair."""
    pairs = [(str(number), str(number + number % 3)) for number in range(150)]
    pairs[70:70] = [("x", "hang"), ("x", "die")]
    started = time.monotonic()
    verdicts = verify_batch(pairs, workers=2, policy=Slow("slow"), timeout=2)
    assert time.monotonic() - started < 30
    assert [v.outcome for v in verdicts[70:72]] == ["unjudgeable"] * 2
    assert "within 2 seconds" in verdicts[70].reason
    assert "died" in verdicts[71].reason
    expected = ["correct" if number % 3 == 0 else "wrong" for number in range(150)]
    assert [v.outcome for v in verdicts[:70] + verdicts[72:]] == expected


def test_from_threads() -> None:
    """Verdicts that depend on what another thread computes, and timeouts that only work in the main thread."""
    results: list[list[Verdict]] = []
    threads = [
        threading.Thread(target=lambda: results.append([verify(r"\sqrt{2}+1", r"\frac{1}{\sqrt2-1}") for _ in range(40)]))
        for _ in range(4)
    ]
    threads.append(threading.Thread(target=lambda: results.append(verify_batch([("1", "1.0")] * 5, workers=1))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 5
    assert all(verdict.correct for verdicts in results for verdict in verdicts)


def test_verify_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict without its reason, or a traceback for a policy that is not there."""
    assert main(["verify", "--gold", r"\frac12", "--answer", "It is 0.5."]) == 0
    assert "correct: they are equal" in capsys.readouterr().out
    assert main(["verify", "--gold", "1", "--answer", "2", "--policy", "none"]) == 1
    assert "expected one of default" in capsys.readouterr().err


def test_verify_file_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows judged twice or never after an interruption, or a last line that was half written."""
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "verdicts.jsonl"
    pairs.write_text("".join(json.dumps({"gold": str(n), "pred": f"It is {n + n % 2}."}) + "\n" for n in range(9)))
    command = ["verify-file", str(pairs), "--out", str(out), "--workers", "0"]
    assert main(command) == 0
    assert "5 correct, 4 wrong, 0 unjudgeable of 9" in capsys.readouterr().out
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    assert main(command) == 0
    assert out.read_bytes() == whole
    pairs.write_text(json.dumps({"gold": "7", "pred": "7"}) + "\n")
    assert main(command) == 1
    assert "choose another file" in capsys.readouterr().err
    pairs.write_text(json.dumps({"gold": "7"}) + "\n")
    assert main([*command[:-3], str(tmp_path / "new.jsonl")]) == 1
    assert "row 1: expected a text under 'prediction'" in capsys.readouterr().err


def test_every_policy_is_documented() -> None:
    """A policy that nobody can find out about."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "verification.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in POLICIES)

"""``olympiad generate``, ``chat`` and ``solve`` as their users meet them, on a model that knows one problem by heart."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from olympiad.cli import main
from olympiad.errors import UserError
from olympiad.inference.chat import Chat
from olympiad.inference.voting import vote
from olympiad.model.sampling import SamplingOptions


@pytest.fixture(scope="module")
def checkpoint(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainer = tiny.trainer(tmp_path_factory.mktemp("inference"), num_problems=1, batch_size=1, validate=False)
    trainer.train(num_epochs=60)
    return trainer.checkpoint_dir / "best_model.pt"


def chat(
    lines: list[str], arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    code = main(["chat", *arguments])
    return code, capsys.readouterr().out


def test_chat_answers(
    tiny: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a question asked in another form than in training, a save without answers, lines after /quit."""
    problem = tiny.problems(1)[0]
    lines = [problem.problem, f"/save {tmp_path / 'talk.md'}", "/quit", "/seed 3"]
    code, printed = chat(lines, [str(checkpoint)], monkeypatch, capsys)
    assert code == 0
    assert printed.startswith(problem.solution)
    assert "seed" not in printed
    saved = (tmp_path / "talk.md").read_text()
    assert saved.index(problem.problem) < saved.index(problem.solution)


def test_chat_commands(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a retry that gives the same answer, and a seed or temperature that changes nothing."""
    lines = ["/temperature 5", "/seed 1", "Why?", "/retry", "/seed 1", "Why?"]
    code, printed = chat(lines, [str(checkpoint), "--max-new-tokens", "8"], monkeypatch, capsys)
    assert code == 0
    _, _, after_seed = printed.partition("seed 1\n")
    first, _, rest = after_seed.partition("seed 2\n")
    retried, _, again = rest.partition("seed 1\n")
    assert first.strip()
    assert first != retried
    assert first == again


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/retri", "no command /retri; did you mean /retry?"),
        ("/retry", "nothing was asked yet"),
        ("/seed x", "seed"),
        ("/temperature -1", "temperature: Input should be greater than or equal to 0"),
        ("/save", "/save needs a file"),
        ("/save /no/such/folder/talk.md", "can't write /no/such/folder/talk.md"),
        ("1 + " * 100, "prompt 0 has 302 tokens, the model a context of 128: shorten it"),
    ],
)
def test_chat_goes_on_after_mistakes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    """Guards against a conversation lost to a slip of the finger."""
    code, printed = chat([line, "/help"], [str(checkpoint)], monkeypatch, capsys)
    assert code == 0
    assert f"error: {message}" in printed
    assert printed.index(message) < printed.index("/quit")


def test_solve(tiny: Any, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against votes that are counted apart, or lost."""
    problem = tiny.problems(1)[0]
    assert main(["solve", str(checkpoint), problem.problem, "--samples", "5", "--temperature", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert f"Answer: {problem.answer}\n" in printed
    assert "100%" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "mth"], "no policy 'mth', expected one of default"),
        (["--samples", "0"], "num_samples: Input should be greater than or equal to 1"),
        (["--batch-size", "0"], "max_batch_size is 0, expected at least 1"),
        (["--cuda-graphs"], "cuda_graphs need CUDA"),
    ],
)
def test_solve_mistakes(checkpoint: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Guards against tracebacks for options out of range."""
    assert main(["solve", str(checkpoint), "1 + 2", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err


@pytest.mark.parametrize("verb", ["generate", "chat", "solve"])
def test_models_that_are_not_there(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a download tried, or a traceback, for a file name that is misspelt."""
    problem = [] if verb == "chat" else ["1 + 2"]
    assert main([verb, str(tmp_path / "no.gguf"), *problem]) == 1
    assert "no.gguf" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([verb, "model", *problem, "--sampels", "3"])
    assert "Unrecognized options: --sampels" in capsys.readouterr().err


class Scripted:
    """An engine with a context of 12 words, that does what it is told to, one thing a question."""

    def __init__(self, *acts: str | BaseException) -> None:
        self.acts, self.tokenizer, self.max_length, self.asked = list(acts), self, 12, list[int]()

    def chat_prompt(self, messages: list[dict[str, str]]) -> list[int]:
        return [1] * sum(len(each["content"].split()) for each in messages)

    def generate(self, prompts: list[list[int]], _: SamplingOptions, on_token: Callable[[int, int, str], None]) -> None:
        self.asked.append(len(prompts[0]))
        act = self.acts.pop(0)
        if isinstance(act, BaseException):
            raise act
        on_token(0, 0, act)


def talk(monkeypatch: pytest.MonkeyPatch, engine: Scripted, *lines: str, temperature: float = 0.0) -> tuple[list[str], str]:
    """What is in the conversation at the end, and what was printed."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    talking = Chat(engine, SamplingOptions(temperature=temperature), Console(file=io.StringIO(), width=200))  # type: ignore[arg-type]
    talking.run()
    return [each["content"] for each in talking.messages], talking.console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), UserError("broken")])
def test_a_retry_that_fails_keeps_the_answer(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    """Guards against question and answer that are lost when the second answer does not come."""
    engine = Scripted("first", failure, "second")
    assert talk(monkeypatch, engine, "Why?", "/retry", temperature=0.7)[0] == ["Why?", "first"]
    engine = Scripted("first", failure, "second")
    assert talk(monkeypatch, engine, "Why?", "/retry", "/retry", temperature=0.7)[0] == ["Why?", "second"]


def test_a_retry_without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against the same answer again, after waiting for it."""
    engine = Scripted("first")
    said, printed = talk(monkeypatch, engine, "Why?", "/retry")
    assert said == ["Why?", "first"]
    assert "the temperature is 0, so the answer would be the same: /temperature 0.7 first" in printed


def test_a_full_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against "shorten it" for ever, where it is the conversation that is too long."""
    engine = Scripted("one two three four five six", "seven")
    said, printed = talk(monkeypatch, engine, "a b c d", "e f g", "/clear", "e f g")
    assert "the conversation has 13 tokens, the model a context of 12: /clear forgets it" in printed
    assert said == ["e f g", "seven"]
    assert engine.asked == [4, 3]


def test_what_was_cut_off_has_no_vote() -> None:
    """Guards against the last number before the limit of tokens, which wins a vote."""
    texts = ["It is 3. Then", "So far 3, and", "The answer is $5$."]
    assert vote(texts, cut_off=[True, True, False])[0].answer == "5"
    assert vote(["The answer is $5$. To check, 2"], cut_off=[True])[0].answer == "5"

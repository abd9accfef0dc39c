"""docs/scaling.md says what the commands say, and the recipes follow the rules that they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from olympiad.cli import main
from olympiad.config import load_run
from olympiad.model.counting import count_multiplied
from olympiad.scaling_rules import best_batch_tokens, best_learning_rate, training_compute

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "scaling.md").read_text()
SHOWN = re.findall(r"```console\n\$ olympiad ([^\n]*) \| tail -n (\d+)\n(.*?)```", PAGE, flags=re.DOTALL)


def test_there_is_something_shown() -> None:
    """Guards against the next test passing because it had nothing to run."""
    assert len(SHOWN) == PAGE.count("```console") > 1


@pytest.mark.parametrize(("command", "count", "output"), SHOWN, ids=[command for command, _, _ in SHOWN])
def test_what_the_page_shows(
    command: str, count: str, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a page that tells the memory, time and price of an older estimate."""
    monkeypatch.chdir(REPOSITORY)
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out.splitlines()[-int(count) :] == output.splitlines()


@pytest.mark.parametrize("name", ["base-1b", "large-7b"])
def test_recipes_follow_the_rules(name: str) -> None:
    """Guards against a learning rate that was right for another batch, or another horizon."""
    run = load_run(REPOSITORY / "configs" / f"{name}.toml")
    assert run.num_tokens == pytest.approx(20 * count_multiplied(run.model), rel=0.01)
    assert run.num_tokens is not None
    length = run.model.max_sequence_length
    compute, tokens = training_compute(run.model, length, run.num_tokens), run.data.batch_size * length
    assert 2**-0.5 < tokens / best_batch_tokens(compute) < 2**0.5
    expected = best_learning_rate(compute) * (tokens / best_batch_tokens(compute)) ** 0.5
    assert run.optimizer.learning_rate == pytest.approx(expected, rel=0.01)

"""One dial: what follows from model.depth, what a given value changes, and mistakes beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.config import ConfigError, RunConfig, load_run, parse_run, to_toml
from olympiad.model import MathTransformerConfig
from olympiad.model.counting import count_multiplied
from olympiad.scaling_rules import best_batch_tokens, best_learning_rate, training_compute

ALL = (
    "model.num_hidden_layers", "model.hidden_size", "model.num_attention_heads", "model.num_key_value_heads",
    "model.intermediate_size", "num_tokens", "data.batch_size", "optimizer.learning_rate", "optimizer.weight_decay",
)  # fmt: skip


def dialled(depth: int, **tree: Any) -> RunConfig:
    return parse_run({**tree, "model": {"depth": depth, **tree.get("model", {})}}, "a recipe")


def names(run: RunConfig) -> tuple[str, ...]:
    return tuple(derived.name for derived in run.derived)


def test_depth_alone() -> None:
    """Guards against a rule that is printed but not followed."""
    run = dialled(20, data={"max_length": 2048})
    assert names(run) == ALL
    assert (run.model.num_hidden_layers, run.model.hidden_size, run.model.num_attention_heads) == (20, 1280, 10)
    assert (run.model.head_dim, run.model.kv_heads, run.model.intermediate_size) == (128, 5, 3584)
    assert run.num_tokens == 20 * count_multiplied(run.model)
    compute = training_compute(run.model, 2048, run.num_tokens)
    wanted = best_batch_tokens(compute)
    assert 2**-0.5 <= run.data.batch_size * 2048 / wanted <= 2**0.5
    assert math.log2(run.data.batch_size).is_integer()
    expected = best_learning_rate(compute) * math.sqrt(run.data.batch_size * 2048 / wanted)
    assert run.optimizer.learning_rate == pytest.approx(expected, rel=5e-3)
    for derived in run.derived:
        assert derived.rule
        assert derived.source


def test_rules_give_what_their_authors_trained_with() -> None:
    """A wrong digit in a constant: DeepSeek LLM 7B and 67B on 2T tokens (arXiv:2401.02954, table 2)."""
    for layers, hidden, kv_heads, width, rows, rate in (
        (30, 4096, 32, 11008, 2304, 4.2e-4),
        (95, 8192, 8, 22016, 4608, 3.2e-4),
    ):
        model = MathTransformerConfig(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 128, num_key_value_heads=kv_heads,
            intermediate_size=width,
        )  # fmt: skip
        compute = training_compute(model, 4096, 2 * 10**12)
        assert best_learning_rate(compute) == pytest.approx(rate, rel=0.03)
        assert best_batch_tokens(compute) / 4096 == pytest.approx(rows, rel=0.1)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 64))
def test_more_depth_is_more_of_all(depth: int) -> None:
    """Guards against sizes that can't be built at some depth, and against a dial that turns something back."""
    less, more = dialled(depth), dialled(depth + 1)
    assert less.num_tokens is not None
    assert more.num_tokens is not None
    assert count_multiplied(less.model) < count_multiplied(more.model)
    assert less.num_tokens < more.num_tokens
    assert less.data.batch_size <= more.data.batch_size
    assert less.model.head_dim == 128
    assert less.model.kv_heads <= 8


@pytest.mark.parametrize(
    ("tree", "name", "value"),
    [
        ({"model": {"hidden_size": 96}}, "model.hidden_size", 96),
        ({"model": {"num_attention_heads": 3}}, "model.num_attention_heads", 3),
        ({"model": {"num_key_value_heads": 1}}, "model.num_key_value_heads", 1),
        ({"model": {"intermediate_size": 100}}, "model.intermediate_size", 100),
        ({"model": {"num_hidden_layers": 3}}, "model.num_hidden_layers", 3),
        ({"num_tokens": 1000}, "num_tokens", 1000),
        ({"data": {"batch_size": 4}}, "data.batch_size", 4),
        ({"optimizer": {"learning_rate": 0.5}}, "optimizer.learning_rate", 0.5),
        ({"optimizer": {"weight_decay": 0.0}}, "optimizer.weight_decay", 0.0),
    ],
)
def test_what_is_given_stays(tree: dict[str, Any], name: str, value: float) -> None:
    """Guards against a rule that overrides its user, and a value that is said to be derived when it was given."""
    run = dialled(6, **tree)
    assert names(run) == tuple(other for other in ALL if other != name)
    found: Any = run
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


def test_what_follows_from_a_given_value() -> None:
    """A learning rate for a batch that is not the run's, and a horizon for a model that is not."""
    usual, small = dialled(8), dialled(8, data={"batch_size": 64})
    ratio = math.sqrt(64 / usual.data.batch_size)
    assert small.optimizer.learning_rate == pytest.approx(ratio * usual.optimizer.learning_rate, rel=1e-2)
    assert dialled(8, accumulation_steps=4).data.batch_size == usual.data.batch_size // 4
    wide = dialled(8, model={"hidden_size": 1024})
    assert wide.model.num_attention_heads == 8
    assert wide.num_tokens == 20 * count_multiplied(wide.model)
    epochs = dialled(8, num_epochs=3)
    assert epochs.num_tokens is None
    assert epochs.optimizer == usual.optimizer
    assert dialled(8, num_steps=10).num_tokens is None


def test_the_resolved_run_repeats_it(tmp_path: Path) -> None:
    """Guards against a run.toml with a dial in it, which another version would read differently."""
    run = dialled(5)
    path = tmp_path / "run.toml"
    path.write_text(to_toml(run))
    again = load_run(path)
    assert "depth" not in path.read_text()
    assert again.derived == ()
    assert again.model_dump() == run.model_dump()


def mistakes(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_run(tree, "a recipe")
    head, *lines = str(caught.value).splitlines()
    assert head == "a recipe has mistakes:"
    return lines


@pytest.mark.parametrize("depth", [0, -1, True, 1.5, "four", [4], 10**9])
def test_a_depth_that_is_none(depth: Any) -> None:
    """Guards against a TypeError from within a rule."""
    (line,) = mistakes({"model": {"depth": depth}})
    assert line.startswith("  model.depth: expected a whole number of layers from 1 to 1024")


def test_depth_beside_a_preset() -> None:
    """Guards against one of the two being silently ignored."""
    (line,) = mistakes({"model": {"depth": 4, "preset": "small"}})
    assert line == "  model.depth: a preset is given too; take one of the two"


def test_all_mistakes_beside_a_dial() -> None:
    """Guards against rules that stumble over a wrong value before all of them are told."""
    lines = mistakes(
        {
            "num_tokens": "many",
            "accumulation_steps": "x",
            "model": {"depth": "deep", "hidden_size": "wide", "dept": 3},
            "data": {"batch_size": 0, "max_length": []},
            "optimizer": 3,
        }
    )
    for place in "model.depth num_tokens model.hidden_size model.dept data.batch_size data.max_length optimizer".split():
        assert any(line.startswith(f"  {place}: ") for line in lines), place
    assert any("did you mean depth?" in line for line in lines)
    assert mistakes({"model": {"depth": 4, "hidden_size": -1}, "data": 3})


def test_given_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a rate that was derived for the recipe's batch, and a dial that only a file can turn."""
    from olympiad.cli import main

    path = tmp_path / "dial.toml"
    path.write_text('[data]\ntrain = ["sample"]\nvalidation = ["sample"]\n')
    arguments = ["train", str(path), "--dry-run", "--model.depth", "2", "--data.batch-size=4", "--no-wandb"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    expected = dialled(2, data={"batch_size": 4})
    assert f"learning_rate = {expected.optimizer.learning_rate}" in printed
    assert "optimizer.learning_rate = " in printed
    assert "data.batch_size = " not in printed
    for derived in expected.derived:
        assert str(derived) in printed
    assert main([*arguments, "--model.depth", "two"]) == 1
    assert "model.depth: expected a whole number" in capsys.readouterr().err
    path.write_text("model = 3")
    assert main(arguments) == 1
    assert "dial.toml has mistakes:\n  model: " in capsys.readouterr().err


def test_a_run_says_what_was_derived(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a run whose learning rate nobody chose and nobody can look up."""
    from olympiad.training.recipe import run_recipe

    monkeypatch.chdir(tmp_path)
    tiny.tokenizer.save(tmp_path / "tokenizer")
    data = {"train": ["sample"], "validation": ["sample"], "tokenizer": "tokenizer"}
    run = dialled(1, num_epochs=1, data=data, model={"hidden_size": 32, "num_attention_heads": 2})
    run_recipe(run)
    printed = capsys.readouterr().out
    for derived in run.derived:
        assert str(derived) in printed
    assert load_run(tmp_path / "runs" / "run" / "run.toml").data.batch_size == run.data.batch_size

"""A run's TOML: what is right is read as it stands, what is wrong is told all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from olympiad.config import ConfigError, DataOptions, OptimizerOptions, RunConfig, load_recipe, load_run, parse_run, to_toml
from olympiad.data.recipe import resolve_source
from olympiad.model import MathTransformerConfig, RotaryScaling, get_base_config

RECIPES = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.toml"))


def test_there_are_recipes() -> None:
    """Guards against the next test passing because it had nothing to read."""
    assert RECIPES


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes(recipe: Path) -> None:
    """Guards against a recipe with a setting that was renamed since."""
    run = load_run(recipe)
    assert run.name == recipe.stem
    assert parse_run({}, "nothing") != run


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(written(folder, text))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("num_epoch = 3", "  num_epoch: no such setting; did you mean num_epochs?"),
        ("[optimizer]\nlearningrate = 1", "  optimizer.learningrate: no such setting; did you mean learning_rate?"),
        ("[data]\nbatchsize = 1", "  data.batchsize: no such setting; did you mean batch_size?"),
        ("[model]\nhiden_size = 1", "  model.hiden_size: no such setting; did you mean hidden_size?"),
        ("[model]\nprest = 'small'", "  model.prest: no such setting; did you mean preset?"),
        ("[optimiser]\nx = 1", "  optimiser: no such setting; did you mean optimizer?"),
        (
            "[model.rope_scaling]\nkind = 'yarn'\nfactor = 2.0\nbeta_fats = 1",
            "  model.rope_scaling.beta_fats: no such setting; did you mean beta_fast?",
        ),
    ],
)
def test_unknown_names(tmp_path: Path, text: str, advice: str) -> None:
    """Guards against a misspelled setting that is silently ignored, or refused without the right name."""
    message = mistakes(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'run.toml'} has mistakes:\n")
    assert advice in message


def test_a_name_near_to_nothing(tmp_path: Path) -> None:
    """Guards against "did you mean" something absurd, and against an empty list of what is possible."""
    message = mistakes(tmp_path, "[data]\nzzzzzz = 1")
    assert f"expected one of {', '.join(DataOptions.model_fields)}" in message


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Guards against mending a file one message at a time."""
    message = mistakes(
        tmp_path,
        """
        num_epochs = 0
        precision = "float4"
        [model]
        hidden_size = "wide"
        [data]
        train = ["maths"]
        batch_size = -1
        [optimizer]
        learning_rate = "fast"
        warmup_fraction = 1.5
        lerning_rate = 1
        """,
    )
    for place in (
        "num_epochs",
        "model.hidden_size",
        "data.train.0",
        "data.batch_size",
        "optimizer.learning_rate",
        "precision",
        "optimizer.warmup_fraction",
        "optimizer.lerning_rate",
    ):
        assert f"\n  {place}: " in message
    assert "(it is 'maths')" in message
    assert "(it is -1)" in message
    assert "'float32', 'bfloat16', 'float16' or 'float8'" in message
    assert len(message.splitlines()) == 9


@pytest.mark.parametrize("text", ["[model]\nhidden_size = 30", "[model]\npreset = 'base'\nnum_attention_heads = 7"])
def test_a_model_that_can_not_be_built(tmp_path: Path, text: str) -> None:
    """Guards against sizes that fit one by one but not together."""
    assert "is not a multiple of" in mistakes(tmp_path, text)


@pytest.mark.parametrize("preset", ["'huge'", "3", "['small']", "true"])
def test_unknown_preset(tmp_path: Path, preset: str) -> None:
    """Guards against a KeyError, or a TypeError for a value that can't be a key."""
    assert "expected one of small, base, large" in mistakes(tmp_path, f"[model]\npreset = {preset}")


def test_preset_with_changes(tmp_path: Path) -> None:
    """Guards against a preset that overrides what stands beside it, or loses the rest of its own."""
    run = load_run(written(tmp_path, "[model]\npreset = 'base'\nmax_sequence_length = 1024\ntie_word_embeddings = false"))
    expected = get_base_config().model_dump() | {"max_sequence_length": 1024, "tie_word_embeddings": False}
    assert run.model.model_dump() == expected


@pytest.mark.parametrize("content", [b"num_epochs = ", b'{"num_epochs": 3}', b"a = 1\na = 2", b"\xff\xfe"])
def test_not_toml(tmp_path: Path, content: bytes) -> None:
    """Guards against a parser's traceback for a JSON file, a torn one, or a picture."""
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.toml is not TOML: "):
        load_run(path)


def test_no_file(tmp_path: Path) -> None:
    """Guards against a FileNotFoundError with a traceback."""
    with pytest.raises(ConfigError, match=r"can't read .*nope\.toml: No such file"):
        load_run(tmp_path / "nope.toml")
    with pytest.raises(ConfigError, match="can't read"):
        load_run(tmp_path)


positive = st.floats(1e-9, 1e9)
small = st.integers(1, 10_000)


def one_of(model: Any, name: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(model.model_fields[name].annotation))


@st.composite
def runs(draw: st.DrawFn) -> RunConfig:
    heads = draw(st.integers(1, 4))
    scaling = draw(st.none() | st.builds(RotaryScaling, kind=st.sampled_from(["linear", "dynamic"]), factor=st.floats(1, 64)))
    sets = st.sampled_from(["sample", "math", "gsm8k"])
    return RunConfig(
        name="a" + draw(st.text(st.characters(codec="utf-8", exclude_characters="/\\"), max_size=12)),
        output_dir=draw(st.none() | st.just(Path("some/where"))),
        num_epochs=draw(small),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        model=MathTransformerConfig(
            hidden_size=heads * 2 * draw(st.integers(2, 9)),
            num_attention_heads=heads,
            num_key_value_heads=draw(st.none() | st.just(1)),
            rope_scaling=scaling,
            rms_norm_eps=draw(positive),
            tie_word_embeddings=draw(st.booleans()),
        ),
        data=DataOptions(
            train=draw(st.lists(sets, max_size=3)),
            train_limit=draw(st.none() | small),
            validation_limit=draw(small),
            tokenizer=draw(st.none() | st.just(Path("tokenizer.json"))),
            max_length=draw(st.none() | st.integers(2, 99)),
            overlong=draw(one_of(DataOptions, "overlong")),
        ),
        optimizer=OptimizerOptions(
            kind=draw(one_of(OptimizerOptions, "kind")),
            learning_rate=draw(positive),
            max_gradient_norm=draw(positive | st.just(float("inf"))),
        ),
        micro_batch=draw(st.none() | small | st.just("auto")),
        precision=draw(one_of(RunConfig, "precision")),
        validate_every_steps=draw(st.none() | small),
        compile=draw(st.booleans()),
        wandb=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=60)
@given(run=runs())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, run: RunConfig) -> None:
    """Guards against a run.toml that says something else than the run that wrote it."""
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(to_toml(run), encoding="utf-8")
    assert load_run(path) == run


def test_run_toml_spells_the_defaults_out() -> None:
    """Guards against an old run.toml that means something else once a default has changed."""
    text = to_toml(RunConfig())
    for name in ("learning_rate = 0.001", "hidden_size = 256", "batch_size = 8", "seed = 0"):
        assert name in text


def absent_by_default(model: Any) -> dict[str, Any]:
    """What a setting becomes when TOML, which has no null, leaves it out."""
    return {name: field.default for name, field in model.model_fields.items() if type(None) in get_args(field.annotation)}


@pytest.mark.parametrize("model", [RunConfig, DataOptions, OptimizerOptions, MathTransformerConfig, RotaryScaling])
def test_what_may_be_absent_is_absent_by_default(model: Any) -> None:
    """Guards against a None that can't be written down: it would come back as the default."""
    assert all(default is None for default in absent_by_default(model).values())


def test_options_can_not_change_under_a_trainer() -> None:
    """Guards against options changed in the midst of a run, unlike those that its checkpoints hold."""
    with pytest.raises(ValidationError, match="frozen"):
        OptimizerOptions().learning_rate = 3.0  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_learning_rates_that_make_no_sense(value: float) -> None:
    """Guards against NaN, which is neither above nor below any bound."""
    with pytest.raises(ValidationError):
        OptimizerOptions(learning_rate=value)
    if value != float("inf"):  # no clipping
        with pytest.raises(ValidationError):
            OptimizerOptions(max_gradient_norm=value)


@pytest.mark.parametrize("name", ["warmup_fraction", "final_learning_rate_fraction", "weight_decay"])
def test_fractions_that_are_no_numbers(name: str) -> None:
    """Guards against NaN in a schedule: every rate after it would be NaN."""
    with pytest.raises(ValidationError):
        OptimizerOptions(**{name: float("nan")})


def test_folder_of_a_run() -> None:
    """Guards against runs that overwrite each other's checkpoints by default."""
    assert RunConfig(name="a").folder == Path("runs/a")
    assert RunConfig(name="a", output_dir=Path("b")).folder == Path("b")


@pytest.mark.parametrize("path", sorted((RECIPES[0].parent / "data").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_data_recipes(path: Path) -> None:
    """A recipe in the repository that names what is not there."""
    assert all(resolve_source(name, options) for name, options in load_recipe(path).sources.items())


@pytest.mark.parametrize("text", ['name = "../x"', 'name = ".."', 'name = ""', '[checkpoints]\nremote = "bucket"'])
def test_names_and_addresses(tmp_path: Path, text: str) -> None:
    """Guards against a run's folder outside of runs/, and a misspelled address that becomes a local folder."""
    assert "match pattern" in mistakes(tmp_path, text) or "at least 1" in mistakes(tmp_path, text)

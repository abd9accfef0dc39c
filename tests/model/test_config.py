"""The architecture as data: what is refused, what is built, how large the presets are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from olympiad.model import (
    MathTransformerConfig,
    MathTransformerDecoder,
    RotaryScaling,
    get_base_config,
    get_large_config,
    get_small_config,
)

TINY = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "max_sequence_length": 16}


def tiny(**fields: object) -> MathTransformerConfig:
    return MathTransformerConfig(**{**TINY, **fields})


def linear(factor: float) -> RotaryScaling:
    return RotaryScaling(kind="linear", factor=factor)


def test_all_problems_are_named_at_once() -> None:
    """One problem per run: a user with five mistakes has to start five times."""
    with pytest.raises(ValueError, match="the model can't be built") as error:
        MathTransformerConfig(
            vocab_size=100,
            hidden_size=30,
            intermediate_size=0,
            num_hidden_layers=-2,
            num_attention_heads=4,
            num_key_value_heads=3,
            rope_theta=-1.0,
            rms_norm_eps=0.0,
            pad_token_id=100,
            rope_scaling=linear(0.5),
        )
    for problem in (
        "intermediate_size is 0, expected at least 1",
        "num_hidden_layers is -2, expected at least 1",
        "rope_theta is -1.0",
        "rms_norm_eps is 0.0",
        "num_attention_heads (4) is not a multiple of num_key_value_heads (3)",
        "hidden_size (30) is not a multiple of num_attention_heads (4)",
        "pad_token_id (100) is outside the vocabulary of 100",
        "rope_scaling.factor is 0.5",
    ):
        assert problem in str(error.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 8}, "is not a multiple of num_key_value_heads"),
        ({"attention_head_dim": 0}, "attention_head_dim is 0"),
        ({"attention_head_dim": 7}, "a head is 7 wide"),
        ({"hidden_size": 12}, "a head is 3 wide"),
        ({"max_sequence_length": 0}, "max_sequence_length is 0"),
        ({"pad_token_id": -1}, "pad_token_id"),
        ({"rope_theta": math.nan}, "rope_theta is nan"),
        ({"initializer_range": math.inf}, "initializer_range is inf"),
        ({"rope_scaling": linear(math.nan)}, "rope_scaling.factor is nan"),
        ({"rope_scaling": linear(math.inf)}, "rope_scaling.factor is inf"),
        ({"rope_scaling": RotaryScaling(kind="dynamic", factor=2.0), "attention_head_dim": 2}, "dynamic"),
        ({"rope_scaling": RotaryScaling(kind="yarn", factor=2.0), "rope_theta": 1.0}, "yarn"),
        ({"rope_scaling": RotaryScaling(kind="yarn", factor=2.0, beta_slow=0.0)}, "beta_slow"),
        ({"rope_scaling": RotaryScaling(kind="yarn", factor=2.0, beta_slow=40.0)}, "beta_slow"),
        (
            {"rope_scaling": RotaryScaling(kind="yarn", factor=2.0, original_max_sequence_length=-8)},
            "original_max_sequence_length is -8",
        ),
        ({"rope_scaling": RotaryScaling(kind="llama3", factor=2.0, low_freq_factor=4.0)}, "low_freq_factor"),
        ({"rope_scaling": RotaryScaling(kind="llama3", factor=2.0, low_freq_factor=-1.0)}, "low_freq_factor"),
    ],
    ids=str,
)
def test_nonsense_is_refused(fields: dict, problem: str) -> None:
    """A field without a check: the model fails deep inside, or trains to NaN."""
    with pytest.raises(ValueError, match="the model can't be built") as error:
        tiny(**fields)
    assert problem in str(error.value)


# Mostly sensible values, and those at the edge of sense.
scalings = st.builds(
    RotaryScaling,
    kind=st.sampled_from(["linear", "dynamic", "yarn", "llama3"]),
    factor=st.sampled_from([1.0, 1.5, 4.0, 0.5, math.inf]),
    original_max_sequence_length=st.sampled_from([None, 6, 1, 0]),
    attention_factor=st.sampled_from([None, 0.5]),
    beta_fast=st.sampled_from([32.0, 1.0, 0.0]),
    beta_slow=st.sampled_from([1.0, 0.1, 0.0]),
    low_freq_factor=st.sampled_from([1.0, 0.5, 4.0]),
)
configs = st.fixed_dictionaries(
    {
        "vocab_size": st.sampled_from([1, 2, 50]),
        "hidden_size": st.sampled_from([8, 4, 2, 9]),
        "num_attention_heads": st.sampled_from([1, 2, 4]),
        "num_key_value_heads": st.sampled_from([None, 1, 2]),
        "attention_head_dim": st.sampled_from([None, 6, 4, 2, 1]),
        "max_sequence_length": st.sampled_from([5, 1]),
        "rope_theta": st.sampled_from([1e4, 10.0, 1.0, 0.5, 0.0]),
        "rope_scaling": st.none() | scalings,
        "qk_norm": st.booleans(),
        "tie_word_embeddings": st.booleans(),
    }
)


@settings(max_examples=300, deadline=None)
@given(configs)
def test_what_passes_the_check_can_be_built_and_run(fields: dict) -> None:
    """A check that forgets a case: an obscure error, or NaN, far from the field that caused it."""
    try:
        config = tiny(**fields)
    except ValidationError as error:
        assert "the model can't be built" in str(error)  # noqa: PT017
        return
    model = MathTransformerDecoder(config, seed=0)
    logits = model(torch.zeros(1, config.context_limit, dtype=torch.long))
    assert logits.shape == (1, config.context_limit, config.vocab_size)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("hidden_size", 33, "hidden_size (33) is not a multiple of num_attention_heads (4)"),
        ("num_hidden_layers", 0, "num_hidden_layers is 0"),
        ("num_hidden_layers", 2.5, "num_hidden_layers"),
        ("hidden_size", None, "hidden_size"),
        ("rope_scaling", linear(0.1), "rope_scaling.factor is 0.1"),
        ("rope_scaling", "linear", "rope_scaling"),
    ],
)
def test_the_model_checks_changed_fields_again(name: str, value: object, problem: str) -> None:
    """A check only at construction: ``config.hidden_size = 33`` builds a model with heads of the wrong width."""
    config = tiny()
    setattr(config, name, value)
    with pytest.raises(ValueError, match="MathTransformerConfig") as error:
        MathTransformerDecoder(config)
    assert problem in str(error.value)


def test_the_model_checks_changed_scaling_again() -> None:
    """An unknown kind of scaling taken for the last of the branches."""
    config = tiny(rope_scaling=linear(2.0))
    config.rope_scaling.kind = "ntk"
    with pytest.raises(ValueError, match=r"rope_scaling\.kind"):
        MathTransformerDecoder(config)


def test_check_names_changed_fields() -> None:
    """``config.check()`` that looks at nothing."""
    config = tiny()
    config.check()
    config.num_attention_heads, config.pad_token_id = 5, 64
    with pytest.raises(ValueError, match=r"hidden_size \(32\).*; pad_token_id \(64\)"):
        config.check()


def test_the_model_keeps_its_own_copy() -> None:
    """A configuration shared by two models: changing it for the second one breaks the first."""
    config = tiny(rope_scaling=RotaryScaling(kind="dynamic", factor=2.0))
    model = MathTransformerDecoder(config)
    config.max_sequence_length, config.gradient_checkpointing = 1, True
    config.rope_scaling.factor = 1.0
    assert model.config.context_limit == 32
    assert not model.config.gradient_checkpointing
    assert model(torch.zeros(1, 20, dtype=torch.long)).shape == (1, 20, 64)


def test_unknown_fields_are_refused() -> None:
    """A misspelt field silently ignored: hours of training with the default."""
    with pytest.raises(ValueError, match="hiden_size"):
        MathTransformerConfig(hiden_size=128)
    config = get_small_config()
    with pytest.raises(ValueError, match="hiden_size"):
        config.hiden_size = 128
    with pytest.raises(ValueError, match="faktor"):
        RotaryScaling(kind="linear", factor=2.0, faktor=2.0)
    with pytest.raises(ValueError, match="kind"):
        RotaryScaling(kind="cubic", factor=2.0)


def test_json_keeps_everything() -> None:
    """A field lost on the way through a checkpoint's JSON."""
    config = tiny(num_key_value_heads=2, qk_norm=True, rope_scaling=RotaryScaling(kind="yarn", factor=2.0, beta_fast=9.0))
    assert MathTransformerConfig.model_validate_json(config.model_dump_json()) == config


def test_only_dynamic_scaling_stretches_the_limit() -> None:
    """Positions beyond what the weights were scaled for accepted, or those that dynamic scaling allows refused."""
    assert tiny().context_limit == 16
    assert tiny(rope_scaling=linear(4.0)).context_limit == 16
    assert tiny(rope_scaling=RotaryScaling(kind="dynamic", factor=2.5)).context_limit == 40


@pytest.mark.parametrize(
    ("config", "lowest", "highest"),
    [
        (get_small_config(), 22.6e6 * 0.99, 22.6e6 * 1.01),
        (get_base_config(), 0.95e9, 1.1e9),
        (get_large_config(), 6.5e9, 7.5e9),
    ],
    ids=["small", "base", "large"],
)
def test_presets_have_the_promised_size(config: MathTransformerConfig, lowest: float, highest: float) -> None:
    """A preset edited without counting."""
    with torch.device("meta"):
        model = MathTransformerDecoder(config)
    assert lowest <= model.num_parameters <= highest


def test_presets_have_the_promised_shape() -> None:
    """A preset whose context, vocabulary or heads differ from the documented table."""
    small, base, large = get_small_config(), get_base_config(), get_large_config()
    assert (small.num_hidden_layers, small.hidden_size, small.intermediate_size) == (4, 256, 1_536)
    assert (small.num_attention_heads, small.kv_heads, small.max_sequence_length) == (4, 4, 512)
    assert (base.hidden_size, base.max_sequence_length) == (2_048, 4_096)
    assert base.kv_heads < base.num_attention_heads
    assert (large.num_hidden_layers, large.hidden_size, large.max_sequence_length) == (32, 4_096, 8_192)
    assert (large.num_attention_heads, large.kv_heads) == (32, 8)
    assert {config.vocab_size for config in (small, base, large)} == {32_768}


def test_presets_are_not_shared() -> None:
    """One object behind a preset: what one caller changes, the next one gets."""
    get_small_config().hidden_size = 128
    assert get_small_config().hidden_size == 256


def test_a_tied_embedding_counts_once() -> None:
    """The embedding counted twice where the output projection is the same tensor."""
    tied, untied = (MathTransformerDecoder(tiny(tie_word_embeddings=tie)) for tie in (True, False))
    assert untied.num_parameters - tied.num_parameters == 64 * 32


def test_the_guides_customisations_train() -> None:
    """The guide's edits of the small configuration (hidden size, layers, checkpointing) do not build or run."""
    config = get_small_config()
    config.hidden_size = 128
    config.num_hidden_layers = 2
    config.gradient_checkpointing = True
    model = MathTransformerDecoder(config, seed=0)
    assert len(model.layers) == 2
    logits = model(torch.arange(10)[None])
    assert logits.shape == (1, 10, 32_768)
    logits.logsumexp(-1).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())

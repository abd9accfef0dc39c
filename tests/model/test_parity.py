"""Our decoder and Transformers' Llama, Qwen2 and Qwen3, on random models of two layers: the same numbers."""

# B batch, T positions

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from olympiad.model import MathTransformerConfig, MathTransformerDecoder, RotaryScaling
from olympiad.model.rotary import inverse_frequencies

TOLERANCE = 1e-5


def tiny(**fields: object) -> MathTransformerConfig:
    sizes = {"vocab_size": 61, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MathTransformerConfig(**{**sizes, "max_sequence_length": 64, **fields})


def scaling(kind: str, factor: float, **fields: object) -> RotaryScaling:
    return RotaryScaling(kind=kind, factor=factor, **fields)


LINEAR = scaling("linear", 3.0)
DYNAMIC = scaling("dynamic", 4.0)
YARN = scaling("yarn", 4.0, original_max_sequence_length=256)
YARN_ALL_SET = scaling("yarn", 4.0, original_max_sequence_length=64, attention_factor=0.7, beta_fast=8.0, beta_slow=0.5)
LLAMA3 = scaling("llama3", 8.0, original_max_sequence_length=32)
LLAMA3_ALL_SET = scaling("llama3", 8.0, original_max_sequence_length=48, low_freq_factor=0.5, high_freq_factor=6.0)

# name: (fields of our config, positions in the test sequence)
CASES = {
    "llama": ({}, 24),
    "llama, grouped": ({"num_key_value_heads": 2}, 24),
    "llama, one key/value head": ({"num_key_value_heads": 1}, 24),
    "llama, tied": ({"tie_word_embeddings": True}, 24),
    "llama, wide heads": ({"attention_head_dim": 24}, 24),
    "llama, base and epsilon": ({"rope_theta": 500.0, "rms_norm_eps": 1e-2}, 24),
    "llama, linear": ({"rope_scaling": LINEAR}, 24),
    "llama, dynamic within the context": ({"rope_scaling": DYNAMIC, "max_sequence_length": 16}, 16),
    "llama, dynamic beyond the context": ({"rope_scaling": DYNAMIC, "max_sequence_length": 16}, 40),
    "llama, yarn": ({"rope_scaling": YARN}, 40),
    "llama, yarn without original length": ({"rope_scaling": scaling("yarn", 2.0)}, 40),
    "llama, yarn with all set": ({"rope_scaling": YARN_ALL_SET, "rope_theta": 100.0}, 40),
    "llama, llama3": ({"rope_scaling": LLAMA3}, 40),
    "llama, llama3 with all set": ({"rope_scaling": LLAMA3_ALL_SET, "rope_theta": 100.0}, 40),
    "qwen2": ({"qkv_bias": True}, 24),
    "qwen2, grouped, tied": ({"qkv_bias": True, "num_key_value_heads": 2, "tie_word_embeddings": True}, 24),
    "qwen2, grouped, yarn": ({"qkv_bias": True, "num_key_value_heads": 2, "rope_scaling": YARN}, 40),
    "qwen3": ({"qk_norm": True, "attention_head_dim": 24}, 24),
    "qwen3, grouped, tied": (
        {"qk_norm": True, "attention_head_dim": 24, "num_key_value_heads": 2, "tie_word_embeddings": True},
        24,
    ),
    "qwen3, grouped, dynamic": (
        {
            "qk_norm": True,
            "attention_head_dim": 24,
            "num_key_value_heads": 2,
            "rope_scaling": DYNAMIC,
            "max_sequence_length": 16,
        },
        40,
    ),
}
every_case = pytest.mark.parametrize(("fields", "positions"), CASES.values(), ids=CASES.keys())


def rope_parameters(config: MathTransformerConfig) -> dict[str, object]:
    """The rotary embedding in Transformers' words."""
    rope: dict[str, object] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    ours = config.rope_scaling
    if ours is None:
        return rope
    rope |= {"rope_type": ours.kind, "factor": ours.factor}
    if ours.kind in ("yarn", "llama3") and ours.original_max_sequence_length is not None:
        rope["original_max_position_embeddings"] = ours.original_max_sequence_length
    if ours.kind == "yarn":
        rope |= {name: getattr(ours, name) for name in ("attention_factor", "beta_fast", "beta_slow")}
    if ours.kind == "llama3":
        rope |= {name: getattr(ours, name) for name in ("low_freq_factor", "high_freq_factor")}
    return rope


def reference_config(config: MathTransformerConfig) -> LlamaConfig | Qwen2Config | Qwen3Config:
    config_class = Qwen3Config if config.qk_norm else Qwen2Config if config.qkv_bias else LlamaConfig
    same = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads rms_norm_eps tie_word_embeddings"
    return config_class(
        **{name: getattr(config, name) for name in same.split()},
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_sequence_length,
        rope_parameters=rope_parameters(config),
        pad_token_id=None,  # theirs would get no gradient
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",  # plain matrix products: shares no attention kernel with ours
    )


def two_models(config: MathTransformerConfig) -> tuple[MathTransformerDecoder, PreTrainedModel]:
    """Ours with lively weights (so that each part of the model counts in the logits), theirs with the same ones."""
    ours = MathTransformerDecoder(config, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in ours.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
    classes = {LlamaConfig: LlamaForCausalLM, Qwen2Config: Qwen2ForCausalLM, Qwen3Config: Qwen3ForCausalLM}
    theirs_config = reference_config(config)
    theirs = classes[type(theirs_config)](theirs_config).float()
    named = {our_name(name): tensor for name, tensor in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(named, strict=False)
    assert not unexpected
    assert missing == (["lm_head.weight"] if config.tie_word_embeddings else [])
    return ours.train(), theirs.train()


def our_name(name: str) -> str:
    """The same parameter's name in Transformers."""
    return name if name.startswith("lm_head") else f"model.{name}"


def random_ids(config: MathTransformerConfig, batch_size: int, positions: int) -> Tensor:
    return torch.randint(config.vocab_size, (batch_size, positions), generator=torch.Generator().manual_seed(2))


@every_case
def test_logits_match(fields: dict, positions: int) -> None:
    """A layer computed differently (order of norms, halves of the rotary pairs, scale of the scores): wrong on import."""
    config = tiny(**fields)
    ours, theirs = two_models(config)
    ids = random_ids(config, 2, positions)
    with torch.no_grad():
        logits, expected = ours(ids), theirs(ids).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=TOLERANCE, atol=TOLERANCE)


@every_case
def test_gradients_match(fields: dict, positions: int) -> None:
    """A gradient cut off or counted twice (tied embeddings, shared key/value heads): logits agree, training does not."""
    config = tiny(**fields)
    ours, theirs = two_models(config)
    ids = random_ids(config, 2, positions + 1)[:, :positions]
    labels = random_ids(config, 2, positions + 1)[:, 1:]
    F.cross_entropy(ours(ids).flatten(0, 1), labels.flatten()).backward()
    F.cross_entropy(theirs(ids).logits.flatten(0, 1), labels.flatten()).backward()
    expected = dict(theirs.named_parameters())
    assert len(expected) == len(list(ours.parameters()))
    for name, parameter in ours.named_parameters():
        gradient = expected[our_name(name)].grad
        size = gradient.abs().max().item()
        assert size > 1e-4, f"{name}: nothing to compare"
        torch.testing.assert_close(
            parameter.grad, gradient, rtol=0.0, atol=TOLERANCE * max(1.0, size), msg=lambda text, name=name: f"{name}: {text}"
        )


@every_case
def test_greedy_generation_matches(fields: dict, positions: int) -> None:
    """The cache or the positions of new tokens off by one: the first token is right, the rest is not.

    The short dynamic case passes the end of the context halfway.
    """
    config = tiny(**fields)
    ours, theirs = two_models(config)
    prompt = random_ids(config, 3, 10)
    new_tokens = positions - prompt.shape[1] + 4
    settings = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(prompt)}
    expected = theirs.eval().generate(prompt, max_new_tokens=new_tokens, **settings)
    generated = ours.generate(prompt, max_new_tokens=new_tokens)
    assert len(generated[:, prompt.shape[1] :].unique()) > 5
    assert generated.tolist() == expected.tolist()


@pytest.mark.parametrize("theta", [100.0, 10_000.0, 500_000.0])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize(
    "rope_scaling",
    [
        scaling("linear", 4.0),
        scaling("dynamic", 2.0),
        scaling("yarn", 4.0, original_max_sequence_length=32_768),
        scaling("yarn", 40.0, original_max_sequence_length=4_096, beta_fast=16.0, beta_slow=2.0),
        scaling("llama3", 8.0, original_max_sequence_length=8_192),
        scaling("llama3", 32.0, original_max_sequence_length=8_192, low_freq_factor=2.0, high_freq_factor=3.0),
    ],
    ids=lambda rope: rope.kind,
)
def test_frequencies_of_full_size_heads_match(theta: float, head_dim: int, rope_scaling: RotaryScaling) -> None:
    """The bounds between kept and interpolated pairs off by one: hidden in tiny heads, wrong in every released model."""
    config = tiny(attention_head_dim=head_dim, rope_theta=theta, rope_scaling=rope_scaling, max_sequence_length=131_072)
    for length in (100, 131_072, 200_000):
        frequencies, factor = inverse_frequencies(config, length)
        expected, expected_factor = ROPE_INIT_FUNCTIONS[rope_scaling.kind](reference_config(config), "cpu", seq_len=length)
        torch.testing.assert_close(frequencies, expected, rtol=1e-5, atol=0.0)
        assert factor == pytest.approx(expected_factor)

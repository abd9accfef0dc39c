"""The architecture in the words of a Hugging Face ``config.json``, both ways: Llama, Qwen2 and Qwen3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from olympiad.model import MathTransformerConfig, RotaryScaling

from .errors import InteropError, UnsupportedModel


@dataclass(frozen=True)
class Family:
    """One architecture of Transformers, and what it takes where its ``config.json`` is silent."""

    architecture: str
    qkv_bias: bool = False
    qk_norm: bool = False
    head_dim: int | None = None
    max_position_embeddings: int = 32_768


#: By ``model_type``, which is also llama.cpp's name of the architecture. SmolLM2 and Llama 1 to 3 are Llama.
FAMILIES = {
    "llama": Family("LlamaForCausalLM", max_position_embeddings=2_048),
    "qwen2": Family("Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": Family("Qwen3ForCausalLM", qk_norm=True, head_dim=128),
}

#: Fields of ours under the same name in ``config.json``; those without a default there.
_NEEDED = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads".split()
#: Fields of a rotary scaling under the same name there.
_SCALING_FIELDS = {
    "yarn": ("attention_factor", "beta_fast", "beta_slow"),
    "llama3": ("low_freq_factor", "high_freq_factor"),
}


def family_of(config: MathTransformerConfig) -> str:
    """The name in :data:`FAMILIES` of the family that holds ``config``.

    Raises:
        UnsupportedModel: none does.
    """
    for name, family in FAMILIES.items():
        if (family.qkv_bias, family.qk_norm) == (config.qkv_bias, config.qk_norm):
            return name
    raise UnsupportedModel(
        "this model has both qkv_bias and qk_norm, and no family outside holds both (Qwen2 has the bias, Qwen3 the norms): "
        "train one with only one of them"
    )


def to_huggingface(config: MathTransformerConfig) -> dict[str, Any]:
    """``config`` as the content of a ``config.json``, without what the tokenizer adds (begin, end and padding ids).

    Raises:
        UnsupportedModel: no family of Transformers holds it.
    """
    name = family_of(config)
    if name == "llama" and config.hidden_size % config.num_attention_heads:  # whatever the heads' own width is
        raise UnsupportedModel(
            f"Transformers refuses a Llama model whose hidden size ({config.hidden_size}) is not a multiple of its "
            f"{config.num_attention_heads} heads: export to gguf, or train one with another number of heads"
        )
    fields: dict[str, Any] = {"architectures": [FAMILIES[name].architecture], "model_type": name, "hidden_act": "silu"}
    fields |= {field: getattr(config, field) for field in _NEEDED}
    fields |= {
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_sequence_length,
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "attention_dropout": 0.0,
        "use_cache": True,
        # The words of before Transformers 5, which reads them too: vLLM, SGLang and llama.cpp's converter know these.
        "rope_theta": config.rope_theta,
        "rope_scaling": _scaling_to_huggingface(config),
    }
    if name != "qwen2":  # its biases are no setting
        fields["attention_bias"] = False
    if name == "llama":
        fields["mlp_bias"] = False
    else:
        fields |= {"use_sliding_window": False, "sliding_window": None}
    return fields


def _scaling_to_huggingface(config: MathTransformerConfig) -> dict[str, Any] | None:
    ours = config.rope_scaling
    if ours is None:
        return None
    theirs: dict[str, Any] = {"rope_type": ours.kind, "factor": ours.factor}
    if ours.kind in _SCALING_FIELDS:
        theirs["original_max_position_embeddings"] = ours.original_max_sequence_length or config.max_sequence_length
    given = {name: getattr(ours, name) for name in _SCALING_FIELDS.get(ours.kind, ())}
    return theirs | {name: value for name, value in given.items() if value is not None}


def from_huggingface(fields: dict[str, Any], origin: str) -> MathTransformerConfig:
    """The architecture that a ``config.json`` describes.

    Args:
        fields: its content.
        origin: where it came from, for errors.

    Raises:
        UnsupportedModel: another architecture, or features that this decoder lacks, each by its name.
        InteropError: sizes are missing or make no sense.
    """
    name = fields.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        known = ", ".join(f"{key} ({family.architecture})" for key, family in FAMILIES.items())
        raise UnsupportedModel(
            f"{origin} is of the architecture {name!r} ({fields.get('architectures')}); known are {known}: take a model of those"
        )
    unsupported = list(_unsupported(fields))
    if unsupported:
        raise UnsupportedModel(
            f"{origin} needs what this decoder does not have: {'; '.join(unsupported)}. Take a model without, or run it with "
            "Transformers"
        )
    missing = [field for field in _NEEDED if fields.get(field) is None]
    if missing:
        raise InteropError(f"{origin} lacks {', '.join(missing)}: get it from its source again")
    family = FAMILIES[name]
    rope = rope_parameters(fields)
    try:
        return MathTransformerConfig(
            **{field: fields[field] for field in _NEEDED},
            num_key_value_heads=fields.get("num_key_value_heads"),
            attention_head_dim=fields.get("head_dim") or family.head_dim,
            max_sequence_length=fields.get("max_position_embeddings") or family.max_position_embeddings,
            rope_theta=rope.get("rope_theta") or 10_000.0,
            rope_scaling=_scaling_from_huggingface(rope),
            rms_norm_eps=fields.get("rms_norm_eps", 1e-6),
            qkv_bias=family.qkv_bias,
            qk_norm=family.qk_norm,
            tie_word_embeddings=fields.get("tie_word_embeddings") or False,
            initializer_range=fields.get("initializer_range", 0.02),
            pad_token_id=_pad_token(fields),
        )
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, m['loc'])) or 'config'}: {m['msg']}" for m in error.errors())
        raise InteropError(f"{origin} does not describe a model: {mistakes}") from error


def _pad_token(fields: dict[str, Any]) -> int:
    """Only fills rows that have ended: what does not fit (-1, none, beyond the vocabulary) becomes 0."""
    pad = fields.get("pad_token_id")
    size = fields.get("vocab_size")
    return pad if isinstance(pad, int) and isinstance(size, int) and 0 <= pad < size else 0


def rope_parameters(fields: dict[str, Any]) -> dict[str, Any]:
    """All about the rotary embedding, from the words of Transformers 5 or of earlier versions."""
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    rope = dict(rope) if isinstance(rope, dict) else {"rope_type": rope}
    rope.setdefault("rope_type", rope.get("type") or "default")
    rope.setdefault("rope_theta", fields.get("rope_theta"))
    rope.setdefault("partial_rotary_factor", fields.get("partial_rotary_factor"))
    return rope


def _scaling_from_huggingface(rope: dict[str, Any]) -> RotaryScaling | None:
    kind = rope["rope_type"]
    if kind == "default":
        return None
    given = {name: rope[name] for name in _SCALING_FIELDS.get(kind, ()) if rope.get(name) is not None}
    trained = rope.get("original_max_position_embeddings") if kind in _SCALING_FIELDS else None
    return RotaryScaling.model_validate(
        {"kind": kind, "factor": rope.get("factor"), "original_max_sequence_length": trained, **given}
    )


#: What this decoder lacks: a setting, and the values with which a model does without it.
_FEATURES: dict[str, Callable[[Any], bool]] = {
    "attention_bias": lambda value: not value,
    "mlp_bias": lambda value: not value,
    "use_sliding_window": lambda value: not value,
    "num_experts": lambda value: not value,
    "num_local_experts": lambda value: not value,
    "final_logit_softcapping": lambda value: not value,
    "attn_logit_softcapping": lambda value: not value,
    "logit_scale": lambda value: value in (None, 1),
    "logits_scaling": lambda value: value in (None, 1),
    "embedding_multiplier": lambda value: value in (None, 1),
    "residual_multiplier": lambda value: value in (None, 1),
    "attention_multiplier": lambda value: value is None,
    "no_rope_layers": lambda value: not value,
    "hidden_act": lambda value: value in (None, "silu", "swish"),
    "layer_types": lambda value: not value or (isinstance(value, list) and all(each == "full_attention" for each in value)),
    "quantization_config": lambda value: not value,
}
_ADVICE = {
    "quantization_config": "the weights are quantised; take the original ones, or a GGUF file",
    "use_sliding_window": "sliding window attention",
    "layer_types": "layers that do not attend to all positions",
    "num_experts": "mixture of experts",
    "num_local_experts": "mixture of experts",
    "attention_bias": "a bias on the attention's output projection",
    "mlp_bias": "a bias in the feed-forward layers",
    "final_logit_softcapping": "a soft cap on logits",
    "attn_logit_softcapping": "a soft cap on attention scores",
    "hidden_act": "another activation than SiLU",
}
_KINDS = ("default", "linear", "dynamic", "yarn", "llama3")
#: What is said about a rotary embedding: used here, looked at in :func:`_unsupported`, or without effect.
_ROPE_WORDS = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings"}
_ROPE_WORDS |= {name for names in _SCALING_FIELDS.values() for name in names}
_ROPE_WORDS |= {"partial_rotary_factor", "mscale", "mscale_all_dim", "truncate", "finetuned"}


def _unsupported(fields: dict[str, Any]) -> Iterator[str]:
    """Each feature that ``fields`` ask for and the decoder lacks."""
    for name, absent in _FEATURES.items():
        if name in fields and not absent(fields[name]):
            about = f" ({_ADVICE[name]})" if name in _ADVICE else ""
            yield f"{name} = {json.dumps(fields[name])[:80]}{about}"
    if fields.get("sliding_window") and "use_sliding_window" not in fields:
        yield f"sliding_window = {fields['sliding_window']}"
    rope = rope_parameters(fields)
    if rope["partial_rotary_factor"] not in (None, 1):
        yield f"partial_rotary_factor = {rope['partial_rotary_factor']} (a rotary embedding of a part of each head)"
    if rope["rope_type"] not in _KINDS:
        yield f"rope_type = {rope['rope_type']!r} (known are {', '.join(_KINDS)})"
    for name in ("mscale", "mscale_all_dim"):
        if rope.get(name) not in (None, 0):
            yield f"yarn with {name} = {rope[name]}"
    if rope.get("truncate") is False:
        yield "yarn with truncate = false"
    for name in sorted(rope.keys() - _ROPE_WORDS) if rope["rope_type"] in _KINDS else ():
        if rope[name] is None:
            continue
        about = " (write attention_factor = attn_factor * (0.1 * ln(factor) + 1) in its place)" if name == "attn_factor" else ""
        yield f"{name} = {json.dumps(rope[name])[:80]} about the rotary embedding{about}"

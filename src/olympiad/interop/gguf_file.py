"""GGUF files (llama.cpp's format), in and out. The container is read and written by the ``gguf`` package."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from olympiad.model import MathTransformerConfig, MathTransformerDecoder, RotaryScaling
from olympiad.model.rotary import inverse_frequencies

from .architecture import FAMILIES, family_of, from_huggingface
from .errors import InteropError, UnsupportedModel
from .gguf_structure import check_structure
from .gguf_tokenizer import read_vocabulary, vocabulary_fields
from .huggingface import AnyTokenizer, check_fit, expect_free
from .weights import build_model, empty_model, their_name

GgufType = Literal["float32", "float16", "bfloat16", "q8_0"]
#: Ours -> the package's names of the storage types.
_TYPES: dict[GgufType, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
_FILE_TYPES: dict[GgufType, str] = {
    "float32": "ALL_F32",
    "float16": "MOSTLY_F16",
    "bfloat16": "MOSTLY_BF16",
    "q8_0": "MOSTLY_Q8_0",
}

#: Names of parameters: ours -> llama.cpp's.
_NAMES = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ROPE_FACTORS = "rope_freqs.weight"
_OUR_SCALING = "olympiad.rope_scaling"  # what the factors alone do not tell


def llama_cpp_name(name: str) -> str:
    """A parameter's name in GGUF files.

    >>> llama_cpp_name("layers.3.self_attn.q_proj.weight"), llama_cpp_name("embed_tokens.weight")
    ('blk.3.attn_q.weight', 'token_embd.weight')
    """
    if layer := re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", name):
        return f"blk.{layer[1]}.{_LAYER_NAMES[layer[2]]}.{layer[3]}"
    stem, kind = name.rsplit(".", 1)
    return f"{_NAMES[stem]}.{kind}"


def pair_rows(weight: Tensor, num_heads: int) -> Tensor:
    """Query or key rows from our order of rotary pairs, (i, i + H/2), to llama.cpp's for its llama architecture, (2i, 2i + 1).

    >>> pair_rows(torch.arange(8), num_heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return weight.unflatten(0, (num_heads, 2, -1)).transpose(1, 2).reshape(weight.shape)


def halve_rows(weight: Tensor, num_heads: int) -> Tensor:
    """The inverse of :func:`pair_rows`."""
    return weight.unflatten(0, (num_heads, -1, 2)).transpose(1, 2).reshape(weight.shape)


def _gguf() -> Any:
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise InteropError("GGUF files need the gguf package: pip install gguf") from error
    return gguf


# ---------------------------------------------------------------------------------------------------------------- in


def load_gguf(
    path: str | os.PathLike[str], dtype: torch.dtype | None = torch.float32
) -> tuple[MathTransformerDecoder, AnyTokenizer]:
    """The model and the tokenizer of a GGUF file, dequantised, on the CPU, ready to generate.

    Args:
        dtype: of the weights; float32 where None.

    Raises:
        InteropError: (and :class:`UnsupportedModel`) a damaged file, an architecture, a feature, a kind of tokenizer or of
            quantisation that is unknown, weights that do not fit.
    """
    path, gguf = Path(path), _gguf()
    if not path.is_file():
        raise InteropError(f"no GGUF file at {path}")
    try:
        check_structure(path)
        reader = gguf.GGUFReader(path)
        metadata = {key: field.contents() for key, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OSError, OverflowError, TypeError, MemoryError) as error:
        raise InteropError(f"{path} is no GGUF file, or damaged or cut short ({error}): fetch it again") from error
    stored = {tensor.name: tensor for tensor in reader.tensors}
    try:
        fields = _config_fields(metadata, stored, path)
        config = from_huggingface(fields, str(path))
        if _ROPE_FACTORS in stored:
            factors = _dequantized(gguf, stored[_ROPE_FACTORS], path, torch.float32)
            config.rope_scaling = llama3_from_factors(factors, config, metadata.get(_OUR_SCALING), str(path))
        elif _OUR_SCALING in metadata:
            config.rope_scaling = _our_scaling(metadata[_OUR_SCALING], str(path))
        tokenizer = read_vocabulary(metadata, path)
    except InteropError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise InteropError(
            f"{path} has a value of another kind, size or length than expected ({error}): take the model from another source"
        ) from error
    check_fit(tokenizer, config.vocab_size, str(path))
    names = {llama_cpp_name(name): name for name, _ in empty_model(config, len(stored), str(path)).named_parameters()}
    paired = {"attn_q": config.num_attention_heads, "attn_k": config.kv_heads} if fields["model_type"] == "llama" else {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name == _ROPE_FACTORS:
            continue
        weight = _dequantized(gguf, tensor, path, dtype or torch.float32)
        heads = paired.get(name.split(".")[-2])
        if heads and weight.shape[0] % (2 * heads) == 0:
            weight = halve_rows(weight, heads)
        tensors[their_name(names[name]) if name in names else name] = weight
    return build_model(config, tensors, dtype, str(path)), tokenizer


def _dequantized(gguf: Any, tensor: Any, path: Path, dtype: torch.dtype) -> Tensor:
    try:
        return torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)).to(dtype)
    except NotImplementedError as error:
        raise UnsupportedModel(
            f"{path} stores {tensor.name} as {tensor.tensor_type.name}, which the gguf package can't read: take the model in "
            "another quantisation, such as Q8_0 or Q4_K_M"
        ) from error


def _config_fields(metadata: dict[str, Any], stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """A GGUF file's metadata in the words of a ``config.json``."""
    name = metadata.get("general.architecture")
    if metadata.get("split.count", 1) > 1:
        raise InteropError(f"{path} is one of {metadata['split.count']} parts: join them with llama-gguf-split --merge")
    if "token_embd.weight" not in stored:
        raise InteropError(f"{path} holds no token_embd.weight, so no language model: take another file")

    def get(key: str, default: Any = None) -> Any:
        value = metadata.get(f"{name}.{key}", default)
        if isinstance(value, list) and len(set(value)) == 1:  # one number a layer
            value = value[0]
        return float(str(np.float32(value))) if isinstance(value, float) else value  # 1e-05, not 9.999999747378752e-06

    heads, hidden = get("attention.head_count"), get("embedding_length")
    head_dim = get("attention.key_length") or (hidden // heads if hidden and heads else None)
    fields = {
        "model_type": name,
        "architectures": [FAMILIES[name].architecture] if name in FAMILIES else None,
        "vocab_size": int(stored["token_embd.weight"].shape[-1]),
        "hidden_size": hidden,
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv"),
        "head_dim": head_dim,
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in stored,
        "num_experts": get("expert_count", 0),
        "sliding_window": get("attention.sliding_window"),
        "partial_rotary_factor": (get("rope.dimension_count") or head_dim) / head_dim if head_dim else None,
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
        "rope_theta": get("rope.freq_base"),
        "rope_scaling": _scaling_fields(get),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _scaling_fields(get: Any) -> dict[str, Any] | None:
    kind = get("rope.scaling.type", "none")
    if kind in ("none", None):
        return None
    factor = get("rope.scaling.factor", 1.0)
    fields = {"rope_type": kind, "factor": factor}
    if kind == "yarn":
        attention = get("rope.scaling.attn_factor", 1.0) * (0.1 * math.log(factor) + 1.0)
        fields |= {
            "attention_factor": attention,
            "original_max_position_embeddings": get("rope.scaling.original_context_length"),
        }
        fields |= {name: get(f"rope.scaling.yarn_{name}") for name in ("beta_fast", "beta_slow")}
    return {key: value for key, value in fields.items() if value is not None}


def _our_scaling(text: str, origin: str) -> RotaryScaling:
    try:
        return RotaryScaling.model_validate_json(text)
    except ValueError as error:
        raise InteropError(f"{origin} has a damaged {_OUR_SCALING}: {error}") from error


def llama3_from_factors(factors: Tensor, config: MathTransformerConfig, ours: str | None, origin: str) -> RotaryScaling:
    """Llama 3's rule whose factors (H/2) on wavelengths these are.

    A factor f between 1 and the whole factor F comes from s = (1/f - 1/F) / (1 - 1/F), and s is a line in the frequency:
    s = (context / 2 pi * frequency - low) / (high - low). Only the ratios count, so low is 1.

    Raises:
        UnsupportedModel: they are of another rule.
    """
    plain = config.model_copy(update={"rope_scaling": None})
    frequencies, _ = inverse_frequencies(plain, config.max_sequence_length)
    factor = factors.max().item()

    def fits(scaling: RotaryScaling) -> bool:
        scaled, _ = inverse_frequencies(config.model_copy(update={"rope_scaling": scaling}), config.max_sequence_length)
        return scaled.shape == factors.shape and torch.allclose(frequencies / scaled, factors, rtol=1e-3, atol=0.0)

    candidates = [_our_scaling(ours, origin)] if ours else []
    candidates += [RotaryScaling(kind="llama3", factor=factor, original_max_sequence_length=8_192)]  # as released
    between = (factors > 1.0 + 1e-4) & (factors < factor * (1 - 1e-4))
    if len(factors) == len(frequencies) and between.sum() >= 2:
        share = (1 / factors[between] - 1 / factor) / (1 - 1 / factor)
        points = torch.stack((frequencies[between] / (2 * math.pi), torch.ones_like(share)), dim=1).double()
        slope, offset = torch.linalg.lstsq(points, share.double()[:, None]).solution[:, 0].tolist()
        if slope > 0 > offset:
            high, context = 1 - 1 / offset, -slope / offset
            made = {"original_max_sequence_length": max(round(context), 1), "high_freq_factor": round(high, 3)}
            candidates.append(RotaryScaling(kind="llama3", factor=factor, **made))
    for scaling in candidates:
        if fits(scaling):
            return scaling
    raise UnsupportedModel(
        f"{origin} scales each rotary frequency by its own factor, and not by Llama 3's rule: take the model's Hugging Face folder"
    )


# --------------------------------------------------------------------------------------------------------------- out


def save_gguf(
    model: MathTransformerDecoder, tokenizer: AnyTokenizer, path: str | os.PathLike[str], dtype: GgufType = "float32"
) -> None:
    """Write a GGUF file for llama.cpp; it is there whole or not at all. Norms and biases stay in float32.

    Raises:
        InteropError: (and :class:`UnsupportedModel`) the file is there already or can't be written, or llama.cpp has no word
            for the rotary scaling or the tokenizer.
    """
    path, gguf = Path(path), _gguf()
    family = family_of(model.config)
    if family == "qwen2" and model.config.head_dim * model.config.num_attention_heads != model.config.hidden_size:
        raise UnsupportedModel(
            f"llama.cpp loads a qwen2 model only where the heads together are as wide as the hidden state, and this one has "
            f"{model.config.num_attention_heads} heads of {model.config.head_dim} in {model.config.hidden_size}: export to huggingface"
        )
    scaling = list(_scaling_metadata(model.config, family))
    check_fit(tokenizer, model.config.vocab_size, "this model")
    vocabulary = vocabulary_fields(tokenizer, model.config.vocab_size)
    expect_free(path, "gguf")
    aside = path.absolute().with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(aside, family)
        _add_config(gguf, writer, model.config, dtype)
        for key, value in [*scaling, *vocabulary]:
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add.get(type(value), writer.add_array)(key.format(arch=family), value)
        _add_tensors(gguf, writer, model, family, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        aside.replace(path)
    except OSError as error:
        raise InteropError(f"can't write {path}: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)


def _add_config(gguf: Any, writer: Any, config: MathTransformerConfig, dtype: GgufType) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_sequence_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[dtype]])
    if dtype == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _scaling_metadata(config: MathTransformerConfig, family: str) -> Iterator[tuple[str, Any]]:
    """Keys and values; the factors of Llama 3's rule are a tensor."""
    ours = config.rope_scaling
    if ours is None:
        return
    if ours.kind == "dynamic" or (ours.kind == "llama3" and family != "llama"):
        raise UnsupportedModel(
            f"llama.cpp has no {ours.kind} rotary scaling for the {family} architecture: export to huggingface, or train with yarn"
        )
    if ours.kind == "yarn" and (ours.beta_fast, ours.beta_slow) != (32, 1):
        raise UnsupportedModel(
            f"llama.cpp takes 32 and 1 for yarn's beta_fast and beta_slow whatever a file says, and this model has "
            f"{ours.beta_fast:g} and {ours.beta_slow:g}: export to huggingface"
        )
    trained = ours.original_max_sequence_length or config.max_sequence_length
    exact = ours.model_copy(update={"original_max_sequence_length": trained} if ours.kind in ("yarn", "llama3") else {})
    yield _OUR_SCALING, exact.model_dump_json()
    if ours.kind == "llama3":
        return
    yield "{arch}.rope.scaling.type", ours.kind
    yield "{arch}.rope.scaling.factor", float(ours.factor)
    if ours.kind == "yarn":
        yield "{arch}.rope.scaling.original_context_length", trained
        if ours.attention_factor is not None:  # theirs is multiplied with YaRN's own
            yield "{arch}.rope.scaling.attn_factor", ours.attention_factor / (0.1 * math.log(ours.factor) + 1.0)


def _add_tensors(gguf: Any, writer: Any, model: MathTransformerDecoder, family: str, dtype: GgufType) -> None:
    config, wanted = model.config, gguf.GGMLQuantizationType[_TYPES[dtype]]
    if config.rope_scaling is not None and config.rope_scaling.kind == "llama3":
        plain, _ = inverse_frequencies(config.model_copy(update={"rope_scaling": None}), config.max_sequence_length)
        scaled, _ = inverse_frequencies(config, config.max_sequence_length)
        writer.add_tensor(_ROPE_FACTORS, (plain / scaled).float().numpy())
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.kv_heads} if family == "llama" else {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach().float().cpu()
        if (projection := name.split(".")[-2]) in heads:
            weight = pair_rows(weight, heads[projection])
        kind = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else wanted
        if dtype == "q8_0" and weight.ndim == 2 and weight.shape[1] % 32:  # its blocks are 32 numbers of a row
            kind = gguf.GGMLQuantizationType.F16
        writer.add_tensor(llama_cpp_name(name), gguf.quants.quantize(weight.contiguous().numpy(), kind), raw_dtype=kind)

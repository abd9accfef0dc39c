"""Out and in again: Hugging Face folders that Transformers reads and writes, and GGUF files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SCALINGS, configs, foreign, lively, tiny_config
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from olympiad.interop import (
    ForeignTokenizer,
    UnsupportedModel,
    export_model,
    import_model,
    load_gguf,
    load_huggingface,
    save_gguf,
    save_huggingface,
)
from olympiad.interop.weights import narrowest_dtype
from olympiad.model import MathTransformerDecoder
from olympiad.tokenizer import MathTokenizer, render_prompt

pytest.importorskip("gguf")
FOREIGN = foreign()
IDS = torch.randint(FOREIGN.vocab_size, (2, 40), generator=torch.Generator().manual_seed(3))


def assert_same(model: MathTransformerDecoder, other: MathTransformerDecoder) -> None:
    """Bit for bit."""
    weights = dict(other.named_parameters())
    assert weights.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def save_theirs(folder: Path, model: Any, tokenizer: ForeignTokenizer = FOREIGN, **options: Any) -> None:
    model.save_pretrained(folder, **options)
    for name, content in {**tokenizer.files, "tokenizer.json": tokenizer.json.encode()}.items():
        (folder / name).write_bytes(content)


# ------------------------------------------------------------------------------------------------- any config


@given(configs(FOREIGN.vocab_size))
@settings(max_examples=25)
def test_any_config_comes_back_and_transformers_computes_the_same(config: Any) -> None:
    """Guards against a field of the config that is lost, renamed or read with another default, in either direction."""
    model = lively(config)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save_huggingface(model, FOREIGN, folder)
        again, tokenizer = load_huggingface(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert_same(model, again)
    with torch.no_grad():
        torch.testing.assert_close(again(IDS), model(IDS), rtol=0.0, atol=0.0)
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-4, atol=1e-4)
    assert tokenizer.json == FOREIGN.json
    assert tokenizer.files == FOREIGN.files


@given(configs(FOREIGN.vocab_size), st.sampled_from(["float32", "bfloat16"]))
@settings(max_examples=25)
def test_any_config_survives_gguf(config: Any, dtype: Any) -> None:
    """Guards against rows of query and key left in llama.cpp's order, and settings that a GGUF file keeps elsewhere."""
    model = lively(config).to(getattr(torch, dtype)).float()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.gguf"
        scaling = config.rope_scaling
        narrow = config.qkv_bias and config.head_dim * config.num_attention_heads != config.hidden_size
        kind = scaling.kind if scaling else None
        if (
            kind == "dynamic"
            or (kind == "llama3" and (config.qkv_bias or config.qk_norm))
            or (scaling and scaling.beta_fast != 32)
            or narrow
        ):
            with pytest.raises(UnsupportedModel, match=r"llama.cpp (has no|takes|loads a qwen2 model only)"):
                save_gguf(model, FOREIGN, path, dtype)
            assert not list(Path(temporary).iterdir())
            return
        save_gguf(model, FOREIGN, path, dtype)
        again, tokenizer = load_gguf(path)
    assert_same(model, again)
    with torch.no_grad():
        torch.testing.assert_close(again(IDS), model(IDS), rtol=1e-5, atol=1e-5)
    assert tokenizer.json == FOREIGN.json
    assert tokenizer.end_ids == FOREIGN.end_ids


# ------------------------------------------------------------------------------------ what Transformers wrote

SIZES = {"vocab_size": FOREIGN.vocab_size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 5e3}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "rope_theta": 5e5}
THEIRS = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama, tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "llama, llama3": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3}),
    "llama, wide heads": (LlamaConfig, LlamaForCausalLM, {"head_dim": 12, "rms_norm_eps": 1e-3}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2, yarn, tied": (Qwen2Config, Qwen2ForCausalLM, {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16}),
    "qwen3, linear": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
    ),
    "qwen3, dynamic": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
}


@pytest.mark.parametrize(("config_class", "model_class", "fields"), THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("form", ["new words", "old words", "shards"])
def test_what_transformers_saves_loads(
    config_class: Any, model_class: Any, fields: dict[str, Any], form: str, tmp_path: Path
) -> None:
    """Guards against defaults unlike Transformers', the rotary words of its version 5 or of earlier ones, and shards."""
    torch.manual_seed(0)
    theirs = model_class(config_class(**{**SIZES, **fields})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_theirs(tmp_path, theirs, **({"max_shard_size": "20KB"} if form == "shards" else {}))
    assert (len(list(tmp_path.glob("model-*.safetensors"))) > 2) == (form == "shards")
    if form == "old words":
        config = json.loads((tmp_path / "config.json").read_text())
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else {"type": rope.pop("rope_type"), **rope}
        (tmp_path / "config.json").write_text(json.dumps(config))
    ours, _ = load_huggingface(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def test_pickled_weights_load(tmp_path: Path) -> None:
    """Guards against refusing the tensors of an older model because a pickle could hold more."""
    theirs = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    save_theirs(tmp_path, theirs)
    (tmp_path / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    ours, _ = load_huggingface(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def test_a_tied_head_that_is_stored_twice_is_taken_once(tmp_path: Path) -> None:
    """Guards against "left over" weights in folders that hold the embedding under both of its names."""
    model = lively(tiny_config(FOREIGN, tie_word_embeddings=True))
    save_huggingface(model, FOREIGN, tmp_path / "m")
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    assert_same(model, load_huggingface(tmp_path / "m")[0])


# ---------------------------------------------------------------------------------------------- our own models


def test_our_tokenizer_travels_with_its_chat_template(tiny: Any, tmp_path: Path) -> None:
    """Guards against an exported model that is asked otherwise than it was trained: other ids for the same problem."""
    model = lively(tiny.config())
    folder = tmp_path / "m"
    save_huggingface(model, tiny.tokenizer, folder)
    again, tokenizer = load_huggingface(folder)
    assert isinstance(tokenizer, MathTokenizer)
    assert again.config == model.config.model_copy(update={"attention_head_dim": 8, "num_key_value_heads": 4})
    theirs = AutoTokenizer.from_pretrained(folder)
    problem = "What is $2 + 2$?"
    chat = [{"role": "user", "content": problem}]
    prompt = render_prompt(tiny.tokenizer, problem)
    assert theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == prompt
    assert theirs(problem)["input_ids"] == tiny.tokenizer.encode(problem)
    as_foreign = ForeignTokenizer(tokenizer.json, {"tokenizer_config.json": (folder / "tokenizer_config.json").read_bytes()})
    assert as_foreign.chat_prompt(chat) == prompt
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([prompt])
    expected = reference.generate(ids, max_new_tokens=12, do_sample=False)[0].tolist()
    assert model.generate(ids, max_new_tokens=12, stop_tokens=(tiny.tokenizer.end_id,))[0].tolist() == expected
    assert reference.generation_config.eos_token_id == tiny.tokenizer.end_id


def test_shards_have_an_index(tmp_path: Path) -> None:
    """Guards against a large model in files that nobody can put together."""
    model = lively(tiny_config(FOREIGN))
    save_huggingface(model, FOREIGN, tmp_path / "m", shard_bytes=30_000)
    shards = sorted((tmp_path / "m").glob("*.safetensors"))
    assert len(shards) > 3
    assert all(path.stat().st_size < 60_000 for path in shards)  # one matrix may be larger than a shard
    assert_same(model, load_huggingface(tmp_path / "m")[0])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_auto_takes_the_narrowest_type_that_loses_nothing(dtype: str, tmp_path: Path) -> None:
    """Guards against weights that are rounded, or stored in twice the bytes, on their way through."""
    model = lively(tiny_config(FOREIGN)).to(getattr(torch, dtype))
    assert narrowest_dtype(model.parameters()) == getattr(torch, dtype)
    check = export_model(model, FOREIGN, "huggingface", tmp_path / "m")
    assert check is not None
    assert check.lossless
    assert check.difference < 1e-4
    assert AutoConfig.from_pretrained(tmp_path / "m").dtype == getattr(torch, dtype)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype  # the words of Transformers 5 and 4
    assert_same(model, load_huggingface(tmp_path / "m", dtype=None)[0])


@pytest.mark.parametrize(
    "family", [{}, {"qkv_bias": True}, {"qk_norm": True, "attention_head_dim": 128}], ids=["llama", "qwen2", "qwen3"]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "q8_0"])
def test_transformers_reads_our_gguf_files(family: dict[str, Any], dtype: Any, tmp_path: Path) -> None:
    """Guards against two mistakes of ours, out and in, that undo each other."""
    pytest.importorskip("accelerate")
    model = lively(tiny_config(FOREIGN, **family))
    check = export_model(model, FOREIGN, "gguf", tmp_path / "m.gguf", dtype)
    assert check is not None
    assert "Transformers" in check.after
    assert check.lossless == (dtype == "float32")
    assert check.difference < {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "q8_0": 0.5}[dtype]
    imported = import_model(str(tmp_path / "m.gguf"), tmp_path / "m")
    assert imported is not None
    assert imported.difference < 1e-4
    assert "Transformers" in imported.before


@pytest.mark.parametrize(
    "scaling", [each for each in SCALINGS if each and each.kind in ("llama3", "yarn") and each.beta_fast == 32], ids=str
)
def test_foreign_gguf_files_tell_their_rotary_scaling(scaling: Any, tmp_path: Path) -> None:
    """Guards against a scaling that we only read back because a key of ours says so."""
    gguf = pytest.importorskip("gguf")
    model = lively(tiny_config(FOREIGN, rope_scaling=scaling, attention_head_dim=64, rope_theta=1e4))
    save_gguf(model, FOREIGN, tmp_path / "ours.gguf")
    content = (tmp_path / "ours.gguf").read_bytes()
    assert b"olympiad.rope_scaling" in content
    (tmp_path / "theirs.gguf").write_bytes(content.replace(b"olympiad.rope_scaling", b"elsewhere.rope_scaling"[:21]))
    assert "olympiad.rope_scaling" not in gguf.GGUFReader(tmp_path / "theirs.gguf").fields
    again, _ = load_gguf(tmp_path / "theirs.gguf")
    with torch.no_grad():
        torch.testing.assert_close(again(IDS), model(IDS), rtol=1e-3, atol=1e-3)


def test_every_end_token_survives_gguf(tmp_path: Path) -> None:
    """Guards against a model that talks on, since llama.cpp's first two keys for end tokens were the only ones filled."""
    gguf = pytest.importorskip("gguf")
    files = FOREIGN.files | {"generation_config.json": json.dumps({"eos_token_id": [0, 1, 2]}).encode()}
    tokenizer = ForeignTokenizer(FOREIGN.json, files)
    save_gguf(lively(tiny_config(tokenizer)), tokenizer, tmp_path / "m.gguf")
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    told = [fields[f"tokenizer.ggml.{name}_token_id"].contents() for name in ("eos", "eot", "eom")]
    assert told == [tokenizer.id_of("eos_token"), 0, 1]
    again = load_gguf(tmp_path / "m.gguf")[1]
    assert again.end_ids == (0, 1, 2)  # type: ignore[union-attr]
    assert again.special_tokens == tokenizer.special_tokens  # type: ignore[union-attr]


@pytest.mark.parametrize("to", ["huggingface", "gguf"])
def test_an_export_leaves_the_model_as_it_is(to: Any, tmp_path: Path) -> None:
    """Guards against a model that is on another device, in twice the bytes or without dropout after it was exported."""
    model = lively(tiny_config(FOREIGN)).to(torch.bfloat16).train()
    before = {name: (parameter, parameter.clone()) for name, parameter in model.named_parameters()}
    export_model(model, FOREIGN, to, tmp_path / {"huggingface": "m", "gguf": "m.gguf"}[to])
    assert model.training
    for name, parameter in model.named_parameters():
        same, value = before[name]
        assert parameter is same
        assert parameter.dtype == torch.bfloat16
        assert parameter.requires_grad
        assert torch.equal(parameter, value)

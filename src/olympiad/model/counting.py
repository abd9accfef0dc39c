"""Parameters and arithmetic of a model, from its config alone."""

from __future__ import annotations

from .config import MathTransformerConfig


def layer_matrices(config: MathTransformerConfig) -> int:
    """Parameters of one layer that tensor parallelism splits: its matrices and their biases."""
    heads, kv_heads, head_dim, hidden = config.num_attention_heads, config.kv_heads, config.head_dim, config.hidden_size
    biases = head_dim * (heads + 2 * kv_heads) if config.qkv_bias else 0
    return hidden * head_dim * (2 * heads + 2 * kv_heads) + biases + 3 * hidden * config.intermediate_size


def layer_norms(config: MathTransformerConfig) -> int:
    """Parameters of one layer that every tensor rank holds: its norms."""
    return 2 * config.hidden_size + (2 * config.head_dim if config.qk_norm else 0)


def count_parameters(config: MathTransformerConfig) -> int:
    """Parameters of the model that ``config`` describes, without building it."""
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    layers = config.num_hidden_layers * (layer_matrices(config) + layer_norms(config))
    return layers + embeddings + config.hidden_size


def count_multiplied(config: MathTransformerConfig) -> int:
    """Parameters that every token is multiplied with: all but the input embedding, which is looked up."""
    looked_up = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return count_parameters(config) - looked_up


def flops_per_position(config: MathTransformerConfig, length: int) -> tuple[int, int]:
    """Floating-point operations of forward and backward pass for one position among ``length``: layers, and projection.

    6 for each weight that a position is multiplied with, and 12 x layers x attention size x length for attention: the
    count of PaLM (arXiv:2204.02311, appendix B), as if every position saw all others; recomputation is not counted.
    """
    head = config.vocab_size * config.hidden_size
    attention_size = config.num_attention_heads * config.head_dim
    body = 6 * (count_multiplied(config) - head) + 12 * config.num_hidden_layers * attention_size * length
    return body, 6 * head


def flops_per_token(config: MathTransformerConfig, length: int) -> int:
    """Of forward and backward pass, for one token with a target in a sequence of ``length`` positions.

    >>> from olympiad.model import get_small_config
    >>> flops_per_token(get_small_config(), 512)
    91239936
    """
    return sum(flops_per_position(config, length))

"""What a dry run says, beside what PyTorch counts."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.model.counting import flops_per_token


def test_flops_are_those_that_pytorch_counts() -> None:
    """A formula that forgets a projection, or counts the embedding that is only looked up."""
    for tied in (False, True):
        config = MathTransformerConfig(
            vocab_size=96, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=tied,
        )  # fmt: skip
        model, ids = MathTransformerDecoder(config, seed=0), torch.zeros(2, 64, dtype=torch.long)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused one is not counted on CPU
            model(ids)
        counted = 3 * counter.get_total_flops() / ids.numel()
        norms = 6 * sum(p.numel() for p in model.parameters() if p.ndim == 1)  # no products of matrices
        assert abs(flops_per_token(config, 64) - norms - counted) < 1e-6 * counted

"""Ids -> logits."""

from .config import MathTransformerConfig, RotaryScaling, get_base_config, get_large_config, get_small_config
from .decoder import MathTransformerDecoder

__all__ = [
    "MathTransformerConfig",
    "MathTransformerDecoder",
    "RotaryScaling",
    "get_base_config",
    "get_large_config",
    "get_small_config",
]

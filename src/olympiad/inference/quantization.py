"""Weights of fewer bits, through torchao: less memory to read for each token."""

from __future__ import annotations

from typing import Literal

from olympiad.errors import UserError
from olympiad.model import MathTransformerDecoder


class QuantizationError(UserError, ValueError):
    """Weights that can't be quantised."""


def quantize(model: MathTransformerDecoder, kind: Literal["int8", "int4"]) -> None:
    """Quantise the projections of the layers in place; embeddings and the output projection keep their precision.

    Raises:
        QuantizationError: torchao is missing, or refuses this model on this device.
    """
    try:
        from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise QuantizationError(
            f"{kind} weights need torchao ({error}): pip install 'olympiad[quantization]', or leave quantization out"
        ) from error
    config = Int8WeightOnlyConfig() if kind == "int8" else Int4WeightOnlyConfig()
    try:
        quantize_(model.layers, config)
    except (RuntimeError, ValueError, NotImplementedError, AssertionError, ImportError) as error:
        device = model.embed_tokens.weight.device.type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise QuantizationError(f"torchao can't make {kind} weights of this model on {device}: {reason}") from error

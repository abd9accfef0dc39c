"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), half-split layout, with four ways to scale it."""

# B batch, T positions, N heads, H head size

from __future__ import annotations

import math

import torch
from torch import Tensor

from .config import MathTransformerConfig, RotaryScaling


def inverse_frequencies(config: MathTransformerConfig, length: int) -> tuple[Tensor, float]:
    """The angle per position of each pair of dimensions, (H/2) in float32, and the factor on cosine and sine.

    Args:
        length: positions in use; only dynamic scaling depends on it.
    """
    head_dim, theta, scaling = config.head_dim, config.rope_theta, config.rope_scaling
    if scaling is None:
        return _frequencies(theta, head_dim), 1.0
    trained = scaling.original_max_sequence_length or config.max_sequence_length
    if scaling.kind == "linear":
        return _frequencies(theta, head_dim) / scaling.factor, 1.0
    if scaling.kind == "dynamic":
        length = max(length, config.max_sequence_length)
        stretch = scaling.factor * length / config.max_sequence_length - (scaling.factor - 1)
        return _frequencies(theta * stretch ** (head_dim / (head_dim - 2)), head_dim), 1.0
    if scaling.kind == "yarn":
        return _yarn(_frequencies(theta, head_dim), theta, scaling, trained)
    return _llama3(_frequencies(theta, head_dim), scaling, trained), 1.0


def _frequencies(theta: float, head_dim: int) -> Tensor:
    return 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def _yarn(frequencies: Tensor, theta: float, scaling: RotaryScaling, trained: int) -> tuple[Tensor, float]:
    """YaRN (arXiv:2309.00071), equations 17-22: interpolate what turns rarely, keep what turns often."""
    pairs = len(frequencies)

    def pair_that_turns(times: float) -> float:
        return pairs * math.log(trained / (times * 2 * math.pi)) / math.log(theta)

    low = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_that_turns(scaling.beta_slow)), 2 * pairs - 1)
    ramp = ((torch.arange(pairs, dtype=torch.float32) - low) / max(high - low, 1e-3)).clamp(0, 1)
    attention_factor = scaling.attention_factor
    if attention_factor is None:
        attention_factor = 0.1 * math.log(scaling.factor) + 1.0
    return frequencies / scaling.factor * ramp + frequencies * (1 - ramp), attention_factor


def _llama3(frequencies: Tensor, scaling: RotaryScaling, trained: int) -> Tensor:
    """Llama 3.1: long waves are interpolated, short ones stay, those between go over smoothly."""
    wavelength = 2 * math.pi / frequencies
    keep = (trained / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = keep.clamp(0, 1)
    return frequencies / scaling.factor * (1 - keep) + frequencies * keep


class RotaryEmbedding(torch.nn.Module):
    """Cosine and sine of every position's angles."""

    def __init__(self, config: MathTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dynamic = config.rope_scaling is not None and config.rope_scaling.kind == "dynamic"
        # Built on the CPU whatever the default device is: a model made on "meta" must still know its frequencies.
        with torch.device("cpu"):
            frequencies, self.attention_factor = inverse_frequencies(config, config.max_sequence_length)
        self._frequencies = frequencies  # no buffer: `model.bfloat16()` must not round the angles

    def forward(self, position_ids_BT: Tensor, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(B, T) positions -> cosine and sine, each (B, 1, T, H), in ``dtype``."""
        if self.dynamic and length > self.config.max_sequence_length:
            frequencies, _ = inverse_frequencies(self.config, length)
        else:
            frequencies = self._frequencies
        if frequencies.device != position_ids_BT.device:
            frequencies = frequencies.to(position_ids_BT.device)
            if not self.dynamic and frequencies.device.type != "meta":  # a meta tensor has forgotten its values
                self._frequencies = frequencies
        angles = position_ids_BT[:, None, :, None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return (angles.cos() * self.attention_factor).to(dtype), (angles.sin() * self.attention_factor).to(dtype)


def rotary_table(config: MathTransformerConfig, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (S, H) in float32; row p turns position p of a text that ends there (to dynamic scaling, that matters)."""
    positions = torch.arange(length, dtype=torch.float32, device="cpu")
    with torch.device("cpu"):
        if config.rope_scaling is not None and config.rope_scaling.kind == "dynamic" and length > config.max_sequence_length:
            frequencies = torch.stack([inverse_frequencies(config, place + 1)[0] for place in range(length)])
            factor = 1.0
        else:
            frequencies, factor = inverse_frequencies(config, length)
    angles = positions[:, None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * factor, angles.sin() * factor


def rotate(x_BNTH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (i, i + H/2) by its position's angle."""
    first, second = x_BNTH.chunk(2, dim=-1)
    return x_BNTH * cosine + torch.cat((-second, first), dim=-1) * sine

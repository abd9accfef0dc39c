"""Grouped-query attention over one sequence, over packed documents, or over what a cache holds."""

# B batch, T new positions, S all positions, N heads, K key/value heads, H head size, D hidden size

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import MathTransformerConfig
from .rotary import rotate

if TYPE_CHECKING:
    from .cache import CacheWindow


@dataclass(frozen=True)
class AttentionPattern:
    """Who may look at whom: causal, unless a mask (True = may look) says more."""

    causal: bool
    mask_BNTS: Tensor | None = None


def attention_pattern(num_new: int, document_ids_BT: Tensor | None, device: torch.device) -> AttentionPattern:
    """The pattern of ``num_new`` positions of whole texts, or of packed documents, each seeing only itself."""
    if document_ids_BT is None:
        return AttentionPattern(causal=True)
    same_document = document_ids_BT[:, None, :, None] == document_ids_BT[:, None, None, :]
    return AttentionPattern(causal=False, mask_BNTS=same_document.tril())


def attend(query_BNTH: Tensor, key_BKSH: Tensor, value_BKSH: Tensor, pattern: AttentionPattern) -> Tensor:
    """Scaled dot-product attention, (B, N, T, H); each key/value head serves N / K query heads."""
    grouped = query_BNTH.shape[1] != key_BKSH.shape[1]
    if grouped and query_BNTH.shape[2] == 1 and not pattern.causal:
        # One new position: the heads that share keys stand in the place of positions, so that each key is read once.
        query_BKGH = query_BNTH.unflatten(1, (key_BKSH.shape[1], -1)).flatten(2, 3)
        out_BKGH = F.scaled_dot_product_attention(query_BKGH, key_BKSH, value_BKSH, attn_mask=pattern.mask_BNTS)
        return out_BKGH.flatten(1, 2)[:, :, None]
    if grouped and query_BNTH.is_cuda and (pattern.mask_BNTS is not None or query_BNTH.dtype == torch.float32):
        # On CUDA only Flash attention groups, and it takes neither masks nor float32: repeat keys and values, or
        # PyTorch falls back to the kernel that makes all T x S scores.
        repeats = query_BNTH.shape[1] // key_BKSH.shape[1]
        key_BKSH, value_BKSH = key_BKSH.repeat_interleave(repeats, 1), value_BKSH.repeat_interleave(repeats, 1)
        grouped = False
    return F.scaled_dot_product_attention(
        query_BNTH, key_BKSH, value_BKSH, attn_mask=pattern.mask_BNTS, is_causal=pattern.causal, enable_gqa=grouped
    )


class RMSNorm(nn.RMSNorm):
    """PyTorch's, which on CPU is a dozen small operations; a step of one token has time for fewer."""

    def forward(self, x: Tensor) -> Tensor:
        plain = type(x) is Tensor and x.dtype == self.weight.dtype and x.device.type == "cpu"
        if torch.is_grad_enabled() or not plain or self.eps is None:
            return super().forward(x)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = torch.rsqrt(length * length / x.shape[-1] + self.eps)
        return (x * scale).to(x.dtype) * self.weight


class Attention(nn.Module):
    """Names of the projections are Transformers' own, so that exporting weights renames nothing."""

    def __init__(self, config: MathTransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        attention_size, kv_size = config.num_attention_heads * self.head_dim, config.kv_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, attention_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(attention_size, config.hidden_size, bias=False)
        self.q_norm: nn.Module = nn.Identity()
        self.k_norm: nn.Module = nn.Identity()
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)
            self.k_norm = RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.attend = attend  # a layout that splits positions replaces it

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], pattern: AttentionPattern, cache: CacheWindow | None
    ) -> Tensor:
        heads = (-1, self.head_dim)  # -1: tensor parallelism splits the heads
        query_BNTH = rotate(self.q_norm(self.q_proj(x_BTD).unflatten(-1, heads)).transpose(1, 2), *rotary)
        key_BKSH = rotate(self.k_norm(self.k_proj(x_BTD).unflatten(-1, heads)).transpose(1, 2), *rotary)
        value_BKSH = self.v_proj(x_BTD).unflatten(-1, heads).transpose(1, 2)
        # Under autocast norm and rotation give float32, which no fast kernel takes.
        query_BNTH, key_BKSH = query_BNTH.to(value_BKSH.dtype), key_BKSH.to(value_BKSH.dtype)
        if cache is not None:
            key_BKSH, value_BKSH = cache.append(self.layer, key_BKSH, value_BKSH)
        out_BNTH = self.attend(query_BNTH, key_BKSH, value_BKSH, pattern)
        return self.o_proj(out_BNTH.transpose(1, 2).flatten(2))

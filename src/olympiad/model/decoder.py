"""The decoder: ids -> logits. Pre-norm, RMSNorm, rotary embedding, SwiGLU, grouped-query attention.

ids ─ embed ─┬─ norm ─ attention ─ + ─┬─ norm ─ SwiGLU ─ + ─ ... ─ norm ─ project ─ logits
             └─────────────────────┘  └────────────────┘
"""

# B batch, T positions, D hidden size, V vocabulary

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from .attention import Attention, AttentionPattern, RMSNorm, attention_pattern
from .cache import CacheWindow
from .config import MathTransformerConfig
from .generation import SamplingOptions, generate
from .rotary import RotaryEmbedding


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: MathTransformerConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class DecoderLayer(nn.Module):
    def __init__(self, config: MathTransformerConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], pattern: AttentionPattern, cache: CacheWindow | None
    ) -> Tensor:
        def computed(x_BTD: Tensor) -> Tensor:
            x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rotary, pattern, cache)
            return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))

        # Here rather than around the layer: a compiled layer then knows what it may keep, and hooks run once.
        if self.config.gradient_checkpointing and self.training:
            selective: dict[str, Any] = {}
            if self.config.gradient_checkpointing == "selective":
                selective = {"context_fn": _keep_products}
            return checkpoint(computed, x_BTD, use_reentrant=False, **selective)
        return computed(x_BTD)


def _keep_products() -> Any:
    """For selective checkpointing: keep what the projections and attention made, recompute what costs nothing."""
    costly = (
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten._scaled_mm.default,  # float8
        torch.ops.aten._scaled_dot_product_flash_attention.default,
        torch.ops.aten._scaled_dot_product_efficient_attention.default,
        torch.ops.aten._scaled_dot_product_cudnn_attention.default,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    )

    def policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        return CheckpointPolicy.MUST_SAVE if operation in costly else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)


class MathTransformerDecoder(nn.Module):
    """A decoder-only transformer.

    ``model(input_ids)`` gives logits (B, T, V); ``hidden_states`` stops before the output projection, which the
    training loss makes chunk by chunk so that no (B, T, V) tensor ever exists.

    Args:
        config: checked again here, since its fields may have changed.
        seed: of the initial weights; the global random state where absent.
    """

    def __init__(self, config: MathTransformerConfig, seed: int | None = None) -> None:
        super().__init__()
        self.config = config = type(config).model_validate(config.model_dump(warnings=False))  # a checked copy
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary = RotaryEmbedding(self.config)
        self.make_pattern = attention_pattern  # a layout that splits positions replaces it
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if self.embed_tokens.weight.device.type != "meta":
            self.initialize(seed)

    @torch.no_grad()
    def initialize(self, seed: int | None = None) -> None:
        """Set the initial weights: normal, with what writes into the residual stream scaled down by depth (GPT-2)."""
        generator = None
        if seed is not None:
            generator = torch.Generator(self.embed_tokens.weight.device).manual_seed(seed)
        for name, parameter in self.named_parameters():
            self.initialize_parameter(name, parameter, generator)

    @torch.no_grad()
    def initialize_parameter(self, name: str, parameter: Tensor, generator: torch.Generator | None) -> None:
        """Set one parameter: biases to 0, norms to 1, matrices to normal numbers."""
        scale = self.config.initializer_range
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            deviation = scale / math.sqrt(2 * self.config.num_hidden_layers) if into_residual else scale
            parameter.normal_(0.0, deviation, generator=generator)

    @property
    def output_weight(self) -> Tensor:
        """(V, D): the output projection, which is the embedding where the two are tied."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    @property
    def num_parameters(self) -> int:
        """Parameters, a tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def hidden_states(
        self,
        input_ids_BT: Tensor,
        document_ids_BT: Tensor | None = None,
        position_ids_BT: Tensor | None = None,
        cache: CacheWindow | None = None,
    ) -> Tensor:
        """(B, T) ids -> (B, T, D), after the last norm. The arguments are those of ``forward``."""
        num_new = input_ids_BT.shape[1]
        if position_ids_BT is not None:  # between pipeline stages the hidden states may lie split by positions
            num_new = position_ids_BT.shape[1]
        length = num_new if cache is None else cache.length
        if length > self.config.context_limit:
            raise ValueError(
                f"a sequence of {length} positions is beyond this model's context of {self.config.context_limit}: "
                "shorten it, or build the model with a larger max_sequence_length"
            )
        x_BTD = self.embed_tokens(input_ids_BT)
        if cache is not None:
            assert document_ids_BT is None, "packed documents are for training, without a cache"
            pattern, position_ids_BT = cache.pattern, cache.position_ids_BT
        else:
            pattern = self.make_pattern(num_new, document_ids_BT, input_ids_BT.device)
        if position_ids_BT is None:
            position_ids_BT = torch.arange(num_new, device=input_ids_BT.device)[None]
        if cache is not None and num_new == 1:  # noqa: SIM108  (two lines are easier to read)
            rotary = cache.rotary()
        else:
            rotary = self.rotary(position_ids_BT, length, x_BTD.dtype)
        for layer in self.layers:
            x_BTD = layer(x_BTD, rotary, pattern, cache)
        return self.norm(x_BTD)

    def forward(
        self,
        input_ids: Tensor,
        document_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: CacheWindow | None = None,
    ) -> Tensor:
        """Logits (B, T, V) of the token after each position.

        Args:
            input_ids: (B, T). Padding goes to the right, where no real position sees it.
            document_ids: (B, T), for packed rows: a position sees only earlier ones with its own number.
            position_ids: (B, T) or (1, T): place of each token in its document; counted from 0 if absent.
            cache: slots that hold the positions before these; the new ones are written behind them.

        Raises:
            ValueError: the sequence is longer than the context.
        """
        return F.linear(self.hidden_states(input_ids, document_ids, position_ids, cache), self.output_weight)

    def generate(self, input_ids: Tensor, max_new_tokens: int = 128, **options: object) -> Tensor:
        """Continue each row of ``input_ids`` (B, T); prompt and continuation, (B, T + new), padded where a row ended.

        Greedy unless ``temperature`` is above 0. The other options (``top_k``, ``top_p``, ``min_p``,
        ``repetition_penalty``, ``stop_tokens``, ``seed``) are those of
        :class:`~olympiad.model.generation.SamplingOptions`.

        Raises:
            ValueError: an empty prompt, an id outside the vocabulary, a prompt and continuation that do not fit into
                the context, or an option out of range.
        """
        return generate(self, input_ids, SamplingOptions(max_new_tokens=max_new_tokens, **options))  # type: ignore[arg-type]

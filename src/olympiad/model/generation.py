"""Continue a batch of ids: the decoding loop for a bare model, without text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .decoding import DecodingBatch, PromptError, Row
from .sampling import SamplingOptions, next_token_probabilities, uniform_draws

if TYPE_CHECKING:
    from .decoder import MathTransformerDecoder

__all__ = ["PromptError", "SamplingOptions", "check_prompt", "draws_for", "generate", "next_token_probabilities"]


def check_prompt(model: MathTransformerDecoder, input_ids: Tensor, max_new_tokens: int) -> None:
    """Raise a :class:`PromptError` that says what is wrong with the prompt, before anything is computed."""
    if input_ids.ndim != 2:
        raise PromptError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, positions)")
    if input_ids.is_floating_point() or input_ids.dtype == torch.bool:
        raise PromptError(f"input_ids is {input_ids.dtype}, expected integers")
    if input_ids.numel() == 0:
        raise PromptError(
            f"the prompt is empty, of shape {tuple(input_ids.shape)}: give at least one row of one token "
            "(the renderer's prompt starts with one)"
        )
    lowest, highest = input_ids.min().item(), input_ids.max().item()
    if lowest < 0 or highest >= model.config.vocab_size:
        outside = lowest if lowest < 0 else highest
        raise PromptError(f"token id {outside} is outside the model's vocabulary of {model.config.vocab_size}")
    prompt, limit = input_ids.shape[1], model.config.context_limit
    if prompt + max_new_tokens > limit:
        advice = f"ask for at most {limit - prompt} new tokens" if prompt < limit else f"shorten it below {limit}"
        raise PromptError(
            f"a prompt of {prompt} tokens and {max_new_tokens} new ones do not fit into the context of {limit}: {advice}"
        )


def draws_for(options: SamplingOptions, stream: Sequence[int]) -> np.ndarray | None:
    """The uniform numbers of one text; without a seed, one comes from the global random state."""
    if options.temperature == 0.0:
        return None
    seed = options.seed if options.seed is not None else int(torch.randint(2**62, ()))
    return uniform_draws(seed, stream, options.max_new_tokens)


def generate(model: MathTransformerDecoder, input_ids: Tensor, options: SamplingOptions) -> Tensor:
    """See :meth:`MathTransformerDecoder.generate`. Rows that have ended leave the batch."""
    for name in ("stop_strings", "num_samples", "logprobs"):
        if getattr(options, name) != SamplingOptions.model_fields[name].default:
            raise PromptError(f"{name} is an option of olympiad.inference.Engine: a bare model knows only ids")
    check_prompt(model, input_ids, options.max_new_tokens)
    device, (batch_size, prompt) = model.embed_tokens.weight.device, input_ids.shape
    rows = [Row(ids, options, draws_for(options, (number,))) for number, ids in enumerate(input_ids.tolist())]
    was_training, _ = model.training, model.eval()
    try:
        if options.max_new_tokens:
            batch = DecodingBatch(model, batch_size, prompt + options.max_new_tokens, share_prefixes=False)
            batch.admit(rows)
            while batch.num_running:
                batch.step()
    finally:
        model.train(was_training)
    longest = max(len(row.tokens) for row in rows)
    pad = model.config.pad_token_id
    return torch.tensor([row.prompt + row.tokens + [pad] * (longest - len(row.tokens)) for row in rows], device=device)

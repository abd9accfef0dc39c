"""Choose the next token, again and again, with a cache of what was computed before."""

# B rows still running, T positions, V vocabulary

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from olympiad.errors import UserError

from .attention import KVCache

if TYPE_CHECKING:
    from .decoder import MathTransformerDecoder

SMALLEST = 1e-30  # a temperature or top-p far below this is 0 in float32, which would leave no token


class SamplingOptions(BaseModel):
    """How to choose tokens. Filters apply in this order: penalty, temperature, top-k, top-p, min-p."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=128, ge=0)
    temperature: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """0 takes the most probable token; 1 samples from the model's own distribution."""
    top_k: int | None = Field(default=None, ge=1)
    """Keep the k most probable tokens."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Keep the fewest most probable tokens that hold this much probability (arXiv:1904.09751)."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Keep tokens at least this probable, relative to the most probable one (arXiv:2407.01082)."""
    repetition_penalty: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Divide positive logits of tokens seen before by this, multiply negative ones (arXiv:1909.05858)."""
    stop_tokens: tuple[int, ...] = ()
    """A row ends after any of these; the token stays in the row."""
    seed: int | None = None
    """Of the sampling; the global random state where absent."""


def next_token_probabilities(logits_BV: Tensor, seen_BT: Tensor, options: SamplingOptions) -> Tensor:
    """(B, V) probabilities in float32, after the penalty and all filters; each row keeps at least one token."""
    logits_BV = logits_BV.float()
    if options.repetition_penalty != 1.0:
        seen_logits = logits_BV.gather(1, seen_BT)
        penalty = options.repetition_penalty
        seen_logits = torch.where(seen_logits > 0, seen_logits / penalty, seen_logits * penalty)
        logits_BV = logits_BV.scatter(1, seen_BT, seen_logits)
    if options.temperature == 0.0:
        return torch.zeros_like(logits_BV).scatter_(1, logits_BV.argmax(dim=-1, keepdim=True), 1.0)
    temperature, top_p = max(options.temperature, SMALLEST), max(options.top_p, SMALLEST)
    probabilities_BV = ((logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / temperature).softmax(dim=-1)
    if options.top_k is not None and options.top_k < probabilities_BV.shape[1]:
        threshold = probabilities_BV.topk(options.top_k, dim=-1).values[:, -1:]
        probabilities_BV = probabilities_BV.where(probabilities_BV >= threshold, 0.0)
    if top_p < 1.0:
        ordered, order = (probabilities_BV / probabilities_BV.sum(dim=-1, keepdim=True)).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # what more probable tokens hold together
        probabilities_BV = torch.zeros_like(ordered).scatter_(1, order, ordered.where(before < top_p, 0.0))
    if options.min_p > 0.0:
        threshold = options.min_p * probabilities_BV.amax(dim=-1, keepdim=True)
        probabilities_BV = probabilities_BV.where(probabilities_BV >= threshold, 0.0)
    return probabilities_BV / probabilities_BV.sum(dim=-1, keepdim=True)


class PromptError(UserError, ValueError):
    """A prompt that can't be continued, or a model that can't continue any."""


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


@torch.no_grad()
def generate(model: MathTransformerDecoder, input_ids: Tensor, options: SamplingOptions) -> Tensor:
    """See :meth:`MathTransformerDecoder.generate`. Rows that have ended leave the batch."""
    check_prompt(model, input_ids, options.max_new_tokens)
    weight = model.output_weight
    input_ids = input_ids.to(weight.device, torch.long)
    generator = None
    if options.seed is not None:
        generator = torch.Generator(weight.device).manual_seed(options.seed)
    batch_size, prompt = input_ids.shape
    tokens = torch.full((batch_size, prompt + options.max_new_tokens), model.config.pad_token_id, device=weight.device)
    tokens[:, :prompt] = input_ids
    running = torch.arange(batch_size, device=weight.device)
    stop_tokens = torch.tensor(options.stop_tokens, dtype=torch.long, device=weight.device)
    cache = KVCache(model.config, batch_size, tokens.shape[1], weight.device, weight.dtype)
    was_training, _ = model.training, model.eval()
    end, new = prompt, input_ids
    try:
        for end in range(prompt + 1, tokens.shape[1] + 1):
            logits_BV = torch.nn.functional.linear(model.hidden_states(new, cache=cache)[:, -1], weight)
            if end == prompt + 1 and not logits_BV.isfinite().all():
                raise PromptError("the model's logits are not finite numbers: its weights are damaged, take another checkpoint")
            probabilities_BV = next_token_probabilities(logits_BV, tokens[running, : end - 1], options)
            if options.temperature == 0.0:
                new = probabilities_BV.argmax(dim=-1, keepdim=True)
            else:
                new = torch.multinomial(probabilities_BV, 1, generator=generator)
            tokens[running, end - 1] = new[:, 0]
            if options.stop_tokens:
                unfinished = ~torch.isin(new[:, 0], stop_tokens)
                if not unfinished.all():
                    running, new = running[unfinished], new[unfinished]
                    cache.keep_rows(unfinished)
                if len(running) == 0:
                    break
    finally:
        model.train(was_training)
    return tokens[:, :end]

"""Logits -> the next token of each row: penalty, filters, a draw of the row's own."""

# B rows, T positions, V vocabulary, C candidates

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

SMALLEST = 1e-30  # a temperature or top-p far below this is 0 in float32, which would leave no token
CANDIDATES = 128  # of a trained model's tokens, more than top-p 0.95 keeps nearly always; else all are sorted


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
    stop_strings: tuple[str, ...] = ()
    """A text ends before the first of these (the engine's; a bare model knows no text)."""
    num_samples: int = Field(default=1, ge=1)
    """Completions of each prompt (the engine's)."""
    logprobs: bool = False
    """Give the log-probability of each token, too (the engine's)."""
    seed: int | None = None
    """Of the sampling; from the global random state where absent."""

    @field_validator("stop_strings")
    @classmethod
    def _no_empty_stop(cls, strings: tuple[str, ...]) -> tuple[str, ...]:
        if "" in strings:
            raise ValueError("a stop string is empty, which would end every text at once: leave it out")
        return strings

    @property
    def filters(self) -> tuple[object, ...]:
        """What rows must have in common for their tokens to be chosen together."""
        return self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty


def next_token_probabilities(logits_BV: Tensor, seen_BT: Tensor, options: SamplingOptions) -> Tensor:
    """(B, V) probabilities in float32, after the penalty and all filters; each row keeps at least one token."""
    logits_BV = _penalized(logits_BV.float(), seen_BT, options)
    if options.temperature == 0.0:
        return torch.zeros_like(logits_BV).scatter_(1, logits_BV.argmax(dim=-1, keepdim=True), 1.0)
    probabilities_BC, ids_BC = _distribution(logits_BV, options)
    if ids_BC is None:
        return probabilities_BC
    return torch.zeros_like(logits_BV).scatter_add_(1, ids_BC, probabilities_BC)


def choose_tokens(logits_BV: Tensor, seen_BT: Tensor | None, uniform_B: Tensor | None, options: SamplingOptions) -> Tensor:
    """(B,) ids: the most probable token, or the one at ``uniform_B`` (in 0..1) of the cumulative distribution."""
    logits_BV = logits_BV.float()
    if seen_BT is not None:
        logits_BV = _penalized(logits_BV, seen_BT, options)
    if options.temperature == 0.0:
        return logits_BV.max(dim=-1).indices  # on CPU three times as fast as argmax
    assert uniform_B is not None
    probabilities_BC, ids_BC = _distribution(logits_BV, options)
    cumulative_BC = probabilities_BC.cumsum(dim=-1)
    total_B1 = cumulative_BC[:, -1:]
    below_total_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))  # or rounding could choose a token of probability 0
    threshold_B1 = torch.minimum(uniform_B[:, None].to(total_B1) * total_B1, below_total_B1)
    place_B1 = torch.searchsorted(cumulative_BC, threshold_B1, right=True)
    return (place_B1 if ids_BC is None else ids_BC.gather(1, place_B1))[:, 0]


def _penalized(logits_BV: Tensor, seen_BT: Tensor, options: SamplingOptions) -> Tensor:
    penalty = options.repetition_penalty
    if penalty == 1.0:
        return logits_BV
    seen_logits = logits_BV.gather(1, seen_BT)
    seen_logits = torch.where(seen_logits > 0, seen_logits / penalty, seen_logits * penalty)
    return logits_BV.scatter(1, seen_BT, seen_logits)


def _distribution(logits_BV: Tensor, options: SamplingOptions) -> tuple[Tensor, Tensor | None]:
    """Probabilities after the filters, (B, C), and the ids that they belong to: all in order where None."""
    vocabulary = logits_BV.shape[1]
    scaled_BV = (logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / max(options.temperature, SMALLEST)
    probabilities_BV = scaled_BV.softmax(dim=-1)
    if options.top_k is None and options.top_p == 1.0:
        if options.min_p == 0.0:
            return probabilities_BV, None
        threshold_B1 = options.min_p * probabilities_BV.amax(dim=-1, keepdim=True)
        probabilities_BV = probabilities_BV.where(probabilities_BV >= threshold_B1, 0.0)
        return probabilities_BV / probabilities_BV.sum(dim=-1, keepdim=True), None
    few = min(vocabulary, max(CANDIDATES, 2 * (options.top_k or 0)))
    kept_BC, ids_BC, incomplete_B = _among(probabilities_BV, few, options)
    if not bool(incomplete_B.any()):
        return kept_BC, ids_BC
    # All tokens for those rows alone: what others draw must not depend on who is beside them.
    missing = (0, vocabulary - few)
    kept_BV, ids_BV = torch.nn.functional.pad(kept_BC, missing), torch.nn.functional.pad(ids_BC, missing)
    kept_BV[incomplete_B], ids_BV[incomplete_B], _ = _among(probabilities_BV[incomplete_B], vocabulary, options)
    return kept_BV, ids_BV


def _among(probabilities_BV: Tensor, count: int, options: SamplingOptions) -> tuple[Tensor, Tensor, Tensor]:
    """The filters applied to the ``count`` most probable tokens, (B, C), their ids, and the rows that may keep more, (B,)."""
    complete = count == probabilities_BV.shape[1]
    ordered_BC, ids_BC = probabilities_BV.sort(descending=True) if complete else probabilities_BV.topk(count)
    incomplete_B = torch.zeros(len(ordered_BC), dtype=torch.bool, device=ordered_BC.device)
    if options.top_k is not None and options.top_k < count:
        threshold_B1 = ordered_BC[:, options.top_k - 1 : options.top_k]
        if not complete:
            incomplete_B |= ordered_BC[:, -1] == threshold_B1[:, 0]  # ties with the last one stay, however many
        ordered_BC = ordered_BC.where(ordered_BC >= threshold_B1, 0.0)
        ordered_BC = ordered_BC / ordered_BC.sum(dim=-1, keepdim=True)
    if options.top_p < 1.0:
        before_BC = ordered_BC.cumsum(dim=-1) - ordered_BC  # what more probable tokens hold together
        inside_BC = before_BC < max(options.top_p, SMALLEST)
        if not complete and options.top_k is None:
            incomplete_B |= inside_BC[:, -1]
        ordered_BC = ordered_BC.where(inside_BC, 0.0)
    if options.min_p > 0.0:
        ordered_BC = ordered_BC.where(ordered_BC >= options.min_p * ordered_BC[:, :1], 0.0)
    return ordered_BC / ordered_BC.sum(dim=-1, keepdim=True), ids_BC, incomplete_B


def uniform_draws(seed: int, stream: Sequence[int], count: int) -> np.ndarray:
    """``count`` numbers in 0..1 that depend on the seed and the stream's numbers alone, not on what else is drawn.

    >>> bool((uniform_draws(1, (0, 2), 5)[:3] == uniform_draws(1, (0, 2), 3)).all())
    True
    """
    return np.random.default_rng([seed & (2**64 - 1), *stream]).random(count)

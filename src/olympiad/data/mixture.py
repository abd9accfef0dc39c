"""In which proportions sources are trained on: how often each document comes in one epoch of the mixture."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .order import epoch_order
from .rows import DataError


class MixtureOptions(BaseModel):
    """How much of a source is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """How often each document comes in one epoch of the mixture; where there are weights, the most that it may; 0: never."""
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The source's part of the tokens, in proportion to the other weights: for all sources, or for none."""
    max_documents: int | None = Field(default=None, ge=1)
    """Take no more documents than these, the same ones each time."""


@dataclass(frozen=True)
class Share:
    """What a mixture takes of one source."""

    source: str
    documents: int
    """As prepared; those under the cap are ``capped``."""
    capped: int
    epochs: float
    tokens: int
    instances: np.ndarray
    """Numbers of the documents within the source, in order, repeated as they are taken."""


def mix(lengths: Mapping[str, np.ndarray], options: Mapping[str, MixtureOptions], seed: int = 0) -> list[Share]:
    """What is taken of each source.

    Without weights each source comes ``epochs`` times. With weights the mixture is as large as it can be with those
    parts of the tokens and no source repeated more often than its ``epochs`` say. Which documents make up a part of an
    epoch depends on ``seed`` and the source alone, so other sources can come and go.

    Args:
        lengths: per source, the tokens of each of its documents.
        options: for some of the sources; the others are taken once.

    Raises:
        DataError: options for a source that is not there or is empty, or weights for some sources only.

    >>> sizes = {"hard": np.full(100, 10), "easy": np.full(1_000, 10)}
    >>> weights = {"hard": MixtureOptions(weight=1, epochs=2), "easy": MixtureOptions(weight=3)}
    >>> [(share.source, share.epochs, share.tokens) for share in mix(sizes, weights)]
    [('hard', 2.0, 2000), ('easy', 0.6, 6000)]
    """
    for name in options:
        if name not in lengths:
            near = difflib.get_close_matches(name, lengths, n=1)
            raise DataError(
                f"no source {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(lengths)}")
            )
    lengths = {name: each for name, each in lengths.items() if name not in options or options[name].epochs > 0}
    empty = [name for name, each in lengths.items() if not len(each)]
    if empty:
        raise DataError(f"nothing is left of {', '.join(empty)}: leave it out of the mixture, or see why in the report")
    chosen = {name: options.get(name, MixtureOptions()) for name in lengths}
    orders = {
        name: epoch_order(len(each), _seed(seed, name), 0)[: chosen[name].max_documents] for name, each in lengths.items()
    }
    tokens = {name: int(lengths[name][order].sum()) for name, order in orders.items()}
    weights = check_weights(chosen)
    epochs = {name: option.epochs for name, option in chosen.items()}
    if weights:
        size = min(tokens[name] * epochs[name] / weight for name, weight in weights.items())
        epochs = {name: size * weight / tokens[name] for name, weight in weights.items()}
    return [_share(name, lengths[name], orders[name], epochs[name]) for name in lengths]


def check_weights(options: Mapping[str, MixtureOptions]) -> dict[str, float]:
    """The weights; DataError where some sources have one and others do not."""
    weights = {name: option.weight for name, option in options.items() if option.weight is not None}
    if weights and len(weights) < len(options):
        without = ", ".join(name for name in options if name not in weights)
        raise DataError(f"weights are given for {', '.join(weights)} but not for {without}: give all sources one, or none")
    return weights


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")


def _share(name: str, lengths: np.ndarray, order: np.ndarray, epochs: float) -> Share:
    """Whole epochs, then the documents that come next in the order up to the tokens that are still wanted."""
    whole, part = divmod(round(epochs, 9), 1)
    reached = np.cumsum(lengths[order])
    more = int(np.searchsorted(reached, part * reached[-1] * (1 + 1e-12), side="right"))
    if whole == 0 and more == 0:
        more = 1  # a small part is still a part
    instances = np.sort(np.concatenate([np.repeat(order, int(whole)), order[:more]]))
    return Share(name, len(lengths), len(order), round(epochs, 4), int(lengths[instances].sum()), instances)

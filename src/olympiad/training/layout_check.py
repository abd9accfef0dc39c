"""Does a layout fit the model, the batch and the number of processes? Asked before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from olympiad.config import ConfigError, LayoutOptions
from olympiad.model import MathTransformerConfig


def fixed_size(layout: LayoutOptions) -> int:
    """Processes that the given sizes ask for, an absent ``shard`` as one."""
    return layout.replicate * (layout.shard or 1) * layout.tensor * layout.context * layout.pipeline


def filled_layout(layout: LayoutOptions, num_devices: int) -> LayoutOptions:
    """The layout with ``shard`` filled in: what the other sizes leave over.

    >>> filled_layout(LayoutOptions(tensor=2), num_devices=8).shard
    4
    """
    shard = layout.shard or max(num_devices // fixed_size(layout), 1)
    return layout.model_copy(update={"shard": shard})


def check_layout(model: MathTransformerConfig, layout: LayoutOptions, batch_size: int, num_devices: int) -> None:
    """Refuse a layout that can't be.

    Raises:
        ConfigError: everything that does not fit, with the numbers.
    """
    problems = list(_problems(model, layout, batch_size, num_devices))
    if problems:
        raise ConfigError("this layout can't be:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problems(model: MathTransformerConfig, layout: LayoutOptions, batch_size: int, num_devices: int) -> Iterator[str]:
    yield from _wrong_product(layout, num_devices)
    tensor, context, pipeline = layout.tensor, layout.context, layout.pipeline
    sizes = {"attention heads": model.num_attention_heads, "key/value heads": model.kv_heads}
    for name, size in {**sizes, "feed-forward width": model.intermediate_size}.items():
        if size % tensor:
            yield f"tensor = {tensor}: does not divide the {name} ({size:,})"
    if model.max_sequence_length % (context * tensor):  # a row is padded to a multiple, which has to fit too
        yield (
            f"context x tensor = {context * tensor}: does not divide max_sequence_length ({model.max_sequence_length:,}): "
            "both share the positions of a sequence"
        )
    if pipeline > model.num_hidden_layers:
        yield f"pipeline = {pipeline}: the model has only {model.num_hidden_layers} layers"
    if pipeline > 1 and model.tie_word_embeddings:
        yield (
            f"pipeline = {pipeline}: the embedding and the output projection are one tensor, but would be on the first and "
            "the last stage: set model.tie_word_embeddings = false"
        )
    ranks = layout.replicate * (filled_layout(layout, num_devices).shard or 1)
    if batch_size < ranks:
        yield f"data.batch_size = {batch_size}: replicate x shard = {ranks} ranks share a batch, each needs a row at least"


def _wrong_product(layout: LayoutOptions, num_devices: int) -> Iterator[str]:
    names = "replicate shard tensor context pipeline".split()
    given = " x ".join(f"{name} {getattr(layout, name)}" for name in names if getattr(layout, name) is not None)
    size = fixed_size(layout)
    if layout.shard is not None and size != num_devices:
        yield f"{given} is {size} processes, but there are {num_devices}"
    elif num_devices % size:
        yield f"{given} is {size}, which does not divide the number of processes ({num_devices})"

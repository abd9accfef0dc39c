"""Does a layout fit the model, the batch and the number of processes? Asked before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from olympiad.config import ConfigError, LayoutOptions
from olympiad.model import MathTransformerConfig

from .layout import resolve_sizes


def check_layout(model: MathTransformerConfig, layout: LayoutOptions, batch_size: int, num_devices: int) -> None:
    """Refuse a layout that can't be.

    Raises:
        ConfigError: everything that does not fit, with the numbers.
    """
    problems = list(_problems(model, layout, batch_size, num_devices))
    if problems:
        raise ConfigError("this layout can't be:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problems(model: MathTransformerConfig, layout: LayoutOptions, batch_size: int, num_devices: int) -> Iterator[str]:
    try:
        sizes = resolve_sizes(layout, num_devices)
    except ConfigError as error:
        yield str(error).removeprefix("layout: ")
        sizes = layout
    tensor, context, pipeline = layout.tensor, layout.context, layout.pipeline
    split = {"attention heads": model.num_attention_heads, "key/value heads": model.kv_heads}
    for name, size in {**split, "feed-forward width": model.intermediate_size}.items():
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
    ranks = sizes.replicate * (sizes.shard or 1)
    if pipeline > 1 and -(-batch_size // ranks) < pipeline:
        yield (
            f"pipeline = {pipeline}: a rank's share of data.batch_size = {batch_size} is {-(-batch_size // ranks)} rows, but every "
            "stage needs a row to work on"
        )
    if batch_size < ranks:
        yield f"data.batch_size = {batch_size}: replicate x shard = {ranks} ranks share a batch, each needs a row at least"

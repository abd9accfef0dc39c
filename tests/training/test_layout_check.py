"""A layout that can't be is refused before anything is built, with everything that is wrong with it."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.config import ConfigError, LayoutOptions
from olympiad.model import MathTransformerConfig, get_large_config, get_small_config
from olympiad.training.layout import resolve_sizes
from olympiad.training.layout_check import check_layout

UNTIED: dict[str, Any] = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}


def refusal(sizes: dict[str, int], num_devices: int, batch_size: int = 64, **fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_layout(MathTransformerConfig(**{**UNTIED, **fields}), LayoutOptions(**sizes), batch_size, num_devices)
    head, *lines = str(caught.value).splitlines()
    assert head == "this layout can't be:"
    return lines


@pytest.mark.parametrize(
    ("sizes", "num_devices", "fields", "expected"),
    [
        ({"shard": 2, "tensor": 2}, 8, {}, "tensor 2 x shard 2 is 4 processes, but 8 were started"),
        ({"shard": 2}, 1, {}, "shard 2 is 2 processes, but 1 were started"),
        ({"tensor": 2}, 5, {}, "tensor 2 x shard 2 is 4 processes, but 5 were started"),
        ({"tensor": 4}, 4, {}, "tensor = 4: does not divide the key/value heads (2)"),
        ({"tensor": 2}, 2, {"intermediate_size": 77}, "tensor = 2: does not divide the feed-forward width (77)"),
        ({"context": 3}, 3, {}, "context x tensor = 3: does not divide max_sequence_length (512)"),
        ({"context": 2, "tensor": 2}, 4, {"max_sequence_length": 510}, "context x tensor = 4: does not divide max_sequence_length (510)"),
        ({"pipeline": 5}, 5, {}, "pipeline = 5: the model has only 4 layers"),
        ({"pipeline": 2}, 2, {"tie_word_embeddings": True}, "pipeline = 2: the embedding and the output projection are one tensor"),
    ],
)  # fmt: skip
def test_what_can_not_be(sizes: dict[str, int], num_devices: int, fields: dict[str, Any], expected: str) -> None:
    """Guards against an error from deep within PyTorch, on every rank, minutes after the start."""
    lines = refusal(sizes, num_devices, **fields)
    assert len(lines) == 1
    assert expected in lines[0]


def test_a_batch_that_is_too_small() -> None:
    """Guards against ranks that have nothing to do; context and tensor ranks share rows, and so need none of their own."""
    (line,) = refusal({"replicate": 2}, 8, batch_size=7)
    assert "data.batch_size = 7: replicate x shard = 8 ranks share a batch" in line
    check_layout(MathTransformerConfig(**UNTIED), LayoutOptions(replicate=2, tensor=2, context=2), 2, 8)


def test_all_at_once() -> None:
    """Guards against mending a layout one message, and one place in the queue, at a time."""
    lines = refusal({"replicate": 2, "tensor": 3, "context": 5, "pipeline": 9}, 7, 1, tie_word_embeddings=True)
    starts = [
        "replicate 2",
        "tensor = 3",
        "tensor = 3",
        "context x tensor = 15",
        "pipeline = 9",
        "pipeline = 9",
        "pipeline = 9",
        "data.batch_size = 1",
    ]
    assert [line.startswith(f"  {start}") for line, start in zip(lines, starts, strict=True)] == 8 * [True]


@settings(deadline=None)
@given(st.tuples(*[st.sampled_from([1, 2, 4])] * 4), st.integers(1, 8))
def test_what_is_left_over_is_sharded(sizes: tuple[int, ...], shard: int) -> None:
    """Guards against processes without work, and a size that multiplies to another number."""
    layout = LayoutOptions(**dict(zip(("replicate", "tensor", "context", "pipeline"), sizes, strict=True)))
    num_devices = prod(sizes) * shard
    check_layout(get_large_config(), layout, 16 * shard, num_devices)
    assert resolve_sizes(layout, num_devices).shard == shard


def test_every_stage_needs_a_row() -> None:
    """Guards against a traceback of PyTorch's, after the data was read, for a pipeline that has too little to do."""
    model = get_small_config()
    with pytest.raises(ConfigError, match="every stage needs a row to work on"):
        check_layout(model, LayoutOptions(pipeline=2), 1, 2)
    check_layout(model, LayoutOptions(pipeline=2), 2, 2)

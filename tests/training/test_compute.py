"""What the loop gives to the device, and how: batches made ahead, lengths, compiled layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from olympiad.config import LayoutOptions
from olympiad.data import Batch
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.training.compute import Compute
from olympiad.training.health import LayerNorms
from olympiad.training.inputs import grouped_ahead
from olympiad.training.layout import Layout
from olympiad.training.parallel import lay_out

CPU = torch.device("cpu")


def laid_out(checkpointing: Any = False, compiled: bool = True) -> tuple[MathTransformerDecoder, Layout]:
    config = MathTransformerConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=2,
        gradient_checkpointing=checkpointing,
    )
    layout = Layout(CPU, LayoutOptions())
    return lay_out(MathTransformerDecoder(config, seed=0), layout, compiled).train(), layout


def batch_of(rows: int, length: int) -> Batch:
    ids = torch.randint(1, 100, (rows, length))
    return Batch(input_ids=ids, targets=ids.roll(-1, 1), rows=torch.arange(rows))


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """Stands for torch.compile's own back end: splits forward and backward as it does, but generates no code."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager_decomp_partition")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    yield counter
    torch._dynamo.reset()


def test_the_next_group_is_made_while_one_is_at_work() -> None:
    """Guards against a device that waits for its batches, and one that is handed another order."""
    made = threading.Event()

    def items() -> Iterator[int]:
        yield from range(3)
        made.set()
        yield 3

    groups = grouped_ahead(items(), 2, CPU)
    assert next(groups) == [0, 1]
    assert made.wait(5), "nothing was made ahead"
    assert list(groups) == [[2, 3]]


def test_what_goes_wrong_ahead_is_raised() -> None:
    """Guards against a run that ends early, and looks done, when its data can't be read."""

    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(grouped_ahead(items(), 1, CPU))


def test_padding_to_blocks_changes_no_loss() -> None:
    """Guards against padding that is seen, counted, or longer than the context."""
    model, layout = laid_out(compiled=False)
    compute = Compute(model, layout, "float32", rows=2, length=512)
    for length in (50, 512):
        batch = batch_of(2, length)
        compute.block = 1
        expected = compute.loss_sum(batch)
        compute.block = 64
        assert next(compute._pieces(batch))["input_ids"].shape[1] == (64 if length == 50 else 512)
        torch.testing.assert_close(compute.loss_sum(batch), expected)


def test_few_compilations_whatever_the_lengths(counter: CompileCounterWithBackend) -> None:
    """Guards against a compilation for each length, for each layer, or for the last, smaller batch of an epoch."""
    model, layout = laid_out()
    compute = Compute(model, layout, "float32", rows=4, length=512)
    compute.block = 64
    for rows, length in ((4, 60), (4, 100), (4, 400), (4, 222), (3, 333), (4, 512), (2, 130)):
        compute.backward(batch_of(rows, length), count=100)
    assert counter.frame_count <= 3, "one, and two more: for any length, and for any number of rows"
    model.eval()
    for rows, length in ((4, 70), (4, 300), (2, 90), (4, 512)):
        compute.loss_sum(batch_of(rows, length))
    assert counter.frame_count <= 6, "PyTorch stops compiling after eight"


def test_compiled_selective_checkpointing_keeps_products(counter: CompileCounterWithBackend) -> None:
    """Guards against checkpointing around a compiled layer, whose code can't know then what is to be kept."""
    kept = {}
    for checkpointing in (False, "selective", True):
        model, layout = laid_out(checkpointing)
        compute, ids = Compute(model, layout, "float32", rows=2, length=64), batch_of(2, 64)
        compute.backward(ids, count=1)
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        saved: dict[int, int] = {}

        def pack(tensor: torch.Tensor, saved: dict[int, int] = saved, weights: set[int] = weights) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = model.hidden_states(ids["input_ids"])
        kept[checkpointing] = sum(saved.values())
        del hidden
    assert 1.5 * kept[True] < kept["selective"] < 0.9 * kept[False], kept


def test_norms_are_watched_after_compilation(counter: CompileCounterWithBackend) -> None:
    """Guards against hooks that a compiled layer passes over, or is compiled again for."""
    model, layout = laid_out()
    norms, compute = LayerNorms(model, layout), Compute(model, layout, "float32", rows=2, length=64)
    compute.backward(batch_of(2, 64), count=100)
    before = counter.frame_count
    with norms.watching():
        compute.backward(batch_of(2, 64), count=100)
    assert counter.frame_count == before
    numbers = norms.read()
    assert all(numbers[f"{name}/layer_{layer}"] > 0 for name in ("activation_rms", "gradient_norm") for layer in (0, 1))

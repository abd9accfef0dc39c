"""The memory of a step: counted exactly where it can be, estimated within a factor of two, and told when it is short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olympiad.config import LayoutOptions, LoraOptions
from olympiad.model import MathTransformerConfig, MathTransformerDecoder, get_base_config, get_large_config, get_small_config
from olympiad.model.counting import count_parameters
from olympiad.training import OutOfMemory, check_memory, memory
from olympiad.training.lora import add_lora, lora_parameters
from olympiad.training.memory import GIB, is_out_of_memory, pipeline_stages, training_memory

CPU = torch.device("cpu")


@st.composite
def configs(draw: st.DrawFn) -> MathTransformerConfig:
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3))
    head_dim = 2 * draw(st.integers(1, 8))
    explicit = draw(st.booleans())
    return MathTransformerConfig(
        vocab_size=draw(st.integers(2, 300)),
        hidden_size=draw(st.integers(1, 64)) if explicit else heads * head_dim,
        attention_head_dim=head_dim if explicit else None,
        intermediate_size=draw(st.integers(1, 100)),
        num_hidden_layers=draw(st.integers(1, 4)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        qkv_bias=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        tie_word_embeddings=draw(st.booleans()),
    )


def built_on_meta(config: MathTransformerConfig) -> int:
    with torch.device("meta"):
        return MathTransformerDecoder(config).num_parameters


@settings(deadline=None, max_examples=50)
@given(configs())
def test_count_is_the_models_own(config: MathTransformerConfig) -> None:
    """Guards against a part of the model that the arithmetic forgets: biases, norms, a tied embedding."""
    assert count_parameters(config) == built_on_meta(config)


@pytest.mark.parametrize("preset", [get_small_config, get_base_config, get_large_config])
def test_count_of_the_presets(preset: Any) -> None:
    """Guards against arithmetic that is right for small numbers only."""
    assert count_parameters(preset()) == built_on_meta(preset())


# fields of the model, batch size, length, precision
MEASURED = {
    "weights": ({"vocab_size": 4096, "hidden_size": 512, "num_hidden_layers": 2}, 1, 16, "float32"),
    "activations": ({"vocab_size": 1000, "num_hidden_layers": 3}, 4, 128, "float32"),
    "checkpointing": ({"vocab_size": 1000, "num_hidden_layers": 6, "gradient_checkpointing": True}, 4, 128, "float32"),
    "bfloat16": ({"vocab_size": 1000, "num_hidden_layers": 3}, 4, 128, "bfloat16"),
}

MEASURE = """
import json, os, sys, torch
from pathlib import Path
from olympiad.config import OptimizerOptions
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.training.loss import next_token_loss
from olympiad.training.optimizer import create_optimizer

torch.set_num_threads(1)


def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def two_steps(fields, batch_size, length, precision):
    config = MathTransformerConfig(**fields)
    model = MathTransformerDecoder(config, seed=0)
    optimizer = create_optimizer(model, OptimizerOptions())
    ids = torch.randint(1, config.vocab_size, (batch_size, length))
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != "float32"):
            total, count = next_token_loss(model.hidden_states(ids), model.output_weight, ids)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


for question in json.loads(sys.argv[1]):
    if os.fork() == 0:  # a peak can't be taken back: each in a process of its own
        two_steps({"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32}, 1, 8, question[3])  # PyTorch's own
        before = peak()
        two_steps(*question)
        print(peak() - before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's peak memory")
def test_estimate_beside_a_measured_peak() -> None:
    """Guards against an estimate that refuses what fits, or lets through what does not."""
    command = [sys.executable, "-c", MEASURE, json.dumps(list(MEASURED.values()))]
    peaks = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    for (name, (fields, *rest)), peak in zip(MEASURED.items(), peaks, strict=True):
        estimate = sum(training_memory(MathTransformerConfig(**fields), *rest).values())
        assert 0.5 < estimate / int(peak) < 2.0, f"{name}: {estimate:,} estimated, {int(peak):,} measured"


def test_estimate_follows_its_causes() -> None:
    """Guards against a knob that the advice names but that changes nothing."""
    config = get_small_config()
    whole = training_memory(config, 8, 512)
    assert training_memory(config, 4, 512)["activations"] == whole["activations"] // 2
    assert training_memory(config, 8, 256)["activations"] == whole["activations"] // 2
    config.gradient_checkpointing = True
    assert training_memory(config, 8, 512)["activations"] < whole["activations"] / 2
    assert whole["weights"] == whole["gradients"] == whole["optimizer"] / 2 == 4 * count_parameters(config)


@st.composite
def laid_out(draw: st.DrawFn) -> tuple[MathTransformerConfig, LayoutOptions]:
    """A model and a layout that fit together."""
    sizes = st.sampled_from([1, 2, 4])
    tensor, pipeline = draw(sizes), draw(st.sampled_from([1, 2, 3]))
    kv_heads = tensor * 2 * draw(st.integers(1, 2))  # twice as many tensor ranks would do too
    config = MathTransformerConfig(
        vocab_size=draw(st.integers(8, 300)),
        hidden_size=64,
        attention_head_dim=2 * draw(st.integers(2, 8)),
        intermediate_size=8 * draw(st.integers(1, 20)),
        num_hidden_layers=draw(st.integers(pipeline, 7)),
        num_attention_heads=kv_heads * draw(st.integers(1, 2)),
        num_key_value_heads=kv_heads,
        qk_norm=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        tie_word_embeddings=pipeline == 1 and draw(st.booleans()),
        gradient_checkpointing=draw(st.sampled_from([False, True, "selective"])),
    )
    layout = LayoutOptions(
        replicate=draw(sizes), shard=draw(sizes), context=draw(sizes), tensor=tensor, pipeline=pipeline,
        pipeline_schedule=draw(st.sampled_from(["1F1B", "GPipe"])),
    )  # fmt: skip
    return config, layout


def needed(config: MathTransformerConfig, layout: LayoutOptions, **more: Any) -> int:
    return sum(training_memory(config, 64, 128, "bfloat16", layout, **more).values())


@settings(deadline=None)
@given(laid_out(), st.sampled_from(["float32", "bfloat16"]), st.sampled_from([None, 1, 8]))
def test_more_devices_need_less_each(
    drawn: tuple[MathTransformerConfig, LayoutOptions], precision: str, micro_batch: int | None
) -> None:
    """Guards against a part that a layout divides, but the estimate does not: the advice to take more would be wrong."""
    config, layout = drawn

    def memory_of(**sizes: int) -> int:
        larger = layout.model_copy(update=sizes)
        return sum(training_memory(config, 64, 128, precision, larger, micro_batch).values())

    assert layout.shard is not None
    assert memory_of(shard=2 * layout.shard) <= memory_of()
    assert memory_of(tensor=2 * layout.tensor) < memory_of()


@settings(deadline=None)
@given(laid_out())
def test_the_devices_hold_the_model_together(drawn: tuple[MathTransformerConfig, LayoutOptions]) -> None:
    """A matrix that no stage holds, or two: over stages and tensor ranks there is each of them once."""
    config, layout = drawn
    stages = pipeline_stages(config, layout)
    assert sum(stage.num_layers for stage in stages) == config.num_hidden_layers
    norms = config.num_hidden_layers * (2 * config.hidden_size + (2 * config.head_dim if config.qk_norm else 0))
    whole = sum(stage.ends for stage in stages) + norms  # on every tensor rank
    held = layout.tensor * sum(stage.parameters for stage in stages)
    assert held - (layout.tensor - 1) * whole == count_parameters(config)
    assert max(stage.num_layers for stage in stages) - min(stage.num_layers for stage in stages) <= 1


@settings(deadline=None)
@given(laid_out(), st.integers(1, 7))
def test_weights_on_all_devices_are_all_weights(drawn: tuple[MathTransformerConfig, LayoutOptions], shard: int) -> None:
    """Guards against shards that leave something out."""
    config, layout = drawn
    layout = LayoutOptions(shard=shard, context=layout.context)
    parts = training_memory(config, 64, 128, "float32", layout)
    devices = shard * layout.context
    for part, size in (("weights", 4), ("gradients", 4), ("optimizer", 8)):
        surplus = devices * parts[part] - size * count_parameters(config)
        assert 0 <= surplus < size * devices, part


def test_what_else_changes_memory() -> None:
    """Guards against a schedule, a micro-batch or copies that the estimate forgets."""
    config = get_large_config()
    layout = LayoutOptions(shard=8)
    assert needed(config, layout, micro_batch=1) < needed(config, layout, micro_batch=4)
    assert needed(config, layout.model_copy(update={"replicate": 4}), micro_batch=1) == needed(config, layout, micro_batch=1)
    pipe = LayoutOptions(pipeline=4)
    gpipe = pipe.model_copy(update={"pipeline_schedule": "GPipe"})
    parts, all_at_once = (training_memory(config, 64, 128, "bfloat16", kind, micro_batch=1) for kind in (pipe, gpipe))
    assert all_at_once["activations"] > 10 * parts["activations"]
    once = training_memory(config, 1, 128, "bfloat16", pipe, micro_batch=1)
    assert once["activations"] < parts["activations"] / 3  # four micro-batches wait in the first of four stages
    split = training_memory(config, 8, 4096, "bfloat16", LayoutOptions(shard=1, context=4))
    whole = training_memory(config, 8, 4096, "bfloat16")
    assert 0.25 < split["activations"] / whole["activations"] < 0.5  # keys and values of all positions
    assert needed(config, layout, accumulation_steps=2) > needed(config, layout)  # gradients wait until they are sent


def test_checkpointing_keeps_less() -> None:
    """Guards against "selective" being taken for all or nothing."""
    kept = []
    for how in (True, "selective", False):
        config = get_large_config()
        config.gradient_checkpointing = how  # type: ignore[assignment]
        kept.append(training_memory(config, 1, 4096, "bfloat16")["activations"])
    assert kept == sorted(kept)
    assert 0.3 < kept[1] / kept[2] < 0.7


def test_large_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a process that is killed without a word, minutes into building a model that can't fit."""
    monkeypatch.setattr(memory, "available_memory", lambda device: 8 * GIB)
    with pytest.raises(OutOfMemory) as caught:
        check_memory(get_large_config(), 1, 512, CPU, "float32")
    message = str(caught.value)
    parts = training_memory(get_large_config(), 1, 512)
    assert f"about {sum(parts.values()) / GIB:.2f} GiB are needed" in message
    for name, size in parts.items():
        assert f"{name} {size / GIB:.2f}" in message
    assert "8.00 GiB can be had" in message
    assert "the model alone does not fit: take a smaller one" in message
    check_memory(get_small_config(), 1, 512, CPU, "float32")


def test_large_batch_is_refused_with_other_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against telling someone whose batch is too large to take a smaller model."""
    monkeypatch.setattr(memory, "available_memory", lambda device: 1 * GIB)
    with pytest.raises(OutOfMemory, match=r"the batch of 64 stays.* gradient_checkpointing = true") as caught:
        check_memory(get_small_config(), 64, 512, CPU, "float32")
    assert "the model alone" not in str(caught.value)
    config = get_small_config()
    config.gradient_checkpointing = True
    with pytest.raises(OutOfMemory) as caught:
        check_memory(config, 640, 512, CPU, "float32")
    assert "gradient_checkpointing" not in str(caught.value)


def allocate_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_running_out_in_a_step(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Guards against PyTorch's bare RuntimeError, and against advice that forgets what the run itself holds."""
    trainer = tiny.trainer(tmp_path)

    def failing(batches: Any, signals: Any) -> Any:
        if kind == "real":
            allocate_too_much()
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to")

    monkeypatch.setattr(trainer, "_step", failing)
    monkeypatch.setattr(memory, "available_memory", lambda device: 0)
    with pytest.raises(OutOfMemory, match=r"cpu ran out of memory: about \d+\.\d\d GiB are needed \(weights .*micro_batch"):
        trainer.train(num_epochs=1)


def test_other_errors_stay_what_they_are(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against every RuntimeError being called a lack of memory."""
    trainer = tiny.trainer(tmp_path)

    def failing(batches: Any, signals: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(trainer, "_step", failing)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.train(num_epochs=1)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        allocate_too_much()
    assert is_out_of_memory(caught.value)


def test_adapters_need_no_moments_for_the_rest() -> None:
    """Guards against a fine-tuning that is refused for the optimizer state that it is there to avoid."""
    full = memory.training_memory(get_large_config(), 1, 512, "bfloat16")
    lora = memory.training_memory(get_large_config(), 1, 512, "bfloat16", lora=LoraOptions(rank=8))
    model = MathTransformerDecoder(MathTransformerConfig(num_hidden_layers=2))
    add_lora(model, LoraOptions(rank=8), seed=0)
    counted = 2 * memory.count_adapters(model.config, LoraOptions(rank=8))
    assert counted == sum(parameter.numel() for parameter in lora_parameters(model).values())
    assert lora["optimizer"] < full["optimizer"] / 100
    assert sum(lora.values()) < 0.5 * sum(full.values())

"""What a dry run says, beside what PyTorch counts."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from olympiad.config import ConfigError, parse_run
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.model.counting import flops_per_token
from olympiad.training.devices import DEVICES, ClusterOptions
from olympiad.training.dry_run import estimate, print_dry_run
from olympiad.training.horizon import horizon
from olympiad.training.memory import GIB, training_memory


def test_flops_are_those_that_pytorch_counts() -> None:
    """A formula that forgets a projection, or counts the embedding that is only looked up."""
    for tied in (False, True):
        config = MathTransformerConfig(
            vocab_size=96, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=tied,
        )  # fmt: skip
        model, ids = MathTransformerDecoder(config, seed=0), torch.zeros(2, 64, dtype=torch.long)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # the fused one is not counted on CPU
            model(ids)
        counted = 3 * counter.get_total_flops() / ids.numel()
        norms = 6 * sum(p.numel() for p in model.parameters() if p.ndim == 1)  # no products of matrices
        assert abs(flops_per_token(config, 64) - norms - counted) < 1e-6 * counted


def told(tree: dict[str, Any], **cluster: Any) -> tuple[bool, dict[str, str]]:
    """Whether it fits, and the table."""
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    fits = print_dry_run(parse_run(tree, "a recipe"), torch.device("cpu"), ClusterOptions(**cluster), console)
    rows = [line.strip().rsplit("  ", 1) for line in out.getvalue().splitlines() if "  " in line.strip()]
    return fits, {row[0].strip(): row[-1].strip() for row in rows}


LARGE = {"preset": "large", "gradient_checkpointing": True}


def test_a_cluster_from_a_laptop() -> None:
    """Guards against a time that forgets devices or utilisation, and memory of the wrong device."""
    tree = {"model": LARGE, "precision": "bfloat16", "num_tokens": 10**11, "data": {"batch_size": 512}, "micro_batch": 1}
    fits, table = told(tree, devices=64, device_kind="h100", price_per_hour=2.0, mfu=0.5)
    assert fits
    assert table["layout"] == "64 processes: shard 64"
    operations = flops_per_token(parse_run(tree, "").model, 8192) * 1e11
    hours = operations / (64 * 989e12 * 0.5) / 3600
    assert table["time, at 50% of 9.89e+14 FLOP/s"] == f"{hours / 24:.1f} days"
    assert table["device hours"] == f"{64 * hours:,.1f}"
    assert table["price, at 2 an hour"] == f"{128 * hours:,.0f}"
    assert table["memory that a device of 64 has"] == f"{80e9 / GIB:.2f} GiB"
    fits, table = told(tree, devices=1, device_memory=24.0, device_flops=1e15)
    assert not fits
    assert table["memory that a device of 1 has"] == "24.00 GiB"
    assert "price, at 2 an hour" not in table


def test_no_time_that_nobody_knows() -> None:
    """Guards against a float32 run timed by a bfloat16 peak, and a horizon made up."""
    tree = {"model": {"preset": "small"}, "num_tokens": 10**9}
    assert told(tree, device_kind="h100")[1]["time"].startswith("unknown in float32")
    assert not [name for name in told({**tree, "precision": "bfloat16"})[1] if name.startswith("time")]
    del tree["num_tokens"]
    assert not [name for name in told(tree, device_kind="h100", device_flops=1e15)[1] if name.startswith("time")]


def test_a_layout_that_can_not_be_is_told_in_a_dry_run() -> None:
    """Guards against an estimate for a layout that the run would refuse."""
    with pytest.raises(ConfigError, match="does not divide the attention heads"):
        told({"layout": {"tensor": 3}}, devices=3)
    assert told({"layout": {"tensor": 2, "shard": 2}})[1]["layout"] == "4 processes: shard 2 x tensor 2"


def test_auto_takes_what_fits() -> None:
    """Guards against an estimate of all rows at once for a run that would find fewer."""
    run = parse_run({"model": {"preset": "small"}, "data": {"batch_size": 64}, "micro_batch": "auto"}, "a recipe")
    assert estimate(run, 1, 10**12).micro_batch == 64
    few = estimate(run, 1, 2 * GIB)
    assert few.memory <= 2 * GIB < sum(training_memory(run.model, 64, 512, micro_batch=2 * few.micro_batch).values())
    assert estimate(run, 1, 1).micro_batch == 1


def test_devices_have_sources() -> None:
    """Guards against a number that nobody can look up, and one with sparsity."""
    for device in DEVICES.values():
        assert device.source
        assert 1e14 < device.flops < 3e15


@pytest.mark.parametrize(("tokens", "repeated"), [(4_000, False), (4_001, True)])
def test_repeated_data(tokens: int, repeated: bool) -> None:
    """Guards against a thousand epochs of a small set that nobody asked for."""
    warning = horizon(tokens, 1, 1_000, 10).warning
    assert (warning is not None) == repeated
    assert horizon(1, 1, 1_000, 10).num_steps == 1

"""What only a GPU shows; skipped where there is none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.training import OptimizerOptions
from olympiad.training.loss import next_token_loss
from olympiad.training.optimizer import create_optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def model() -> MathTransformerDecoder:
    config = MathTransformerConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, qk_norm=True
    )
    return MathTransformerDecoder(config, seed=0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gpu_gives_the_cpus_logits(model: MathTransformerDecoder, dtype: torch.dtype, packed: bool) -> None:
    """Guards against another kernel (grouped, masked, 16-bit) that computes something else."""
    ids = torch.randint(32_768, (2, 64))
    documents = torch.arange(64).div(20, rounding_mode="floor").expand(2, 64) if packed else None
    expected = model(ids, document_ids=documents)
    model.cuda()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        found = model(ids.cuda(), document_ids=None if documents is None else documents.cuda())
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(found.float().cpu(), expected, atol=tolerance, rtol=tolerance)


def test_generates_on_the_gpu(model: MathTransformerDecoder) -> None:
    """Guards against tensors left on the CPU in the cache or the sampler."""
    ids = torch.randint(32_768, (2, 8))
    expected = model.generate(ids, max_new_tokens=8)
    assert torch.equal(model.cuda().generate(ids, max_new_tokens=8).cpu(), expected)
    assert model.generate(ids, max_new_tokens=8, temperature=0.7, top_k=9, seed=1).shape == (2, 16)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_trains_on_the_gpu(tiny: Any, tmp_path: Path, precision: str) -> None:
    """Guards against a loop that runs on the CPU only."""
    trainer = tiny.trainer(tmp_path, device="cuda", precision=precision)
    trainer.train(num_epochs=2)
    assert trainer.train_losses[1] < trainer.train_losses[0]


def test_targets_on_the_cpu_wait_for_nothing() -> None:
    """Guards against a loss that asks the device how many positions count, and so stops until it gets there."""
    hidden = torch.randn(2, 64, 32, device="cuda", requires_grad=True)
    weight = torch.randn(128, 32, device="cuda", requires_grad=True)
    targets = torch.randint(128, (2, 64))
    targets[:, ::3] = -100
    expected, _ = next_token_loss(hidden, weight, targets.cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        total, count = next_token_loss(hidden, weight, targets)
        (total / count).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(total, expected)
    assert count.item() == (targets != -100).sum().item()


def test_muon_on_the_gpu(model: MathTransformerDecoder) -> None:
    """Guards against state left on the CPU, and a 16-bit orthogonalization that goes elsewhere."""
    on_gpu = copy.deepcopy(model).cuda()
    for one in (model, on_gpu):
        optimizer = create_optimizer(one, OptimizerOptions(kind="muon", learning_rate=1e-2))
        generator = torch.Generator().manual_seed(0)
        for p in one.parameters():
            p.grad = torch.randn(p.shape, generator=generator).to(p.device)
        optimizer.step()
    for (name, p), q in zip(model.named_parameters(), on_gpu.parameters(), strict=True):
        torch.testing.assert_close(q.cpu(), p, rtol=0, atol=5e-4, msg=name)  # of a largest step of about 7e-3

"""The loss against PyTorch's own, and the law that the layout of a batch does not change a step."""

# B batch, T positions, D hidden size, V vocabulary

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from olympiad.data import IGNORED
from olympiad.training import loss
from olympiad.training.loss import next_token_loss

D, V = 8, 23


def case(
    batch: int, positions: int, kept: float, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, output weight and targets, a share ``kept`` of which counts."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, positions, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(V, (batch, positions), generator=generator)
    targets[torch.rand(batch, positions, generator=generator) >= kept] = IGNORED
    return hidden, weight, targets


def reference(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = (hidden @ weight.T).flatten(0, 1).float()
    return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")


def gradients(total: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total, leaves)


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 4),
    positions=st.integers(1, 9),
    kept=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    seed=st.integers(0, 2**31),
    chunk=st.integers(1, 40),
    scale=st.floats(1e-3, 10.0),
)
def test_equals_cross_entropy(batch: int, positions: int, kept: float, seed: int, chunk: int, scale: float) -> None:
    """Guards against targets lost or counted twice at a chunk's edge, and against a wrong gradient or scale of it."""
    hidden, weight, targets = case(batch, positions, kept, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK", chunk)
        total, count = next_token_loss(hidden, weight, targets)
    expected = reference(hidden, weight, targets)
    assert count.item() == (targets != IGNORED).sum().item()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    ours, theirs = gradients(total * scale, hidden, weight), gradients(expected * scale, hidden, weight)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    kept=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 2**31),
    chunk=st.integers(1, 40),
    z_loss=st.sampled_from([1e-4, 0.1, 3.0]),
)
def test_z_loss_is_in_the_gradient_only(kept: float, seed: int, chunk: int, z_loss: float) -> None:
    """Guards against a z-loss that is forgotten, has a wrong gradient, or shows in the curve."""
    hidden, weight, targets = case(3, 9, kept, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK", chunk)
        total, _ = next_token_loss(hidden, weight, targets, z_loss=z_loss)
    plain = reference(hidden, weight, targets)
    squares = torch.logsumexp(hidden @ weight.T, dim=-1).square()[targets != IGNORED].sum()
    torch.testing.assert_close(total, plain, rtol=1e-5, atol=1e-5)
    expected = gradients(plain + z_loss * squares, hidden, weight)
    for mine, other in zip(gradients(total, hidden, weight), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_z_loss_under_bfloat16_autocast() -> None:
    """Guards against a logsumexp of 16 bits, and one that overflows where logits are large."""
    hidden, weight, targets = case(4, 16, 0.9, seed=6)
    logits = hidden @ weight.T
    exact = reference(hidden, weight, targets) + 0.1 * torch.logsumexp(logits, -1).square()[targets != IGNORED].sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = next_token_loss(hidden, weight, targets, z_loss=0.1)
    for mine, other in zip(gradients(total, hidden, weight), gradients(exact, hidden, weight), strict=True):
        assert (mine - other).norm() < 6e-3 * other.norm()
    large = torch.full((1, 1, D), 1e3, requires_grad=True)
    total, _ = next_token_loss(large, weight, torch.tensor([[0]]), z_loss=1e-4)
    assert gradients(total, large)[0].isfinite().all()


def test_gradient_by_finite_differences() -> None:
    """Guards against a hand-written backward pass that agrees with nothing but another one."""
    hidden, weight, targets = case(2, 3, 0.7, seed=5, dtype=torch.float64)

    def mean(hidden: Tensor, weight: Tensor) -> float:
        total, count = next_token_loss(hidden, weight, targets)
        return (total / count).item()

    total, count = next_token_loss(hidden, weight, targets)
    for leaf, gradient in zip((hidden, weight), gradients(total / count, hidden, weight), strict=True):
        for index in [(0,) * leaf.ndim, tuple(size - 1 for size in leaf.shape), (1,) * leaf.ndim]:
            step = torch.zeros_like(leaf)
            step[index] = 1e-3
            shifted = [(hidden + sign * step, weight) if leaf is hidden else (hidden, weight + sign * step) for sign in (1, -1)]
            numeric = (mean(*shifted[0]) - mean(*shifted[1])) / 2e-3
            assert gradient[index].item() == pytest.approx(numeric, abs=2e-3)  # the sum itself is float32


def test_tied_weight_gets_both_gradients() -> None:
    """Guards against a tied embedding that learns as input or as output only."""
    _, weight, targets = case(2, 5, 0.8, seed=1)
    ids = torch.randint(V, (2, 5), generator=torch.Generator().manual_seed(2))
    total, _ = next_token_loss(F.embedding(ids, weight), weight, targets)
    expected = reference(F.embedding(ids, weight), weight, targets)
    (ours,), (theirs,) = gradients(total, weight), gradients(expected, weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    (output_only,) = gradients(reference(F.embedding(ids, weight).detach(), weight, targets), weight)
    assert not torch.allclose(ours, output_only)


def test_no_targets_at_all() -> None:
    """Guards against NaN, or a crash, from a batch in which nothing is to be learned."""
    hidden, weight, targets = case(2, 4, 0.0, seed=0)
    total, count = next_token_loss(hidden, weight, targets)
    assert (total.item(), count.item()) == (0.0, 0)
    assert all(gradient.abs().sum() == 0 for gradient in gradients(total, hidden, weight))


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_logits_stay_finite(size: float) -> None:
    """Guards against exp() of a logit, and against log(0) where the softmax of the target underflows."""
    hidden = torch.tensor([[[size], [-size], [0.0]]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    targets = torch.tensor([[1, 1, 2]])
    total, _ = next_token_loss(hidden, weight, targets)
    expected = reference(hidden, weight, targets)
    torch.testing.assert_close(total, expected)
    for mine, other in zip(gradients(total, hidden, weight), gradients(expected, hidden, weight), strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, other)


def test_under_bfloat16_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a softmax or a weight gradient that is summed in 16 bits."""
    monkeypatch.setattr(loss, "CHUNK", 4)  # so many chunks that a sum in 16 bits would drift by 1.5%
    hidden, weight, targets = case(8, 128, 0.9, seed=3)
    exact = reference(hidden, weight, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = next_token_loss(hidden, weight, targets)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact.item(), rel=2e-3)
    for mine, other in zip(gradients(total, hidden, weight), gradients(exact, hidden, weight), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 6e-3 * other.norm()


def test_computes_only_the_gradients_that_are_asked_for() -> None:
    """Guards against gradients computed in evaluation, or for a frozen output projection."""
    hidden, weight, targets = case(2, 6, 0.9, seed=4)
    with torch.no_grad():
        total, _ = next_token_loss(hidden, weight, targets)
    assert total.grad_fn is None
    total, _ = next_token_loss(hidden.detach(), weight, targets)
    total.backward()
    assert weight.grad is not None
    total, _ = next_token_loss(hidden, weight.detach(), targets)
    assert total.grad_fn.grad_weight is None
    total.backward()
    torch.testing.assert_close(hidden.grad, gradients(reference(hidden, weight, targets), hidden)[0], rtol=1e-5, atol=1e-5)


def weights(trainer: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("num_problems", [8, 10], ids=["whole steps", "a short last step"])
def test_layout_of_a_step_does_not_matter(tiny: Any, curve: Any, tmp_path: Path, num_problems: int) -> None:
    """Guards against a loss averaged per batch: sequences of different lengths and masks then weigh differently."""
    runs = {}
    for batch_size, accumulation_steps in ((4, 1), (1, 4), (2, 2)):
        folder = tmp_path / f"{batch_size}x{accumulation_steps}"
        trainer = tiny.trainer(
            folder, num_problems=num_problems, batch_size=batch_size, accumulation_steps=accumulation_steps, learning_rate=1e-3
        )
        trainer.train(num_epochs=3)
        runs[folder.name] = curve(folder), weights(trainer)
    rows, final = runs.pop("4x1")
    assert len([row for row in rows if "loss" in row]) == 3 * -(-num_problems // 4)
    for other_rows, other_final in runs.values():
        for row, other in zip(rows, other_rows, strict=True):
            assert other == pytest.approx(row, abs=1e-6, rel=1e-6)
        torch.testing.assert_close(other_final, final, rtol=0, atol=1e-6)


def test_padding_does_not_matter(tiny: Any) -> None:
    """Guards against padding that is learned from, or that real positions see."""
    from olympiad.model import MathTransformerDecoder

    model, dataset = MathTransformerDecoder(tiny.config(), seed=0), tiny.dataset(5)
    batch = dataset.batch(range(5))
    alone = [dataset.batch([row]) for row in range(5)]
    wide = [F.pad(batch["input_ids"], (0, 40), value=tiny.tokenizer.pad_id), F.pad(batch["targets"], (0, 40), value=IGNORED)]

    def total_and_gradient(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        total = sum(next_token_loss(model.hidden_states(ids), model.output_weight, targets)[0] for ids, targets in pairs)
        return total, torch.cat([gradient.flatten() for gradient in torch.autograd.grad(total, list(model.parameters()))])

    expected, expected_gradient = total_and_gradient([(one["input_ids"], one["targets"]) for one in alone])
    for pairs in ([(batch["input_ids"], batch["targets"])], [tuple(wide)]):
        total, gradient = total_and_gradient(pairs)
        torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-4)
        assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()


def test_a_second_backward_pass_is_refused() -> None:
    """Guards against gradients that are silently missing: those of the first pass were scaled in place."""
    hidden, weight = torch.randn(1, 3, 4, requires_grad=True), torch.randn(8, 4, requires_grad=True)
    total, _ = next_token_loss(hidden, weight, torch.tensor([[1, 2, 3]]))
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="compute the loss again"):
        total.backward()


def test_the_scale_is_not_rounded_in_16_bit() -> None:
    """Guards against 1 / count rounded to bfloat16, which scales the body's gradient by another factor than the head's."""
    torch.manual_seed(0)
    weight, targets = torch.randn(64, 8, dtype=torch.bfloat16), torch.randint(64, (1, 3))
    grads = []
    for count in (1.0, 3.0):
        hidden = torch.full((1, 3, 8), 0.5, dtype=torch.bfloat16, requires_grad=True)
        total, _ = next_token_loss(hidden, weight, targets)
        (total / count).backward()
        grads.append(hidden.grad.float())
    expected = (grads[0] / 3).bfloat16().float()
    assert torch.equal(grads[1], expected)

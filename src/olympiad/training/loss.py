"""Next-token cross-entropy as ``(sum, count)``, without ever holding the logits of a whole batch.

The output projection of a 32k vocabulary makes 128 KiB of logits for every position: four rows of 512 positions are
256 MiB, and autograd would keep several tensors of that size. Here positions without a target are dropped first, then
the rest goes through projection, softmax and both gradients chunk by chunk (the idea of Liger Kernel,
arXiv:2410.10989, section 3.2; this one is plain PyTorch, for any device).
"""

# N positions with a target, D hidden size, V vocabulary, C positions of one chunk

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Positions whose logits exist at one time. 512 x 32,768 float32 are 64 MiB.
CHUNK = 512
#: On a GPU, where each chunk's products have to fill the device, and adding to the weight's gradient costs as much as
#: they do when chunks are small. 256 MiB.
CUDA_CHUNK = 2048


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of ``hidden @ weight.T``; both gradients are ready when the forward pass is.

    The gradients, unlike the sum, are those of the cross-entropy plus ``z_loss * logsumexp ** 2``.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        dtype = _compute_dtype(hidden_ND)
        weight, hidden_ND = weight_VD.to(dtype), hidden_ND.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VD) if needs_weight else None
        # One buffer for all chunks: fresh memory of this size costs the system a page fault every 4 KiB.
        chunk = CUDA_CHUNK if hidden_ND.is_cuda else CHUNK
        buffer = torch.empty(min(chunk, len(hidden_ND)), len(weight), dtype=dtype, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), chunk):
            hidden_CD, target_C1 = hidden_ND[start : start + chunk], targets_N[start : start + chunk, None]
            logits_CV = torch.mm(hidden_CD, weight.T, out=buffer[: len(hidden_CD)]).float()
            target_logit, largest = logits_CV.gather(1, target_C1), logits_CV.amax(dim=-1, keepdim=True)
            probabilities_CV = torch.softmax(logits_CV, dim=-1, out=logits_CV)
            # logsumexp = max - log(softmax at max): the softmax has summed already, and its maximum never underflows.
            logsumexp_C1 = largest - probabilities_CV.amax(dim=-1, keepdim=True).log()
            total += (logsumexp_C1 - target_logit).sum()
            if not (needs_hidden or needs_weight):
                continue
            if z_loss:  # d lse^2 / d logits = 2 lse * softmax
                probabilities_CV.mul_(1 + 2 * z_loss * logsumexp_C1)
            probabilities_CV.scatter_add_(1, target_C1, torch.full_like(target_logit, -1.0))
            grad_logits = probabilities_CV.to(dtype)
            if grad_hidden is not None:
                torch.mm(grad_logits, weight, out=grad_hidden[start : start + chunk])
            if grad_weight is not None and dtype == grad_weight.dtype:
                grad_weight.addmm_(grad_logits.T, hidden_CD)
            elif grad_weight is not None:
                grad_weight += grad_logits.T @ hidden_CD
        ctx.grad_hidden, ctx.grad_weight, ctx.used = grad_hidden, grad_weight, False
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if ctx.used:
            raise RuntimeError(
                "the gradients of this loss were scaled in place: compute the loss again for a second backward pass"
            )
        ctx.used = True
        (scale,) = grad_outputs
        # In place, and by the float32 scale itself: 1 / count rounded to bfloat16 is off by up to 0.4%.
        grads = [None if grad is None else grad.mul_(scale) for grad in (ctx.grad_hidden, ctx.grad_weight)]
        ctx.grad_hidden = ctx.grad_weight = None
        return grads[0], grads[1], None, None


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def next_token_loss(
    hidden_BTD: Tensor, weight_VD: Tensor, targets_BT: Tensor, ignored: int = -100, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each position's target, summed, and how many there are.

    Args:
        hidden_BTD: the decoder's hidden states.
        weight_VD: its output projection.
        targets_BT: the token after each position, or ``ignored``. Best left on the CPU: how many positions count is
            then known without waiting for the device to get there.
        z_loss: weight of ``logsumexp(logits) ** 2`` (PaLM, arXiv:2204.02311, section 5), in the gradient only: the sum
            is the plain cross-entropy, so that curves with and without it compare.

    Returns:
        ``(sum, count)``, a float32 and an int64 scalar: the loop divides once, by the count of the whole global batch.
        The count is where the targets are. Under autocast the projection runs in the autocast type, the softmax always
        in float32.
    """
    targets = targets_BT.flatten()
    wanted = targets != ignored
    positions = wanted.nonzero()[:, 0]
    targets_N = sent(targets.index_select(0, positions), hidden_BTD.device)
    hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, sent(positions, hidden_BTD.device))
    return _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, z_loss), wanted.sum()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On ``device``; from pageable memory a copy to CUDA waits for the work before it, so it is pinned first."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

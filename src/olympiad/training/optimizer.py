"""The optimizer, the learning rate as a function of the step, and an average of the weights."""

# R rows, C columns of a weight matrix

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.adamw import adamw

from olympiad.config import OptimizerOptions

BETAS = (0.9, 0.95)  # of AdamW: GPT-3's and Llama's
MOMENTUM = 0.95  # of Muon


def create_optimizer(model: nn.Module, options: OptimizerOptions) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101), or Muon for the matrices of the layers and AdamW for the rest.

    Matrices decay; norms and biases do not, which have nothing to be kept small for. Parameters may be sharded
    (``DTensor``); a group holds those of one device mesh, since a fused update can't mix them.
    """
    groups: dict[Any, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2
        muon = options.kind == "muon" and parameter.ndim == 2 and "layers." in name
        mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
        new = {"params": [], "weight_decay": options.weight_decay if matrix else 0.0}
        group = groups.setdefault((muon, matrix, mesh), {**new, "muon": True} if muon else new)
        group["params"].append(parameter)
    if options.kind == "muon":
        return MuonAdamW(list(groups.values()), options.learning_rate)
    # Fused: one pass over the memory instead of a dozen, on CPU as on CUDA.
    return torch.optim.AdamW(list(groups.values()), lr=options.learning_rate, betas=BETAS, fused=True)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the parameter groups that have ``muon`` set, AdamW for the others.

    Muon steps along the momentum with its singular values made about equal. Scaled as in Moonlight
    (arXiv:2502.16982, section 2.2), a step is as long as one of AdamW, so one learning rate and weight decay serve both.
    A sharded matrix is gathered for this one computation, each process makes the whole step and keeps its own part:
    the result does not depend on the layout.
    """

    def __init__(self, groups: list[dict[str, Any]], learning_rate: float) -> None:
        # "fused" also tells load_state_dict that AdamW's step count lies on the parameter's device.
        super().__init__(groups, {"lr": learning_rate, "weight_decay": 0.0, "muon": False, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter] = _first_state(parameter, group["muon"])
            if group["muon"]:
                for parameter in parameters:
                    self._muon(parameter, group["lr"], group["weight_decay"])
            else:
                self._adamw(parameters, group["lr"], group["weight_decay"])
        return loss

    def _muon(self, parameter: Tensor, rate: float, weight_decay: float) -> None:
        """Momentum and weights stay sharded; only what is made orthogonal is gathered."""
        momentum, gradient = self.state[parameter]["momentum_buffer"], cast(Tensor, parameter.grad)
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update_RC = gradient.lerp(momentum, MOMENTUM)  # Nesterov's
        dtype = torch.bfloat16 if parameter.is_cuda else torch.float32  # enough, and twice as fast or more, on a GPU
        if isinstance(parameter, DTensor):
            update_RC = orthogonalized(cast(DTensor, update_RC).full_tensor(), dtype)
            # No source rank: every process has all of it, so nothing is sent.
            update_RC = distribute_tensor(update_RC, parameter.device_mesh, parameter.placements, src_data_rank=None)
        else:
            update_RC = orthogonalized(update_RC, dtype)
        parameter.mul_(1 - rate * weight_decay)
        # An orthogonal matrix has entries of size 1 / sqrt(longer side); AdamW's updates are about 0.2 to 0.4.
        parameter.add_(update_RC, alpha=-rate * 0.2 * math.sqrt(max(parameter.shape)))

    def _adamw(self, parameters: list[Tensor], rate: float, weight_decay: float) -> None:
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [cast(Tensor, parameter.grad) for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=weight_decay,
            eps=1e-8,
            maximize=False,
        )


def _first_state(parameter: Tensor, muon: bool) -> dict[str, Tensor]:
    """Under the names that ``torch.optim.Muon`` and ``torch.optim.AdamW`` use."""
    if muon:
        return {"momentum_buffer": torch.zeros_like(parameter)}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}


def orthogonalized(matrix_RC: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``matrix_RC`` with its singular values moved to about 1: to 0.68 .. 1.21, from all above 1/600 of its norm.

    Five Newton-Schulz steps with the coefficients of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon),
    which raise small singular values quickly rather than bring all of them to exactly 1. Computed in ``dtype``.

    >>> torch.linalg.svdvals(orthogonalized(torch.diag(torch.tensor([9.0, -3.0, 1.0])))).round(decimals=1)
    tensor([1.1000, 0.8000, 0.7000])
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix_RC.shape[0] > matrix_RC.shape[1]  # the shorter side makes the smaller Gram matrix
    x = (matrix_RC.T if tall else matrix_RC).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def learning_rate_fraction(step: int, total_steps: int, options: OptimizerOptions) -> float:
    """The learning rate at ``step`` (from 0) over its peak.

    A linear warm-up of at least one step (arXiv:1706.02677, section 2.2), then, by ``options.schedule``:

    - cosine: half a wave (arXiv:1608.03983) down to ``final_learning_rate_fraction``;
    - linear: a line down to it (arXiv:2502.15938);
    - wsd: the peak, then a line down to it over the last ``decay_fraction`` of all steps (MiniCPM, arXiv:2404.06395;
      the line is that of arXiv:2405.18392), or over what the warm-up leaves;
    - constant: the peak.

    From ``total_steps`` on it stays at its end.

    >>> options = OptimizerOptions(warmup_fraction=0.2, schedule="wsd", decay_fraction=0.4, final_learning_rate_fraction=0)
    >>> [round(learning_rate_fraction(step, 10, options), 2) for step in range(12)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    warmup_steps = max(min(round(options.warmup_fraction * total_steps), total_steps - 1), 1)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if options.schedule == "constant":
        return 1.0
    start = warmup_steps
    if options.schedule == "wsd":
        start = max(start, total_steps - max(round(options.decay_fraction * total_steps), 1))
    progress = 1.0 if step >= total_steps else max(step - start, 0) / (total_steps - start)
    fall = 0.5 * (1 - math.cos(math.pi * progress)) if options.schedule == "cosine" else progress
    return 1 - (1 - options.final_learning_rate_fraction) * fall


class WeightAverage:
    """An exponential moving average of the trained weights (Polyak and Juditsky 1992).

    After ``n`` updates the next keeps ``min(decay, (1 + n) / (10 + n))`` of the average, so that the initial weights are
    forgotten early (as in TensorFlow's ``ExponentialMovingAverage``).

    Attributes:
        tensors: the average of each parameter that requires a gradient, float32, sharded as the parameter is.
        num_updates: how many there were; with ``tensors`` all there is to save.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.num_updates = decay, 0
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in _sharded_parameters(model)
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are now; each process its own part, nothing is sent."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, parameter in _sharded_parameters(model):
            if name in self.tensors:
                _local(self.tensors[name]).lerp_(_local(parameter).float(), 1 - decay)
        self.num_updates += 1

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averages for weights; after it, whatever happens, its own again."""
        pairs = [(_local(p), _local(self.tensors[name])) for name, p in _sharded_parameters(model) if name in self.tensors]
        with torch.no_grad():
            own = [weight.clone() for weight, _ in pairs]
        try:
            with torch.no_grad():
                for weight, average in pairs:
                    weight.copy_(average)
            yield
        finally:
            _sharded_parameters(model)  # what was gathered of the averages is let go
            with torch.no_grad():
                for (weight, _), value in zip(pairs, own, strict=True):
                    weight.copy_(value)


def _sharded_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters, FSDP2's as their shards: after an evaluation it still holds some gathered, as plain copies."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return list(model.named_parameters())


def _local(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor

"""LoRA (Hu et al. 2021, arXiv:2106.09685): the weights stay, and beside each a product of two thin matrices learns.

x ─┬──────── W ────────┬─ + ─ y        y = W x + scale B A x
   └─ dropout ─ A ─ B ─┘               B starts at zero, so the model starts unchanged
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from olympiad.config import PROJECTIONS, LoraOptions
from olympiad.model import MathTransformerDecoder

from .adapter_files import read_adapter, write_adapter
from .errors import CheckpointMismatch


class LoraLinear(nn.Linear):
    """A projection with an adapter beside it. The weight is the projection's own, under its name."""

    def __init__(self, linear: nn.Linear, options: LoraOptions) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias, self.options = linear.weight, linear.bias, options
        self.scale = options.alpha / (math.sqrt(options.rank) if options.use_rslora else options.rank)
        # Not in 16 bits, even if the weight is: the optimizer's small steps would be rounded away.
        dtype, device = torch.promote_types(linear.weight.dtype, torch.float32), linear.weight.device
        self.lora_A = nn.Parameter(torch.zeros(options.rank, linear.in_features, dtype=dtype, device=device))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, options.rank, dtype=dtype, device=device))
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        adapter_input = F.dropout(input, self.options.dropout, self.training).to(self.lora_A.dtype)
        return output + F.linear(self.scale * F.linear(adapter_input, self.lora_A), self.lora_B).to(output.dtype)

    def merged(self) -> nn.Linear:
        """A plain projection that computes the same."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta").train(self.training)
        weight = self.weight + self.scale * (self.lora_B @ self.lora_A)
        linear.weight, linear.bias = nn.Parameter(weight.to(self.weight.dtype)), self.bias
        return linear


def lora_options(model: nn.Module) -> LoraOptions | None:
    """The options of the model's adapters; None where it has none."""
    return next((module.options for module in model.modules() if isinstance(module, LoraLinear)), None)


def add_lora(model: MathTransformerDecoder, options: LoraOptions, seed: int) -> MathTransformerDecoder:
    """Freeze the model and give its projections adapters, which are then all that trains; the same model, changed.

    A is uniform within 1 / sqrt(inputs), as in the paper's code and in PEFT, drawn by ``seed`` and its own name alone.

    Raises:
        ValueError: the model has adapters already.
    """
    if lora_options(model) is not None:
        raise ValueError("the model has adapters already: fold them in with merge_lora first")
    _attach(model, [name for name in _projections(model) if _kind(name) in options.targets], options)
    with torch.no_grad():
        for name, matrix in lora_parameters(model).items():
            if name.endswith("lora_A"):
                # On the CPU, by a generator of its own: other devices, targets or depths change nothing.
                digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
                bound = matrix.shape[1] ** -0.5
                matrix.copy_(torch.empty(matrix.shape).uniform_(-bound, bound, generator=generator))
    return model


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices of the adapters, by their names in the model."""
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    return {f"{name}.{matrix}": getattr(adapted[name], matrix) for name in adapted for matrix in ("lora_A", "lora_B")}


@torch.no_grad()
def merge_lora(model: MathTransformerDecoder) -> MathTransformerDecoder:
    """Fold the adapters into the weights; the same model, plain again and all of it trainable."""
    for name, module in _projections(model).items():
        if isinstance(module, LoraLinear):
            model.set_submodule(name, module.merged())
    return model.requires_grad_()


def save_adapter(model: MathTransformerDecoder, folder: str | os.PathLike[str], base_model_name: str) -> None:
    """Write the adapters as ``adapter_model.safetensors`` and ``adapter_config.json`` for PEFT, whole or not at all.

    The config comes last, and without it there is no adapter. A folder that holds one takes newer weights with the same
    config, by one rename, and nothing else: at every moment the two files belong together.

    Args:
        base_model_name: where PEFT finds the base model: a folder, or a name on the Hugging Face Hub.

    Raises:
        ValueError: the model has no adapters.
        CheckpointError: the folder can't be written, or holds another adapter; what was there is untouched.
    """
    options, matrices = lora_options(model), lora_parameters(model)
    if options is None:
        raise ValueError("the model has no adapters to save: give it some with add_lora")
    names = _modules(matrices)
    everywhere = len(names) == sum(_kind(name) in options.targets for name in _projections(model))
    targets = [*map(str, options.targets)] if everywhere else [f"model.{name}" for name in names]
    write_adapter(Path(folder), options, targets, matrices, base_model_name)


def load_adapter(model: MathTransformerDecoder, folder: str | os.PathLike[str]) -> MathTransformerDecoder:
    """Give the model the adapter that :func:`save_adapter` or PEFT wrote; the same model, changed.

    A plain model is frozen as by :func:`add_lora`. One with adapters gets their new values, and has to have the same
    ones; only dropout may differ. Everything is checked before anything changes.

    Raises:
        CheckpointError: the adapter is missing, damaged, or uses more of PEFT than plain LoRA.
        CheckpointMismatch: it does not fit the model.
    """
    sizes = {name: (linear.out_features, linear.in_features) for name, linear in _projections(model).items()}
    options, matrices = read_adapter(Path(folder), sizes)
    present = lora_options(model)
    if present is None:
        _attach(model, _modules(matrices), options)
    else:
        same = options.model_copy(update={"dropout": present.dropout, "targets": present.targets}) == present
        if not same or matrices.keys() != lora_parameters(model).keys():
            raise CheckpointMismatch(f"{folder} holds adapters with {options}; the model's have {present}: make them alike")
    with torch.no_grad():
        for name, matrix in lora_parameters(model).items():
            matrix.copy_(matrices[name])
    return model


def _attach(model: MathTransformerDecoder, names: list[str], options: LoraOptions) -> None:
    """Freeze the model and put adapters of zeros beside the projections of these names."""
    model.requires_grad_(False)
    projections = _projections(model)
    for name in names:
        model.set_submodule(name, LoraLinear(projections[name], options))


def _projections(model: nn.Module) -> dict[str, nn.Linear]:
    """All that may have an adapter, by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and _kind(name) in PROJECTIONS}


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _modules(matrices: Iterable[str]) -> list[str]:
    """Names of the projections that these matrices are beside."""
    return [name.removesuffix(".lora_A") for name in matrices if name.endswith(".lora_A")]

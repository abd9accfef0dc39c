"""Number formats of a training step: what each computes in, and what it asks of the device.

Weights, gradients and optimizer are float32 in all of them; autocast brings the matrix products to the lower type.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy

from olympiad.config import ConfigError, LayoutOptions
from olympiad.model import MathTransformerConfig, MathTransformerDecoder

#: What autocast computes in. float8 is bfloat16 but for the layers' projections.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float8": torch.bfloat16}

#: On a GPU positions are padded to a multiple of this: whole tiles of a matrix product, and few lengths to compile for.
BLOCK = 64


def check_precision(
    precision: str, device: torch.device, sizes: LayoutOptions, config: MathTransformerConfig | None = None
) -> None:
    """Refuse what can't run here, before anything is allocated.

    Raises:
        ConfigError: float8 on a device without it, without torchao, under tensor parallelism, or with a context that no
            padding brings to whole blocks.
    """
    if precision != "float8":
        return
    instead = 'use precision = "bfloat16"'
    if device.type != "cuda":
        raise ConfigError(
            f"float8 needs a CUDA device with compute capability 8.9 (Ada, Hopper), this one is {device}: {instead}"
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 9):
        name = f"{torch.cuda.get_device_name(device)} has {capability[0]}.{capability[1]}"
        raise ConfigError(f"float8 needs compute capability 8.9 (Ada, Hopper) or above, {name}: {instead}")
    if find_spec("torchao") is None:
        raise ConfigError(f"float8 needs torchao: pip install 'olympiad[float8]', or {instead}")
    if sizes.tensor > 1:
        raise ConfigError(f"float8 does not split matrices: set layout.tensor = 1 (it is {sizes.tensor}), or {instead}")
    if config is not None and config.context_limit % BLOCK:
        raise ConfigError(
            f"float8 needs a context that is a multiple of {BLOCK}, this one is {config.context_limit}: {instead}"
        )


def use_float8(model: MathTransformerDecoder, **options: Any) -> None:
    """Let the projections of the layers multiply in float8, each tensor scaled by its own maximum (arXiv:2209.05433).

    Those whose sizes are not multiples of 16 stay as they are, and so do embedding and output projection. Parameters keep
    their names, shapes and float32 values: a checkpoint does not know of it.

    Args:
        options: of torchao's ``Float8LinearConfig``; ``emulate=True`` computes the same numbers on any device.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    def fits(module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Linear) and module.in_features % 16 == 0 and module.out_features % 16 == 0

    convert_to_float8_training(model.layers, module_filter_fn=fits, config=Float8LinearConfig(**options))


def gathering(precision: str) -> MixedPrecisionPolicy:
    """How FSDP2 sends a layer's weights and gradients: weights in the type that autocast would give them right after,
    half the bytes; gradients in float32, so that their sum does not depend on the number of ranks.

    Inputs are left alone: the residual stream stays float32, as it is in one process. In float32 this changes nothing.
    """
    dtype = DTYPES[precision]
    if dtype == torch.float32:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)

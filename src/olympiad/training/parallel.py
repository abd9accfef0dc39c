"""A model over many processes, one table per layout, all applied from outside: the model knows nothing of it.

    pipeline   layers of other stages become pass-throughs: every name stays what it was
    tensor     matrices of a layer split by columns, then rows; norms and residuals split by positions (arXiv:2205.05198)
    context    positions split; keys and values of all are gathered for attention (arXiv:2407.21783, section 3.3.2)
    weights    each layer's weights, gradients and moments split, gathered when it is at work (FSDP2, arXiv:2304.11277)

The loss is made by each rank for its own positions, also under tensor parallelism: embedding and output projection are
whole on every tensor rank, and nobody computes a position twice.
"""

# B rows, T positions here, S all positions, D hidden size, V vocabulary

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from olympiad.model import MathTransformerDecoder
from olympiad.model.attention import AttentionPattern, attend

from .layout import Layout
from .precision import gathering, use_float8
from .slices import copy_own_slice

# With tensor parallelism the last norm gives a view of its DTensor. Nothing writes into hidden states in place.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")

# What becomes of each module of a layer under tensor parallelism.
_TENSOR_TABLE: dict[str, Any] = {
    "input_layernorm": SequenceParallel(),
    "self_attn": PrepareModuleInput(
        input_layouts=(Shard(1), None, None, None), desired_input_layouts=(Replicate(), None, None, None)
    ),
    "self_attn.q_proj": ColwiseParallel(),
    "self_attn.k_proj": ColwiseParallel(),
    "self_attn.v_proj": ColwiseParallel(),
    "self_attn.q_norm": SequenceParallel(sequence_dim=2, use_local_output=True),  # (B, T, N, H): heads are split
    "self_attn.k_norm": SequenceParallel(sequence_dim=2, use_local_output=True),
    "self_attn.o_proj": RowwiseParallel(output_layouts=Shard(1)),
    "post_attention_layernorm": SequenceParallel(),
    "mlp": PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)),
    "mlp.gate_proj": ColwiseParallel(),
    "mlp.up_proj": ColwiseParallel(),
    "mlp.down_proj": RowwiseParallel(output_layouts=Shard(1)),
}


class PassThrough(nn.Module):
    """Stands where a module of another pipeline stage was."""

    def forward(self, x: Tensor, *others: object) -> Tensor:
        return x


def lay_out(
    model: MathTransformerDecoder, layout: Layout, compile_layers: bool = False, precision: str = "float32"
) -> MathTransformerDecoder:
    """Give the model the form that it has on this rank, in place.

    A model on the "meta" device stays without weights until :func:`initialize_weights`.
    """
    mesh, sizes = layout.mesh, layout.sizes
    if mesh is None and not next(model.parameters()).is_meta:
        model.to(layout.device)
    if precision == "float8":
        use_float8(model)
    if mesh is not None:
        _cut_pipeline(model, layout.place("pipeline"), sizes.pipeline)
        if sizes.tensor > 1:
            _split_tensors(model, mesh["tensor"])
        if layout.context_mesh is not None:
            _split_positions(model, layout.context_mesh)
    layers = [layer for layer in model.layers if not isinstance(layer, PassThrough)]
    if compile_layers:
        for layer in layers:
            # Not layer.compile(): hooks on the layer (FSDP's, those of LayerNorms) stay outside of the graph, unbroken.
            layer.forward = torch.compile(layer.forward)
    if mesh is not None:
        weights = mesh["replicate", "weights"] if sizes.replicate > 1 else mesh["weights"]
        for layer in layers:
            fully_shard(layer, mesh=weights, mp_policy=gathering(precision))
        fully_shard(model, mesh=weights)
        register_fsdp_forward_method(model, "hidden_states")
    return model


def stage_layers(num_layers: int, stage: int, num_stages: int) -> range:
    """The layers of one pipeline stage; the first stages take one more where they do not divide.

    >>> [list(stage_layers(5, stage, 2)) for stage in range(2)]
    [[0, 1, 2], [3, 4]]
    """
    each, more = divmod(num_layers, num_stages)
    start = stage * each + min(stage, more)
    return range(start, start + each + (stage < more))


def _cut_pipeline(model: MathTransformerDecoder, stage: int, num_stages: int) -> None:
    mine = stage_layers(len(model.layers), stage, num_stages)
    for number in range(len(model.layers)):
        if number not in mine:
            model.layers[number] = PassThrough()
    if stage > 0:
        model.embed_tokens = PassThrough()  # type: ignore[assignment]
    if stage < num_stages - 1:
        model.norm, model.lm_head = PassThrough(), None  # type: ignore[assignment]
    if num_stages > 1:
        model.forward = model.hidden_states  # type: ignore[method-assign, assignment]


def _split_tensors(model: MathTransformerDecoder, mesh: DeviceMesh) -> None:
    for layer in model.layers:
        if not isinstance(layer, PassThrough):
            present = {name for name, module in layer.named_modules() if not isinstance(module, nn.Identity)}
            parallelize_module(layer, mesh, {name: style for name, style in _TENSOR_TABLE.items() if name in present})
    if not isinstance(model.norm, PassThrough):
        parallelize_module(model, mesh, {"norm": SequenceParallel(use_local_output=True)})
    for module in filter(None, (model.embed_tokens, model.lm_head)):
        for name, parameter in list(module.named_parameters(recurse=False)):
            whole = distribute_tensor(parameter.data, mesh, [Replicate()], src_data_rank=None)
            module.register_parameter(name, nn.Parameter(whole))
    if not isinstance(model.embed_tokens, PassThrough):
        rank, size = mesh.get_local_rank(), mesh.size()

        def own_positions(module: nn.Module, inputs: tuple[Tensor, ...]) -> DTensor:
            return DTensor.from_local(inputs[0].chunk(size, 1)[rank].contiguous(), mesh, [Shard(1)], run_check=False)

        model.embed_tokens.register_forward_pre_hook(own_positions)
        model.embed_tokens.register_forward_hook(lambda module, inputs, output: output.to_local())


def _split_positions(model: MathTransformerDecoder, mesh: DeviceMesh) -> None:
    rank = mesh.get_local_rank()

    def pattern(num_new: int, document_ids_BT: Tensor | None, device: torch.device) -> AttentionPattern:
        """Own positions come after those of all ranks before; documents are those of all positions."""
        before = rank * num_new
        mask = torch.ones(num_new, before + num_new, dtype=torch.bool, device=device).tril(before)[None, None]
        if document_ids_BT is not None:
            own, all_before = document_ids_BT[:, before : before + num_new], document_ids_BT[:, : before + num_new]
            mask = mask & (own[:, None, :, None] == all_before[:, None, None, :])
        return AttentionPattern(causal=False, mask_BNTS=mask)

    def gathered(local: Tensor) -> Tensor:
        whole = DTensor.from_local(local, mesh, [Shard(2)], run_check=False).full_tensor(grad_placements=[Partial()])
        return whole[:, :, : (rank + 1) * local.shape[2]]

    def attend_to_all(query: Tensor, key: Tensor, value: Tensor, pattern: AttentionPattern) -> Tensor:
        return attend(query, gathered(key), gathered(value), pattern)

    model.make_pattern = pattern
    for layer in model.layers:
        if not isinstance(layer, PassThrough):
            layer.self_attn.attend = attend_to_all  # type: ignore[union-attr]


def initialize_weights(model: MathTransformerDecoder, whole: MathTransformerDecoder, layout: Layout, seed: int) -> None:
    """Give a model that has none its initial weights: those of one process, whatever the layout.

    Args:
        whole: the same model on "meta", not laid out: it names all weights in the one order in which they are drawn.
    """
    model.to_empty(device=layout.device)
    mine = dict(model.named_parameters())
    for name, value in initial_weights(whole, seed):
        if name in mine:
            copy_own_slice(mine[name], value)


def initial_weights(whole: MathTransformerDecoder, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every weight, one at a time: more than one is never there."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in whole.named_parameters():
        value = torch.empty(parameter.shape, dtype=parameter.dtype)
        whole.initialize_parameter(name, value, generator)
        yield name, value


def local_output_weight(model: MathTransformerDecoder) -> Tensor:
    """(V, D), as a plain tensor; each tensor rank adds its positions' part to the gradient."""
    weight = model.output_weight
    return weight.to_local(grad_placements=[Partial()]) if isinstance(weight, DTensor) else weight


def reshard(model: nn.Module) -> None:
    """Put split weights back in their places: after an evaluation FSDP leaves the outermost ones gathered, as other
    parameters, and whoever saved or loaded those would miss the real ones."""
    if isinstance(model, FSDPModule):
        model.reshard()


def reduce_gradients(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass sends its gradients to the other ranks: once a step is enough."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)
        model.set_is_last_backward(now)

"""The optimizers and the average of the weights over processes, against one.

Every process makes the whole model from the seed, steps a copy of it by itself, and compares.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from olympiad.config import OptimizerOptions
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.training.optimizer import WeightAverage, create_optimizer


def tiny_model() -> MathTransformerDecoder:
    """Sizes that four processes can not share equally."""
    fields = {"vocab_size": 90, "hidden_size": 24, "intermediate_size": 42, "num_hidden_layers": 2, "max_sequence_length": 32}
    return MathTransformerDecoder(MathTransformerConfig(num_attention_heads=4, num_key_value_heads=2, **fields), seed=0)


def shard(model: MathTransformerDecoder, mesh: DeviceMesh) -> None:
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def split_matrices(model: MathTransformerDecoder, mesh: DeviceMesh) -> None:
    """Tensor parallel: norms of the layers are copied to all, the last norm and the embedding stay plain tensors."""
    plan = {
        f"{part}.{name}_proj": RowwiseParallel() if name in ("o", "down") else ColwiseParallel()
        for part, names in (("self_attn", "q k v o"), ("mlp", "gate up down"))
        for name in names.split()
    }
    for layer in model.layers:
        parallelize_module(layer, mesh, plan)  # type: ignore[arg-type]
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight = nn.Parameter(distribute_tensor(norm.weight.detach(), mesh, [Replicate()]))


def layouts() -> dict[str, Callable[[MathTransformerDecoder], None]]:
    line = init_device_mesh("cpu", (dist.get_world_size(),))
    square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))

    def both(model: MathTransformerDecoder) -> None:
        split_matrices(model, square["tensor"])
        shard(model, square["shard"])

    return {"shard": lambda model: shard(model, line), "tensor": lambda model: split_matrices(model, line), "both": both}


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def give_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """As backward leaves it: sharded as the parameter; what is copied to all may have a part of the sum on each."""
    if not isinstance(parameter, DTensor):
        parameter.grad = gradient
    elif parameter.placements == (Replicate(),):
        parameter.grad = DTensor.from_local(gradient / parameter.device_mesh.size(), parameter.device_mesh, [Partial()])
    else:
        parameter.grad = distribute_tensor(gradient, parameter.device_mesh, parameter.placements, src_data_rank=None)


def steps_are_equal() -> None:
    for kind in ("adamw", "muon"):
        options = OptimizerOptions(kind=kind, learning_rate=1e-2)
        for layout, apply in layouts().items():
            alone, spread = tiny_model(), tiny_model()
            apply(spread)
            optimizers = [create_optimizer(model, options) for model in (alone, spread)]
            for step in range(3):
                generator = torch.Generator().manual_seed(step)
                for p, q in zip(alone.parameters(), spread.parameters(), strict=True):
                    p.grad = torch.randn(p.shape, generator=generator)
                    give_gradient(q, p.grad)
                for optimizer in optimizers:
                    optimizer.step()
            for (name, p), q in zip(alone.named_parameters(), spread.parameters(), strict=True):
                torch.testing.assert_close(whole(q), p, rtol=1e-5, atol=1e-6, msg=lambda m: f"{kind} {layout} {name}: {m}")  # noqa: B023
                for key, value in optimizers[1].state[q].items():
                    if key != "step" and isinstance(q, DTensor):
                        assert value.placements == q.placements, (kind, layout, name, key)


def averages_are_equal() -> None:
    def learn(model: nn.Module, optimizer: torch.optim.Optimizer, ids: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    alone, spread = tiny_model(), tiny_model()
    shard(spread, init_device_mesh("cpu", (dist.get_world_size(),)))
    runs = [(m, create_optimizer(m, OptimizerOptions(learning_rate=1e-2)), WeightAverage(m, 0.9)) for m in (alone, spread)]
    ids = torch.randint(90, (2, 8), generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        losses = []
        for model, optimizer, average in runs:
            losses.append([learn(model, optimizer, ids)])
            average.update(model)
            with torch.no_grad():
                losses[-1].append(model(ids).sum())
                with average.swapped_in(model):
                    losses[-1].append(model(ids).sum())
                losses[-1].append(model(ids).sum())
            assert losses[-1][1] == losses[-1][3] != losses[-1][2]
        torch.testing.assert_close(torch.stack(losses[1]), torch.stack(losses[0]), rtol=1e-5, atol=1e-5)
    for name, expected in runs[0][2].tensors.items():
        found = runs[1][2].tensors[name]
        assert isinstance(found, DTensor)
        torch.testing.assert_close(found.full_tensor(), expected, rtol=1e-5, atol=1e-6)


def process(rank: int, world: int, rendezvous: str, checks: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    checks()
    dist.barrier()  # nobody leaves while another still talks to it
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_layout_does_not_change_a_step(tmp_path: Path) -> None:
    """Guards against Newton-Schulz on a piece of a matrix, or in 16 bits in another order of sums, against fused updates
    of sharded and plain tensors at once, unequal shards, and gradients that are yet to be summed over processes."""
    mp.spawn(process, (4, str(tmp_path / "rendezvous"), steps_are_equal), nprocs=4)


@pytest.mark.slow
def test_averages_of_sharded_weights(tmp_path: Path) -> None:
    """Guards against weights that FSDP2 still holds gathered from an evaluation: of the averages, and trained on from."""
    mp.spawn(process, (2, str(tmp_path / "rendezvous"), averages_are_equal), nprocs=2)

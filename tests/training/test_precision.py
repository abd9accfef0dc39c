"""Number formats: what is refused, what a checkpoint sees of them, what reaches the kernels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy

from olympiad.config import ConfigError, LayoutOptions, RunConfig
from olympiad.model import MathTransformerConfig, MathTransformerDecoder
from olympiad.model.attention import AttentionPattern, attend
from olympiad.training import precision as under_test
from olympiad.training.precision import check_precision, gathering, use_float8
from olympiad.training.recipe import run_recipe

CUDA = torch.device("cuda", 0)


def test_float8_without_a_gpu_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a run that reads its data and builds its model to learn that it can't start."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = RunConfig(precision="float8", output_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match=r'float8 needs a CUDA device .* use precision = "bfloat16"'):
        run_recipe(run)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("capability", "torchao", "tensor", "context", "message"),
    [
        ((8, 0), True, 1, 512, r"capability 8.9 .* some GPU has 8.0"),
        ((9, 0), False, 1, 512, r"needs torchao: pip install 'olympiad\[float8\]'"),
        ((9, 0), True, 2, 512, r"layout.tensor = 1 \(it is 2\)"),
        ((9, 0), True, 1, 500, r"multiple of 64, this one is 500"),
        ((9, 0), True, 1, 512, None),
    ],
)
def test_float8_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    torchao: bool,
    tensor: int,
    context: int,
    message: str | None,
) -> None:
    """Guards against an error out of the depths of a library, minutes after the start."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")
    monkeypatch.setattr(under_test, "find_spec", lambda name: SimpleNamespace() if torchao else None)
    config, sizes = MathTransformerConfig(max_sequence_length=context), LayoutOptions(tensor=tensor)
    if message is None:
        check_precision("float8", CUDA, sizes, config)
    else:
        with pytest.raises(ConfigError, match=message):
            check_precision("float8", CUDA, sizes, config)


def test_a_checkpoint_knows_nothing_of_float8(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against weights under other names, in another type, or far from those that bfloat16 gives."""
    pytest.importorskip("torchao.float8")
    fields = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    plain = tiny.trainer(tmp_path / "plain", fields=fields, precision="bfloat16")
    names = {name: (p.shape, p.dtype) for name, p in plain.model.named_parameters()}
    other = tiny.trainer(tmp_path / "float8", fields=fields, precision="bfloat16")
    use_float8(other.model, emulate=True)
    projections = [module for module in other.model.layers.modules() if type(module).__name__ == "Float8Linear"]
    assert len(projections) == 2 * 7
    assert {name: (p.shape, p.dtype) for name, p in other.model.named_parameters()} == names
    assert list(other.model.state_dict()) == list(plain.model.state_dict())
    plain.train(num_epochs=2)
    other.train(num_epochs=2)
    assert other.train_losses == pytest.approx(plain.train_losses, rel=0.02)
    assert other.train_losses != plain.train_losses, "float8 was not computed at all"
    path = other.save_checkpoint("float8")
    plain.load_checkpoint(path)
    for (name, ours), theirs in zip(plain.model.named_parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_sizes_that_float8_can_not_take_stay_as_they_are() -> None:
    """Guards against a product that the hardware refuses: 16 divides every side."""
    pytest.importorskip("torchao.float8")
    model = MathTransformerDecoder(MathTransformerConfig(hidden_size=64, intermediate_size=100, num_hidden_layers=1))
    use_float8(model, emulate=True)
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert kinds["layers.0.self_attn.q_proj"] == "Float8Linear"
    assert kinds["layers.0.mlp.up_proj"] == kinds["lm_head"] == "Linear"


def test_gathering_in_float32_is_no_policy() -> None:
    """Guards against weights that are rounded on their way where nobody asked for it, and against 16-bit sums."""
    assert gathering("float32") == MixedPrecisionPolicy()
    for precision in ("bfloat16", "float8"):
        policy = gathering(precision)
        assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
        assert not policy.cast_forward_inputs


@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_gets_one_type(qk_norm: bool) -> None:
    """Guards against float32 queries and keys under autocast: on a GPU, keys and values were then repeated for nothing."""
    config = MathTransformerConfig(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, qk_norm=qk_norm)
    model, seen = MathTransformerDecoder(config, seed=0), set()

    def watched(query: Tensor, key: Tensor, value: Tensor, pattern: AttentionPattern) -> Tensor:
        seen.update((query.dtype, key.dtype, value.dtype))
        return attend(query, key, value, pattern)

    for layer in model.layers:
        layer.self_attn.attend = watched
    with torch.autocast("cpu", torch.bfloat16):
        model.hidden_states(torch.randint(100, (2, 16)))
    assert seen == {torch.bfloat16}

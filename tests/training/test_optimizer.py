"""What decays, how Muon steps, how the learning rate goes, and what an average of the weights holds."""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from olympiad.model import MathTransformerDecoder
from olympiad.training import OptimizerOptions, optimizer
from olympiad.training.optimizer import WeightAverage, create_optimizer, learning_rate_fraction, orthogonalized

KINDS = ("adamw", "muon")
MUON = OptimizerOptions(kind="muon", learning_rate=1e-2, weight_decay=0.3)


def gradients(model: nn.Module, seed: int) -> None:
    """Give every parameter a gradient that only the seed decides."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_only_matrices_decay(tiny: Any, kind: Any) -> None:
    """Guards against norms and biases drawn to zero, and against parameters that no group holds, or two."""
    model = MathTransformerDecoder(tiny.config(qkv_bias=True, qk_norm=True, tie_word_embeddings=True), seed=0)
    groups = create_optimizer(model, OptimizerOptions(kind=kind, weight_decay=0.3)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        matrix = not name.endswith("bias") and "norm" not in name
        assert decay[id(parameter)] == (0.3 if matrix else 0.0), name


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_are_left_out(tiny: Any, kind: Any) -> None:
    """Guards against weight decay, and two moments of memory, on weights that are not trained."""
    model = MathTransformerDecoder(tiny.config(), seed=0)
    model.embed_tokens.requires_grad_(False)
    groups = create_optimizer(model, OptimizerOptions(kind=kind)).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert id(model.embed_tokens.weight) not in held
    assert len(held) == len(list(model.parameters())) - 1


def test_muon_takes_the_matrices_of_the_layers(tiny: Any) -> None:
    """Guards against Muon on embeddings, head, norms or biases, and against a projection left to AdamW."""
    model = MathTransformerDecoder(tiny.config(qkv_bias=True), seed=0)
    groups = create_optimizer(model, MUON).param_groups
    taken = {id(p) for group in groups if group["muon"] for p in group["params"]}
    names = {name.rsplit(".", 2)[-2] for name, p in model.named_parameters() if id(p) in taken}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert len(taken) == 7 * len(model.layers)


def test_muon_steps_as_torch_does(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against another momentum, scale, coefficient or order of decay and update than PyTorch's Muon and AdamW."""
    monkeypatch.setattr(optimizer, "orthogonalized", lambda matrix, _: orthogonalized(matrix, torch.bfloat16))
    ours, theirs = (MathTransformerDecoder(tiny.config(qkv_bias=True, num_key_value_heads=2), seed=0) for _ in range(2))
    mine = create_optimizer(ours, MUON)
    names = {p: name for name, p in theirs.named_parameters()}
    muon = [p for p in names if p.ndim == 2 and names[p].startswith("layers.")]
    rest = [p for p in names if not any(p is one for one in muon)]
    others = [
        torch.optim.Muon(muon, lr=1e-2, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in rest if p.ndim == 2], lr=1e-2, weight_decay=0.3, betas=(0.9, 0.95)),
        torch.optim.AdamW([p for p in rest if p.ndim == 1], lr=1e-2, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    for step in range(3):
        gradients(ours, step)
        gradients(theirs, step)
        mine.step()
        for other in others:
            other.step()
    for (name, found), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7, msg=name)


@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 2**31), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_orthogonalized(rows: int, columns: int, seed: int, scale: float) -> None:
    """Guards against singular vectors that turn, values that are not raised, and a result that depends on the scale."""
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = orthogonalized(matrix * scale, torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T  # diagonal, in the same order
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-8, rtol=0)
    raised = inner.diagonal()[values > values.norm() / 600]
    assert raised.min() > 0.67
    assert inner.diagonal().max() < 1.21


def test_no_gradient_no_step() -> None:
    """Guards against a matrix of zeros divided by its norm, and against decay of a parameter that took no part."""
    assert torch.equal(orthogonalized(torch.zeros(3, 5)), torch.zeros(3, 5))
    model = nn.ModuleDict({"layers": nn.Linear(4, 4), "other": nn.Linear(4, 4)})
    before = copy.deepcopy(model.state_dict())
    create_optimizer(model, MUON).step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_hand", [False, True])
def test_restored_state_goes_on_bit_for_bit(tiny: Any, kind: Any, by_hand: bool) -> None:
    """Guards against state that is kept elsewhere than in ``state``, or that ``load_state_dict`` casts or loses."""
    options = MUON.model_copy(update={"kind": kind})
    straight = MathTransformerDecoder(tiny.config(), seed=0)
    first = create_optimizer(straight, options)
    for step in range(2):
        gradients(straight, step)
        first.step()
    resumed = copy.deepcopy(straight)
    second = create_optimizer(resumed, options)
    if by_hand:  # as a checkpoint of any layout does it: tensor by tensor, parameter by parameter
        for p, q in zip(straight.parameters(), resumed.parameters(), strict=True):
            second.state[q] = {name: value.clone() for name, value in first.state[p].items()}
    else:
        second.load_state_dict(copy.deepcopy(first.state_dict()))
    for model, its_optimizer in ((straight, first), (resumed, second)):
        for group in its_optimizer.param_groups:
            group["lr"] = 3e-3
        gradients(model, 7)
        its_optimizer.step()
    for (name, p), q in zip(straight.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q), name
        assert all(isinstance(value, Tensor) for value in first.state[p].values())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_scaler(tiny: Any, kind: Any) -> None:
    """Guards against a step with gradients that are still scaled, and against one with infinite gradients."""
    models = [MathTransformerDecoder(tiny.config(), seed=0) for _ in range(2)]
    plain, scaled = (create_optimizer(model, MUON.model_copy(update={"kind": kind})) for model in models)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    ids = torch.randint(16, 900, (2, 9), generator=torch.Generator().manual_seed(0))
    for size in (1.0, math.inf, 1.0):
        scaler.scale(models[1](ids).square().mean() * size).backward()
        scaler.step(scaled)
        scaler.update()
        scaled.zero_grad(set_to_none=True)
        if size == 1.0:
            models[0](ids).square().mean().backward()
            plain.step()
            plain.zero_grad(set_to_none=True)
    assert scaler.get_scale() == 512.0
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


schedules = st.builds(
    OptimizerOptions,
    schedule=st.sampled_from(["cosine", "linear", "wsd", "constant"]),
    warmup_fraction=st.floats(0, 0.99),
    decay_fraction=st.floats(0.01, 1),
    final_learning_rate_fraction=st.floats(0, 1),
)


@given(total=st.integers(1, 1_000), options=schedules)
def test_schedule(total: int, options: OptimizerOptions) -> None:
    """Guards against a first step without a rate, a peak that is never reached, a rise after it, a jump, and a wrong end."""
    rate = partial(learning_rate_fraction, total_steps=total, options=options)
    rates = [rate(step) for step in range(total + 1)]
    warmup = max(min(round(options.warmup_fraction * total), total - 1), 1)
    final = 1.0 if options.schedule == "constant" else options.final_learning_rate_fraction
    assert rates[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert rates[warmup - 1] == 1.0
    assert all(a >= b for a, b in pairwise(rates[warmup - 1 :]))
    assert all(final - 1e-12 <= value <= 1 for value in rates[warmup - 1 :])
    assert [rates[total], rate(total + 1), rate(9 * total)] == pytest.approx([final] * 3, abs=1e-12)
    falling = total - warmup if options.schedule != "wsd" else min(total - warmup, round(options.decay_fraction * total))
    steepest = max(1 / warmup, math.pi / 2 / max(falling, 1))
    assert all(abs(a - b) <= steepest + 1e-12 for a, b in pairwise(rates))


def test_the_shapes_of_the_schedules() -> None:
    """Guards against two schedules that are one, and against wsd that falls too early, or along a curve."""

    def rates(schedule: Any, **fields: float) -> list[float]:
        options = OptimizerOptions(schedule=schedule, warmup_fraction=0.1, final_learning_rate_fraction=0.2, **fields)
        return [learning_rate_fraction(step, 20, options) for step in (0, 1, 2, 6, 11, 15, 18, 19, 20)]

    assert rates("constant") == [0.5] + 8 * [1.0]
    assert rates("linear") == pytest.approx([0.5, 1, 1, *(1 - 0.8 * k / 18 for k in (4, 9, 13, 16, 17, 18))])
    cosine = [0.2 + 0.8 * (1 + math.cos(math.pi * k / 18)) / 2 for k in (4, 9, 13, 16, 17, 18)]
    assert rates("cosine") == pytest.approx([0.5, 1, 1, *cosine])
    assert rates("wsd", decay_fraction=0.25) == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.52, 0.36, 0.2])
    assert rates("wsd", decay_fraction=1.0) == pytest.approx(rates("linear"))  # over what the warm-up leaves


def test_weight_average_follows_its_formula(tiny: Any) -> None:
    """Guards against weights taken by reference, a decay that is not warmed up, and frozen or 16-bit averages."""
    model = MathTransformerDecoder(tiny.config(tie_word_embeddings=True), seed=0).to(torch.bfloat16)
    model.norm.requires_grad_(False)
    average = WeightAverage(model, decay=0.3)
    assert set(average.tensors) == {name for name, p in model.named_parameters() if p.requires_grad}
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    for number, decay in enumerate((1 / 10, 2 / 11, 3 / 12, 0.3, 0.3)):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * (number + 1))
        average.update(model)
        expected = {name: decay * expected[name] + (1 - decay) * p.double() for name, p in model.named_parameters()}
    assert average.num_updates == 5
    for name, found in average.tensors.items():
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        torch.testing.assert_close(found.double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


def test_weight_average_gives_the_weights_back(tiny: Any) -> None:
    """Guards against a run that trains on from its averages after a validation, or after one that failed."""
    model = MathTransformerDecoder(tiny.config(), seed=0)
    average = WeightAverage(model, decay=0.9)
    gradients(model, 0)
    its_optimizer = create_optimizer(model, MUON)
    its_optimizer.step()
    average.update(model)
    own = copy.deepcopy(model.state_dict())
    kept = {name: tensor.clone() for name, tensor in average.tensors.items()}

    def evaluate() -> None:
        with average.swapped_in(model):
            assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())
            assert all(torch.equal(average.tensors[name], kept[name]) for name in kept)  # a checkpoint may be written here
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert not torch.equal(own["lm_head.weight"], kept["lm_head.weight"])
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_logged_rates_follow_the_formula(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a rate that is one step late, or logged after it was changed."""
    trainer = tiny.trainer(tmp_path, learning_rate=3e-3, warmup_fraction=0.25, final_learning_rate_fraction=0.2)
    trainer.train(num_epochs=3)  # 4 batches each: 12 steps, 3 of warm-up
    logged = [row["learning_rate"] for row in curve(tmp_path) if "loss" in row]
    cosine = [0.2 + 0.8 * (1 + math.cos(math.pi * k / 9)) / 2 for k in range(9)]
    assert logged == pytest.approx([3e-3 * rate for rate in (1 / 3, 2 / 3, 1, *cosine)])


def test_rates_after_the_batches_change(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a plan in epochs beside a count of other steps: larger batches would begin at the cosine's end."""
    tiny.trainer(tmp_path, batch_size=1, warmup_fraction=0.0).train(num_epochs=1)  # 7 steps
    trainer = tiny.trainer(tmp_path, batch_size=4, warmup_fraction=0.0)
    trainer.load_checkpoint("checkpoint_epoch_1.pt")
    trainer.train(num_epochs=2)  # 2 steps each
    logged = {row["step"]: row["learning_rate"] for row in curve(tmp_path) if "loss" in row}
    assert sorted(logged) == list(range(1, 12))
    options = OptimizerOptions(warmup_fraction=0.0)
    planned = [1e-2 * learning_rate_fraction(step, 6, options) for step in (2, 3, 4, 5)]
    assert [logged[step] for step in (8, 9, 10, 11)] == pytest.approx(planned)


def test_options_of_the_resumed_run_hold(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a weight decay or a learning rate that is accepted, written down, and then taken from the checkpoint."""
    tiny.trainer(tmp_path).train(num_epochs=1)
    trainer = tiny.trainer(tmp_path, learning_rate=1e-4, weight_decay=0.7)
    trainer.load_checkpoint("best_model.pt")
    trainer.train(num_epochs=1)
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.7, 0.0]
    assert all(row["learning_rate"] <= 1e-4 for row in curve(tmp_path) if "loss" in row and row["step"] > 4)


def test_rates_after_the_plan_changes(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a run that goes on at the end of the old plan's cosine, or steps back to its start."""
    trainer = tiny.trainer(tmp_path, warmup_fraction=0.0)
    trainer.train(num_epochs=1)
    trainer.train(num_epochs=2)
    logged = [row["learning_rate"] for row in curve(tmp_path) if "loss" in row]
    options = OptimizerOptions(warmup_fraction=0.0)
    planned = [1e-2 * learning_rate_fraction(step, 4 if step < 4 else 12, options) for step in range(12)]
    assert logged == pytest.approx(planned)

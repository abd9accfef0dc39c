"""What decays, and how the learning rate goes."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olympiad.model import MathTransformerDecoder
from olympiad.training.optimizer import create_optimizer, warmup_cosine

steps = st.integers(1, 2_000)


def test_only_matrices_decay(tiny: Any) -> None:
    """Guards against norms and biases drawn to zero, and against parameters that no group holds."""
    model = MathTransformerDecoder(tiny.config(qkv_bias=True, qk_norm=True, tie_word_embeddings=True), seed=0)
    optimizer = create_optimizer(model, 1e-3, weight_decay=0.3)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        matrix = not name.endswith("bias") and "norm" not in name
        assert decay[id(parameter)] == (0.3 if matrix else 0.0), name


def test_frozen_parameters_are_left_out(tiny: Any) -> None:
    """Guards against weight decay, and two moments of memory, on weights that are not trained."""
    model = MathTransformerDecoder(tiny.config(), seed=0)
    model.embed_tokens.requires_grad_(False)
    held = {id(p) for group in create_optimizer(model, 1e-3).param_groups for p in group["params"]}
    assert id(model.embed_tokens.weight) not in held
    assert len(held) == len(list(model.parameters())) - 1


@given(total=steps, warmup_share=st.floats(0, 0.99), final=st.floats(0, 1))
def test_warmup_cosine(total: int, warmup_share: float, final: float) -> None:
    """Guards against a first step without a rate, a peak that is never reached, a rise after it, and a wrong end."""
    warmup = max(round(warmup_share * total), 1)
    rates = [warmup_cosine(step, total, warmup, final) for step in range(total + 1)]
    assert rates[0] > 0
    assert rates[warmup - 1] == 1.0
    assert all(a < b for a, b in pairwise(rates[:warmup]))
    assert all(a >= b for a, b in pairwise(rates[warmup - 1 :]))
    if warmup < total:
        assert rates[total] == pytest.approx(final, abs=1e-12)
    assert warmup_cosine(total + 5, total, warmup, final) == pytest.approx(final, abs=1e-12)
    assert all(min(final, 1 / warmup) - 1e-12 <= rate <= 1 for rate in rates)


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
    planned = [1e-2 * warmup_cosine(step, 6, 1) for step in (2, 3, 4, 5)]
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
    planned = [1e-2 * warmup_cosine(step, 4 if step < 4 else 12, 1) for step in range(12)]
    assert logged == pytest.approx(planned)

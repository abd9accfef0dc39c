"""Runs that begin with other runs' weights, and adapters in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import training_options

from olympiad.config import LoraOptions, TrainingOptions
from olympiad.data import create_dataloader
from olympiad.model import MathTransformerDecoder
from olympiad.training import CheckpointMismatch, Trainer
from olympiad.training.loading import load_model
from olympiad.training.lora import add_lora


def trainer_of(tiny: Any, folder: Path, lora: LoraOptions | None = None, **options: Any) -> Trainer:
    model = MathTransformerDecoder(tiny.config(), seed=1)
    if lora is not None:
        add_lora(model, lora, seed=0)
    data = create_dataloader(tiny.dataset(7), 2)
    held_out = create_dataloader(tiny.dataset(3, start=30), 2, shuffle=False)
    return Trainer(model, data, held_out, training_options(**{"learning_rate": 1e-2, **options}), folder, "cpu")


@pytest.fixture(scope="module")
def base(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    trainer = trainer_of(tiny, tmp_path_factory.mktemp("base"))
    trainer.train(num_epochs=6)
    return trainer.checkpoint_dir / "checkpoint_epoch_6.pt", trainer.val_losses[-1]


@pytest.fixture(scope="module")
def adapted(tiny: Any, base: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    trainer = trainer_of(tiny, tmp_path_factory.mktemp("adapted"), LoraOptions(rank=4))
    trainer.load_weights(base[0])
    trainer.train(num_epochs=3)
    return trainer.checkpoint_dir / "checkpoint_epoch_3.pt", trainer.val_losses[-1]


@pytest.mark.parametrize("averaging", [None, 0.99])
def test_a_run_begins_where_another_ended(tiny: Any, base: Any, tmp_path: Path, averaging: float | None) -> None:
    """Guards against random weights that stay in an average, and against the start of a run that forgets its start."""
    trainer = trainer_of(tiny, tmp_path, averaging=averaging)
    trainer.load_weights(base[0])
    assert trainer.evaluate() == pytest.approx(base[1], rel=1e-6)
    assert trainer.progress.step == 0
    assert not trainer.optimizer.state


def test_a_run_begins_with_adapted_weights(tiny: Any, adapted: Any, tmp_path: Path) -> None:
    """Guards against adapters that are dropped without a word."""
    trainer = trainer_of(tiny, tmp_path)
    trainer.load_weights(adapted[0])
    assert trainer.evaluate() == pytest.approx(adapted[1], rel=1e-5)
    model, _ = load_model(adapted[0])
    assert trainer.model.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("other", [None, LoraOptions(rank=4, alpha=320.0), LoraOptions(rank=4, targets=("q_proj",))], ids=str)
def test_adapters_do_not_change_within_a_run(tiny: Any, adapted: Any, tmp_path: Path, other: LoraOptions | None) -> None:
    """Guards against a run that goes on with other adapters, or none, and a jump in its curve."""
    with pytest.raises(CheckpointMismatch, match=r"resume with the same \[lora\]"):
        trainer_of(tiny, tmp_path, other).load_checkpoint(adapted[0])
    trainer_of(tiny, tmp_path, LoraOptions(rank=4, dropout=0.5)).load_checkpoint(adapted[0])


def test_another_tokenizer_is_refused(tiny: Any, base: Any, tmp_path: Path) -> None:
    """Guards against weights whose numbers mean other pieces of text: same size, another tokenizer."""
    state = torch.load(base[0], weights_only=True)
    torch.save({**state, "tokenizer": state["tokenizer"].replace("}", "} ", 1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointMismatch, match="another tokenizer"):
        trainer_of(tiny, tmp_path).load_weights(tmp_path / "other.pt")


def test_a_branch_is_the_newest_run(tiny: Any, tmp_path: Path) -> None:
    """Guards against training on from an early checkpoint, and resuming the longer run that was left behind."""
    trainer_of(tiny, tmp_path, save_every_steps=2, keep_last=9).train(num_epochs=4)
    branch = trainer_of(tiny, tmp_path, save_every_steps=2, keep_last=9)
    branch.load_checkpoint("step_2")
    branch.train(num_epochs=2)
    resumed = trainer_of(tiny, tmp_path)
    resumed.load_newest()
    assert resumed.progress.step == branch.progress.step < 16


def test_moments_of_later_steps_are_forgotten(tiny: Any, tmp_path: Path) -> None:
    """Guards against a return to the first step with the moments of the last."""
    trainer = trainer_of(tiny, tmp_path)
    trainer.save_checkpoint("start")
    trainer.train(num_epochs=1)
    trainer.load_checkpoint("start")
    assert not trainer.optimizer.state


def test_a_longer_plan_replaces_a_number_of_steps(tiny: Any, tmp_path: Path) -> None:
    """Guards against a run that ended by num_steps and calls itself done for ever."""
    trainer_of(tiny, tmp_path).train(num_epochs=1, num_steps=2)
    trainer = trainer_of(tiny, tmp_path)
    trainer.load_newest()
    trainer.train_until(2, 0)
    assert trainer.progress.step == 8


@pytest.mark.parametrize("micro_batch", [0, -1])
def test_no_rows_at_once_is_refused(micro_batch: int) -> None:
    """Guards against slices from the end: rows that are counted, and not computed."""
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        TrainingOptions(micro_batch=micro_batch)

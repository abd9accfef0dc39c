"""Spikes, norms of layers, samples, averages, micro-batches: what watches over a run, and what it costs nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olympiad.config import HealthOptions
from olympiad.training import OutOfMemory, TrainingError, memory
from olympiad.training.health import LONGEST_SPIKE, is_spike
from olympiad.training.loading import load_model
from olympiad.training.metrics import read_metrics

SPIKY = {"spike_window": 8, "num_problems": 16, "batch_size": 1, "save_every_steps": 4, "save_every_epochs": 9}


def spike_at(trainer: Any, steps: set[int]) -> None:
    """Multiply the loss, and with it the gradient, of some steps."""
    inner = trainer.compute._loss_sum
    trainer.compute._loss_sum = lambda piece: inner(piece) * (50.0 if trainer.progress.step + 1 in steps else 1.0)


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()}


def test_a_spike_is_left_out(tiny: Any, tmp_path: Path) -> None:
    """Guards against a spike that is noticed after it has gone into the weights, or into the mean of the epoch."""
    trainer = tiny.trainer(tmp_path, spike="skip", **SPIKY)
    spike_at(trainer, {12})
    seen: dict[int, Any] = {}
    inner = trainer._logged_step
    trainer._logged_step = lambda *arguments: (inner(*arguments), seen.update({trainer.progress.step: weights(trainer)}))[0]
    trainer.train(num_epochs=1)
    assert all(torch.equal(seen[11][name], seen[12][name]) for name in seen[11])
    assert not all(torch.equal(seen[12][name], seen[13][name]) for name in seen[12])
    rows = {row["step"]: row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row}
    assert [step for step, row in rows.items() if row.get("event") == "spike"] == [12]
    taken = [row["loss"] * row["targets"] for step, row in rows.items() if step != 12]
    assert trainer.train_losses[0] == pytest.approx(sum(taken) / sum(row["targets"] for s, row in rows.items() if s != 12))


def test_a_spike_is_rolled_back(tiny: Any, tmp_path: Path) -> None:
    """Guards against a rollback that repeats the data of the spike, or keeps its moments."""
    trainer = tiny.trainer(tmp_path, spike="rollback", **SPIKY)
    spike_at(trainer, {15})
    at: dict[int, Any] = {}
    inner = trainer._logged_step
    trainer._logged_step = lambda *arguments: (inner(*arguments), at.update({trainer.progress.step: weights(trainer)}))[0]
    trainer.train(num_epochs=1)
    assert all(torch.equal(at[12][name], at[15][name]) for name in at[12]), "step_12 is the newest checkpoint"
    assert sorted(at) == list(range(1, 17)), "the data goes on"


def test_a_resumed_run_knows_the_same_spikes(tiny: Any, curve: Any, step_hook: Any, tmp_path: Path) -> None:
    """Guards against a memory of recent steps that a resumed run begins anew, and so another curve."""
    import os
    import signal

    from olympiad.training import TrainingInterrupted

    whole = tiny.trainer(tmp_path / "whole", spike="skip", **SPIKY)
    spike_at(whole, {12})
    whole.train(num_epochs=1)
    hook = step_hook(10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path / "cut", spike="skip", sinks=[hook], **SPIKY).train(num_epochs=1)
    resumed = tiny.trainer(tmp_path / "cut", spike="skip", **SPIKY)
    spike_at(resumed, {12})
    resumed.resume()
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_spikes_without_end(tiny: Any, tmp_path: Path) -> None:
    """Guards against a run that leaves out every step from some point on, and says that all is well."""
    trainer = tiny.trainer(tmp_path, spike="skip", **{**SPIKY, "num_problems": 40})
    spike_at(trainer, set(range(10, 100)))
    with pytest.raises(TrainingError, match=rf"{LONGEST_SPIKE} spikes in a row up to step"):
        trainer.train(num_epochs=1)


@given(st.lists(st.floats(0.5, 2.0), min_size=8, max_size=30), st.floats(0.0, 2.0))
def test_what_is_below_the_past_is_no_spike(past: list[float], now: float) -> None:
    """Guards against a fall of the loss, or a number among those just seen, that is called a spike."""
    options = HealthOptions(spike="skip", spike_window=8)
    recent = [[each, each] for each in past][-8:]
    largest = max(each for each, _ in recent)
    if now <= largest and options.spike_deviations >= math.sqrt(8):  # no value of 8 is farther than sqrt(7) deviations off
        assert not is_spike(recent, now, now, options)
    assert is_spike(recent, 1e6, 1.0, options)
    assert is_spike(recent, 1.0, 1e6, options)
    assert not is_spike(recent[1:], 1e6, 1e6, options), "too few to judge"
    assert not is_spike(recent, 1e6, 1e6, HealthOptions(spike_window=8)), "nobody asked"


def test_norms_of_layers(tiny: Any, tmp_path: Path) -> None:
    """Guards against norms that are not those of the gradients, and hooks that stay."""
    trainer = tiny.trainer(tmp_path, norms_every_steps=2, fields={"num_hidden_layers": 2})
    trainer.train(num_epochs=1)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert ["gradient_norm/layer_1" in row for row in rows] == [False, True, False, True]
    for row in rows[1::2]:
        layers = [row[f"gradient_norm/layer_{number}"] for number in range(2)]
        assert 0 < math.hypot(*layers) < row["gradient_norm"]
        assert row["activation_rms/layer_0"] > 0
    assert not trainer.model.layers[0]._forward_hooks


def test_watching_changes_nothing(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against norms, samples or validations that draw random numbers or leave the model in another mode."""
    tiny.trainer(tmp_path / "plain").train(num_epochs=2)
    tiny.trainer(tmp_path / "watched", norms_every_steps=1, sample_every_steps=1, validate_every_steps=1).train(num_epochs=2)
    losses = [[row["loss"] for row in curve(tmp_path / name) if "loss" in row] for name in ("plain", "watched")]
    assert losses[0] == losses[1]


def test_samples(tiny: Any, tmp_path: Path) -> None:
    """Guards against samples that hold the solution that was to be found."""
    tiny.trainer(tmp_path, sample_every_steps=3).train(num_epochs=1)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if "samples" in row]
    assert row["step"] == 3
    assert [sample["problem"] for sample in row["samples"]] == [problem.problem for problem in tiny.problems(33)[30:]]
    assert not any("Adding" in sample["problem"] for sample in row["samples"])


def test_the_average_is_validated_and_kept(tiny: Any, tmp_path: Path) -> None:
    """Guards against an average that is computed and never used, or that replaces the weights that train."""
    trainer = tiny.trainer(tmp_path, averaging=0.5)
    trainer.train(num_epochs=2)
    state = torch.load(tmp_path / "checkpoint_epoch_2.pt", weights_only=True)
    name = "layers.0.mlp.up_proj.weight"
    assert not torch.equal(state["average_state_dict"][name], state["model_state_dict"][name])
    loaded, _ = load_model(tmp_path / "checkpoint_epoch_2.pt")
    assert torch.equal(dict(loaded.named_parameters())[name], state["average_state_dict"][name])
    trainer.model.load_state_dict(loaded.state_dict())
    trainer.learner.average = None
    assert trainer.evaluate() == pytest.approx(trainer.val_losses[-1], rel=1e-6)


def test_bits_per_byte(tiny: Any, tmp_path: Path) -> None:
    """Guards against a number that counts tokens, or the problem's text, for bytes of the solution."""
    trainer = tiny.trainer(tmp_path)
    trainer.train(num_epochs=1)
    row = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "bits_per_byte" in row][-1]
    targets = [token for row_ in range(3) for token, mask in zip(*_ids_and_mask(trainer, row_), strict=True) if mask]
    text = tiny.tokenizer.decode(targets, skip_special_tokens=True)
    bits = row["validation_loss"] * len(targets) / math.log(2)
    assert row["bits_per_byte"] == pytest.approx(bits / len(text.encode()))


def _ids_and_mask(trainer: Any, row: int) -> tuple[list[int], list[int]]:
    rendered = trainer.val_loader.dataset[row]
    return rendered.ids, rendered.loss_mask


def test_the_largest_micro_batch_that_fits(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a search that ends at 1 where more fits, takes more than fits, or changes the global batch."""
    rows, length = 8, 128
    needs = {n: sum(memory.training_memory(tiny.config(), n, length).values()) for n in (1, 2, 4, 8)}
    monkeypatch.setattr(memory, "available_memory", lambda device: int(needs[4] / 0.8) + 1)
    assert memory.micro_batch_that_fits(tiny.config(), rows, length, torch.device("cpu"), "float32") == 4
    monkeypatch.setattr(memory, "available_memory", lambda device: 10 * needs[8])
    assert memory.micro_batch_that_fits(tiny.config(), rows, length, torch.device("cpu"), "float32") == 8
    monkeypatch.setattr(memory, "available_memory", lambda device: int(needs[2] / 0.8) + 1)
    assert memory.micro_batch_that_fits(tiny.config(), 8, length, torch.device("cpu"), "float32", None, out_above(3)) == 2
    assert memory.micro_batch_that_fits(tiny.config(), 8, length, torch.device("cpu"), "float32", None, out_above(0)) == 1
    auto = tiny.trainer(tmp_path / "auto", micro_batch="auto", batch_size=7, num_problems=7)
    auto.train(num_epochs=1)
    assert auto.compute.micro_batch < 7
    whole = tiny.trainer(tmp_path / "whole", batch_size=7, num_problems=7)
    whole.train(num_epochs=1)
    assert auto.train_losses == pytest.approx(whole.train_losses, rel=1e-6)
    assert auto.progress.step == whole.progress.step == 1


def out_above(most: int) -> Any:
    def attempt(micro_batch: int) -> None:
        if micro_batch > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


def test_a_number_of_steps(tiny: Any, tmp_path: Path) -> None:
    """Guards against a horizon in steps that ends an epoch late, without a checkpoint, or that a resumed run forgets."""
    trainer = tiny.trainer(tmp_path)
    trainer.train(num_epochs=3, num_steps=6)
    assert (trainer.progress.step, trainer.progress.epoch) == (6, 1)
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert rates[-1] < 0.3 * max(rates), "the schedule ends at step 6, not at 12"
    assert (tmp_path / "step_6.pt").exists()
    resumed = tiny.trainer(tmp_path)
    resumed.resume()
    assert resumed.progress.step == 6


def test_out_of_memory_names_the_micro_batch(tiny: Any) -> None:
    """Guards against advice that does not name the setting that costs no quality."""
    error = memory.out_of_memory(tiny.config(), 8, 128, torch.device("cpu"), "float32")
    assert isinstance(error, OutOfMemory)
    assert "micro_batch" in str(error)

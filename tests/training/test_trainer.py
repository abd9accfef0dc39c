"""A run that is stopped anywhere, by anything, and resumed is the run that was never stopped; and what a bad step does."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from olympiad.config import ConfigError
from olympiad.data import MathDataset, create_dataloader
from olympiad.model import MathTransformerDecoder
from olympiad.training import (
    CheckpointError,
    CheckpointMismatch,
    NonFiniteLoss,
    OptimizerOptions,
    Trainer,
    TrainingError,
    TrainingInterrupted,
    TrainingOptions,
)
from olympiad.training.interruption import FORWARDED_WITHIN, StopSignals

# 7 problems in batches of 2 make 4 batches: with two to a step, epochs of 2 steps, else of 4.
SETTINGS = {"validate_every_steps": 3, "save_every_steps": 2, "save_every_epochs": 2}


def outcome(trainer: Any, curve: Any) -> dict[str, Any]:
    """All that two equal runs share, to the last bit."""
    return {
        "rows": curve(trainer.checkpoint_dir),
        "weights": {name: weight.numpy().tobytes() for name, weight in trainer.model.state_dict().items()},
        "moments": [
            moment.numpy().tobytes()
            for _, state in sorted(trainer.optimizer.state_dict()["state"].items())
            for moment in (state["exp_avg"], state["exp_avg_sq"])
        ],
        "scaler": trainer.compute.scaler.state_dict(),
        "train_losses": trainer.train_losses,
        "val_losses": trainer.val_losses,
        "best_val_loss": trainer.best_val_loss,
        "progress": (trainer.progress.epoch, trainer.progress.step),
    }


def assert_same(resumed: dict[str, Any], uninterrupted: dict[str, Any]) -> None:
    for name, value in uninterrupted.items():
        assert resumed[name] == value, name


def steps_with_loss(rows: list[dict[str, Any]]) -> list[int]:
    return [row["step"] for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def uninterrupted(tiny: Any, curve: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three epochs of four steps, in one go."""
    trainer = tiny.trainer(tmp_path_factory.mktemp("uninterrupted"), **SETTINGS)
    trainer.train(num_epochs=3)
    return outcome(trainer, curve)


def test_uninterrupted_run(uninterrupted: dict[str, Any]) -> None:
    """Guards against a reference run that does not train, or does not do all that the others are compared on."""
    assert steps_with_loss(uninterrupted["rows"]) == list(range(1, 13))
    validated = [row["step"] for row in uninterrupted["rows"] if "validation_loss" in row]
    assert validated == [3, 4, 6, 8, 9, 12]
    assert len(uninterrupted["train_losses"]) == len(uninterrupted["val_losses"]) == 3
    assert uninterrupted["train_losses"][-1] < uninterrupted["train_losses"][0] - 0.5
    assert uninterrupted["best_val_loss"] == min(
        row["validation_loss"] for row in uninterrupted["rows"] if row["step"] in validated and "validation_loss" in row
    )


@pytest.mark.parametrize(
    ("step", "number"), [(5, signal.SIGINT), (9, signal.SIGINT), *((step, signal.SIGTERM) for step in range(1, 13))]
)
def test_stopped_by_a_signal_and_resumed(
    tiny: Any, curve: Any, step_hook: Any, uninterrupted: dict[str, Any], tmp_path: Path, step: int, number: int
) -> None:
    """Guards against a step that is lost, repeated, or taken on other data; and against a validation that is left out."""
    hook = step_hook(step, lambda: os.kill(os.getpid(), number))
    stopped = tiny.trainer(tmp_path, sinks=[hook], **SETTINGS)
    with pytest.raises(TrainingInterrupted) as caught:
        stopped.train(num_epochs=3)
    assert caught.value.exit_code == 128 + number
    assert stopped.progress.step == step
    resumed = tiny.trainer(tmp_path, **SETTINGS)
    with torch.random.fork_rng():
        torch.manual_seed(99)  # the state of the global generator is not part of a run
        resumed.resume()
    assert_same(outcome(resumed, curve), uninterrupted)


def test_stopped_three_times(tiny: Any, curve: Any, step_hook: Any, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Guards against losses of an epoch that are forgotten by the second resumption."""
    for step in (2, 3, 9):
        trainer = tiny.trainer(tmp_path, sinks=[step_hook(step, lambda: os.kill(os.getpid(), signal.SIGTERM))], **SETTINGS)
        with pytest.raises(TrainingInterrupted):
            trainer.resume() if step > 2 else trainer.train(num_epochs=3)
    trainer = tiny.trainer(tmp_path, **SETTINGS)
    trainer.load_checkpoint("step_9.pt")
    trainer.train()
    assert_same(outcome(trainer, curve), uninterrupted)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_accumulation_resumes_too(tiny: Any, curve: Any, step_hook: Any, tmp_path: Path, step: int) -> None:
    """Guards against counting steps where batches are meant: with accumulation the two differ."""
    settings = {**SETTINGS, "accumulation_steps": 2}
    whole = tiny.trainer(tmp_path / "whole", **settings)
    whole.train(num_epochs=2)
    hook = step_hook(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path / "cut", sinks=[hook], **settings).train(num_epochs=2)
    resumed = tiny.trainer(tmp_path / "cut", **settings)
    resumed.resume()
    assert_same(outcome(resumed, curve), outcome(whole, curve))


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import StepHook, Tiny
hook = StepHook({step}, lambda: os.kill(os.getpid(), signal.SIGKILL))
trainer = Tiny().trainer(Path({folder!r}), sinks=[hook], **{settings!r})
trainer.train(num_epochs=3)
"""


@pytest.mark.parametrize("step", [7])
def test_killed_and_resumed(tiny: Any, curve: Any, uninterrupted: dict[str, Any], tmp_path: Path, step: int) -> None:
    """Guards against a run that can be resumed only if it was told that it will end."""
    tests = str(Path(__file__).resolve().parent.parent)
    code = CHILD.format(tests=tests, step=step, folder=str(tmp_path), settings=SETTINGS)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert steps_with_loss(curve(tmp_path)) == list(range(1, step + 1))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "epo')  # as when it dies within a write
    resumed = tiny.trainer(tmp_path, **SETTINGS)
    resumed.resume()
    assert_same(outcome(resumed, curve), uninterrupted)


def test_from_a_checkpoint_of_an_epoch(tiny: Any, curve: Any, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Guards against checkpoint_epoch_N.pt that lacks the plan, so that its learning rates are others."""
    first = tiny.trainer(tmp_path, **SETTINGS)
    first.train(num_epochs=3)
    again = tiny.trainer(tmp_path, **SETTINGS)
    again.load_checkpoint("checkpoint_epoch_2.pt")
    assert again.progress.step == 8
    again.train()
    assert_same(outcome(again, curve), uninterrupted)
    assert sorted(path.name for path in tmp_path.glob("*epoch*")) == ["checkpoint_epoch_2.pt", "checkpoint_epoch_3.pt"]


def test_resuming_a_finished_run(tiny: Any, curve: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Guards against --resume that trains a finished run over again, or fails."""
    first = tiny.trainer(tmp_path)
    first.train(num_epochs=1)
    again = tiny.trainer(tmp_path)
    again.resume()
    assert "All 1 epochs are done" in capsys.readouterr().out
    assert outcome(again, curve) == outcome(first, curve)
    again.resume(num_epochs=3)
    assert len(again.train_losses) == 3
    assert steps_with_loss(curve(tmp_path)) == list(range(1, 13))


def test_train_on_from_the_best_model(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against train(num_epochs=10) after load_checkpoint that counts the epochs already done."""
    tiny.trainer(tmp_path).train(num_epochs=2)
    trainer = tiny.trainer(tmp_path)
    trainer.load_checkpoint("best_model.pt")
    done = len(trainer.train_losses)
    trainer.train(num_epochs=10)
    assert len(trainer.train_losses) == len(trainer.val_losses) == done + 10
    assert steps_with_loss(curve(tmp_path)) == list(range(1, 4 * (done + 10) + 1))
    assert (tmp_path / f"checkpoint_epoch_{done + 10}.pt").exists()


def test_train_again_goes_on(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a second train() that begins at the first batch or forgets the rows of the first."""
    trainer = tiny.trainer(tmp_path)
    trainer.train(num_epochs=1)
    trainer.train(num_epochs=2)
    assert steps_with_loss(curve(tmp_path)) == list(range(1, 13))
    assert len(trainer.val_losses) == 3


def test_a_new_run_in_an_old_folder(tiny: Any, curve: Any, step_hook: Any, tmp_path: Path) -> None:
    """Guards against rows of an earlier run among those of this one, and against resuming that earlier run."""
    tiny.trainer(tmp_path, seed=1).train(num_epochs=5)
    hook = step_hook(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path, sinks=[hook]).train(num_epochs=2)
    assert steps_with_loss(curve(tmp_path)) == [1, 2]
    resumed = tiny.trainer(tmp_path)
    resumed.resume()
    assert resumed.progress.step == 8


def test_epochs_that_make_no_sense(tiny: Any, tmp_path: Path) -> None:
    """Guards against train() that returns as if it had trained."""
    with pytest.raises(ConfigError, match="num_epochs is 0"):
        tiny.trainer(tmp_path).train(num_epochs=0)
    with pytest.raises(ValueError, match="num_epochs is missing"):
        tiny.trainer(tmp_path).train()


def stop_within_an_epoch(tiny: Any, step_hook: Any, folder: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(folder, sinks=[step_hook(2, lambda: os.kill(os.getpid(), signal.SIGTERM))]).train(num_epochs=2)


@pytest.mark.parametrize(
    ("name", "change"), [("data", {"start": 1}), ("batch_size", {"batch_size": 3}), ("seed", {"seed": 4})], ids=lambda x: str(x)
)
def test_changed_within_an_epoch(tiny: Any, step_hook: Any, tmp_path: Path, name: str, change: dict[str, int]) -> None:
    """Guards against the rest of an epoch that repeats some problems and leaves out others."""
    stop_within_an_epoch(tiny, step_hook, tmp_path)
    with pytest.raises(CheckpointMismatch, match=f"within an epoch, and since then the {name} changed"):
        tiny.trainer(tmp_path, **change).resume()


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"start": 1}, {"seed": 4}], ids=str)
def test_changed_after_an_epoch(tiny: Any, tmp_path: Path, change: dict[str, int]) -> None:
    """Guards against refusing to train on with larger batches, or on other data, where nothing can get lost."""
    tiny.trainer(tmp_path).train(num_epochs=1)
    trainer = tiny.trainer(tmp_path, **change)
    trainer.load_checkpoint("checkpoint_epoch_1.pt")
    trainer.train(num_epochs=1)
    assert trainer.progress.epoch == 2


def test_resuming_on_other_data_is_refused(tiny: Any, tmp_path: Path) -> None:
    """Guards against a run that goes on, under the same name, on a data set that changed behind its back."""
    tiny.trainer(tmp_path).train(num_epochs=1)
    with pytest.raises(CheckpointMismatch, match="trained on other data"):
        tiny.trainer(tmp_path, start=1).resume(num_epochs=2)


def test_a_signal_that_is_forwarded_twice_still_saves(tiny: Any, step_hook: Any, tmp_path: Path) -> None:
    """Guards against `timeout` and launchers, which send one Ctrl-C on as two, ending a run without its checkpoint."""

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path, sinks=[step_hook(2, twice)]).train(num_epochs=1)
    assert (tmp_path / "step_2.pt").exists()


def test_the_second_signal_stops_at_once(tiny: Any, step_hook: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Guards against a Ctrl-C that has to wait for a step of minutes, or for a save to a hanging disk."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, inherited))
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    beyond = []

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(60):  # awake now and then: another thread may have got the signal, and the main one has to see it
            time.sleep((FORWARDED_WITHIN + 0.1) / 60)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(20):
            time.sleep(0.05)
        beyond.append("the second one was ignored")

    with pytest.raises(KeyboardInterrupt) as caught:
        tiny.trainer(tmp_path, sinks=[step_hook(2, twice)]).train(num_epochs=1)
    assert not isinstance(caught.value, TrainingInterrupted)
    assert beyond == []
    assert not (tmp_path / "step_2.pt").exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_are_given_back(tiny: Any, tmp_path: Path) -> None:
    """Guards against a notebook whose Ctrl-C is dead after training."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    tiny.trainer(tmp_path).train(num_epochs=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_off_the_main_thread(tiny: Any, tmp_path: Path) -> None:
    """Guards against "signal only works in main thread" where a web app trains in the background."""
    trainer = tiny.trainer(tmp_path)
    thread = threading.Thread(target=trainer.train, kwargs={"num_epochs": 1})
    thread.start()
    thread.join()
    assert trainer.progress.epoch == 1


def poison(trainer: Any) -> None:
    with torch.no_grad():
        trainer.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")


@pytest.mark.parametrize("kind", ["weight", "inf in the loss", "gradient only"])
def test_loss_that_is_not_finite(tiny: Any, step_hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Guards against NaN written into the weights, and then over every checkpoint."""
    trainer = tiny.trainer(tmp_path, save_every_steps=1)
    trainer.train(num_epochs=1)
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}
    if kind == "weight":
        poison(trainer)
    elif kind == "inf in the loss":
        inner = trainer.compute._loss_sum
        monkeypatch.setattr(trainer.compute, "_loss_sum", lambda batch: inner(batch) * float("inf"))
    else:  # the square root's slope at 0 times 0
        inner = trainer.compute._loss_sum

        def without_slope(batch: Any) -> Any:
            return inner(batch) + (trainer.model.norm.weight * 0).abs().sum().sqrt()

        monkeypatch.setattr(trainer.compute, "_loss_sum", without_slope)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.train(num_epochs=1)
    assert all(
        torch.equal(before[name].nan_to_num(7), weight.nan_to_num(7)) for name, weight in trainer.model.state_dict().items()
    )
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")} == files
    order = trainer.order
    order.epoch, order.start = 1, 0
    first = [trainer.dataset.names(row)[0] for row in next(iter(order))]
    assert f"at step 5 (epoch 2; problems {', '.join(first)})" in str(caught.value)
    assert "Turn down learning_rate (now 0.01)" in str(caught.value)


def test_going_on_after_a_refused_step(tiny: Any, curve: Any, uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Guards against half a step's gradients, left over from an error, that are added to the next step."""
    trainer = tiny.trainer(tmp_path, accumulation_steps=1, **SETTINGS)
    inner, calls = trainer.compute._loss_sum, []

    def breaks_once(batch: Any) -> Any:
        total = inner(batch)
        calls.append(batch)
        if len(calls) == 1:
            total.backward()
            raise KeyboardInterrupt
        return total

    trainer.compute._loss_sum = breaks_once
    with pytest.raises(KeyboardInterrupt):
        trainer.train(num_epochs=3)
    trainer.train(num_epochs=3)
    assert_same(outcome(trainer, curve), uninterrupted)


def test_batch_without_targets(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a division by zero when nothing in a step is to be learned."""
    trainer = tiny.trainer(tmp_path)
    dataset = trainer.dataset
    inner = dataset.batch
    monkeypatch.setattr(
        dataset, "batch", lambda rows: {**inner(rows), "targets": torch.full_like(inner(rows)["targets"], -100)}
    )
    with pytest.raises(TrainingError, match=r"step 1 has no token to learn from \(problems sum/"):
        trainer.train(num_epochs=1)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_learns_and_resumes(tiny: Any, curve: Any, step_hook: Any, tmp_path: Path, precision: str) -> None:
    """Guards against 16-bit training that diverges, keeps 16-bit weights, or loses its gradient scale when resumed."""
    whole = tiny.trainer(tmp_path / "whole", precision=precision)
    whole.train(num_epochs=3)
    exact = tiny.trainer(tmp_path / "exact")
    exact.train(num_epochs=3)
    assert whole.train_losses == pytest.approx(exact.train_losses, rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in whole.model.parameters())
    hook = step_hook(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        tiny.trainer(tmp_path / "cut", sinks=[hook], precision=precision).train(num_epochs=3)
    resumed = tiny.trainer(tmp_path / "cut", precision=precision)
    resumed.resume()
    assert_same(outcome(resumed, curve), outcome(whole, curve))


def test_float16_overflow_skips_the_step(tiny: Any, curve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a run that ends, or weights that become infinite, at an overflow that float16 has now and then."""
    trainer = tiny.trainer(tmp_path, precision="float16")
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    scale, inner, first = trainer.compute.scaler.get_scale(), trainer.compute._loss_sum, []

    def overflowing(batch: Any) -> Any:
        total = inner(batch)
        if not first:
            first.append(batch)
            total.register_hook(lambda gradient: gradient * float("inf"))
        return total

    monkeypatch.setattr(trainer.compute, "_loss_sum", overflowing)
    order = trainer.order
    order.epoch, order.start = 0, 0
    with StopSignals() as signals:
        numbers = trainer._step([next(iter(trainer.train_loader))], signals)
    assert math.isfinite(numbers["loss"])
    assert not math.isfinite(numbers["gradient_norm"])
    assert all(torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())
    assert trainer.compute.scaler.get_scale() == scale / 2
    first.clear()
    trainer.train(num_epochs=1)
    assert all(weight.isfinite().all() for weight in trainer.model.state_dict().values())
    text = (tmp_path / "metrics.jsonl").read_text()
    assert re.search(r"NaN|Infinity", text) is None, "no JSON for anyone but Python"
    assert curve(tmp_path)[0]["gradient_norm"] is None


def test_without_a_validation_set(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against a best model that is never saved because nothing validates."""
    trainer = tiny.trainer(tmp_path, validate=False)
    trainer.train(num_epochs=2)
    assert trainer.val_losses == []
    assert trainer.best_val_loss == min(trainer.train_losses)
    assert (tmp_path / "best_model.pt").exists()
    assert "No validation set" in capsys.readouterr().out


def test_epoch_loss_is_the_mean_over_targets(tiny: Any, curve: Any, tmp_path: Path) -> None:
    """Guards against a mean of means: the last batch of an epoch is smaller."""
    trainer = tiny.trainer(tmp_path, learning_rate=1e-9)  # so slow that every step sees the initial weights
    trainer.train(num_epochs=1)
    from olympiad.training.loss import next_token_loss

    fresh = tiny.trainer(tmp_path / "fresh").model
    batch = trainer.dataset.batch(range(7))
    total, count = next_token_loss(fresh.hidden_states(batch["input_ids"]), fresh.output_weight, batch["targets"])
    assert trainer.train_losses == pytest.approx([(total / count).item()], abs=1e-5)


def test_evaluation_leaves_no_trace(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards against a validation that keeps gradients, or moves the order of the training data."""
    trainer = tiny.trainer(tmp_path)
    first = trainer.evaluate()
    inner, modes = trainer.compute._loss_sum, set()
    trainer.model.train()

    def watched(batch: Any) -> Any:
        modes.add((torch.is_grad_enabled(), trainer.model.training))
        return inner(batch)

    monkeypatch.setattr(trainer.compute, "_loss_sum", watched)
    assert trainer.evaluate() == first
    assert modes == {(False, False)}
    assert trainer.order.epoch == trainer.order.start == 0
    assert tiny.trainer(tmp_path, validate=False).evaluate() is None


def test_texts_longer_than_the_context(tiny: Any, tmp_path: Path) -> None:
    """Guards against an error hours into the run, when the first text that is too long comes up."""
    with pytest.raises(ConfigError, match=r"a text has \d+ tokens, the model a context of 16: use a smaller max_length"):
        tiny.trainer(tmp_path, fields={"max_sequence_length": 16})


def test_other_loaders_are_refused(tiny: Any, tmp_path: Path) -> None:
    """Guards against a shuffled loader whose order no resumed run can know."""
    from torch.utils.data import DataLoader

    from olympiad.training import Trainer

    with pytest.raises(TypeError, match="create_dataloader"):
        Trainer(tiny.trainer(tmp_path).model, DataLoader(tiny.dataset(), batch_size=2, shuffle=True), checkpoint_dir=tmp_path)


def test_a_folder_that_is_a_file(tiny: Any, tmp_path: Path) -> None:
    """Guards against a traceback where the folder for the results can't be made."""
    (tmp_path / "run").write_text("")
    with pytest.raises((TrainingError, CheckpointError), match="can't write"):
        tiny.trainer(tmp_path / "run").train(num_epochs=1)


def test_dynamics_of_the_guide(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Guards against lines of a run that differ from those that the guide shows, or show other numbers than the file."""
    trainer = tiny.trainer(tmp_path)
    trainer.train(num_epochs=2)
    printed = capsys.readouterr().out
    assert re.search(r"^  Step +5 \| Loss: \d+\.\d{4} \| Avg Loss: \d+\.\d{4} \| LR: \d\.\d\de-\d\d$", printed, re.MULTILINE)
    for line in ("Starting training for 2 epochs...", "Device: cpu", "Epoch 1/2", "-" * 60, "Epoch 2/2"):
        assert f"\n{line}\n" in printed
    assert f"\n  Train Loss: {trainer.train_losses[0]:.4f}\n  Val Loss:   {trainer.val_losses[0]:.4f}\n  Time: " in printed
    assert f"  Saved checkpoint to {tmp_path}/best_model.pt\n  New best model! (Val Loss: " in printed
    assert f"\nBest validation loss: {trainer.best_val_loss:.4f}\n" in printed


def test_packing_changes_no_loss(tiny: Any, tmp_path: Path) -> None:
    """Attention or positions that leak across packed documents, or a mean over rows instead of over targets."""
    losses = []
    for packing in (False, True):
        data = MathDataset(tiny.problems(9), tiny.tokenizer, 128, packing=packing)
        trainer = Trainer(
            MathTransformerDecoder(tiny.config(), seed=0),
            create_dataloader(data, len(data)),
            options=TrainingOptions(optimizer=OptimizerOptions(learning_rate=1e-2)),
            checkpoint_dir=tmp_path / str(packing),
        )
        trainer.train(3)
        losses.append(trainer.train_losses)
    assert len(data) < 9
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("every", [2, 3, 4])
def test_saving_at_the_end_of_an_epoch(tiny: Any, tmp_path: Path, every: int) -> None:
    """Guards against a run that never saves because each of its saves falls on the last step of an epoch."""
    tiny.trainer(tmp_path, save_every_steps=every, keep_last=99, save_every_epochs=3).train(num_epochs=3)  # 4 steps each
    saved = {int(path.stem.removeprefix("step_")) for path in tmp_path.glob("step_*.pt")}
    assert saved == set(range(every, 12, every)), "at step 12 there is checkpoint_epoch_3"

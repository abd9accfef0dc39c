"""The training loop: batches -> checkpoints.

    for each step:  accumulation_steps batches ─ count targets ─ backward(sum / count) each ─ clip ─ AdamW ─ log
    each epoch:     validate ─ best_model.pt if better ─ checkpoint_epoch_N.pt now and then

The loss of a step is the mean over all of its targets, however they are spread over batches: the count is known before
the first backward pass, so the layout of a batch can't change the result.
"""

# B batch, T positions

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from olympiad.config import ConfigError, TrainingOptions
from olympiad.data import IGNORED, Batch
from olympiad.model import MathTransformerConfig, MathTransformerDecoder

from .checkpoint import check_architecture, latest_checkpoint, read_checkpoint, write_checkpoint
from .console import RunConsole
from .errors import CheckpointError, CheckpointMismatch, NonFiniteLoss, TrainingError, TrainingInterrupted
from .inputs import display_path, loader_parts
from .interruption import StopSignals
from .loss import next_token_loss
from .memory import is_out_of_memory, out_of_memory
from .metrics import JsonlSink, MetricsSink
from .optimizer import create_optimizer, learning_rate_fraction
from .progress import Progress

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

COMPILING_STEPS = 3  # with torch.compile the first steps compile rather than train: their speed is no speed


class Trainer:
    """Trains a model on one device.

    Args:
        model: moved to ``device``.
        train_loader: from :func:`olympiad.data.create_dataloader`.
        val_loader: likewise; without one the training loss picks the best model.
        options: learning rate, precision, what to log and save when.
        checkpoint_dir: where checkpoints and ``metrics.jsonl`` go.
        device: "cuda" where there is one, else "cpu", if absent.
        sinks: more places for the metrics.

    Attributes:
        train_losses, val_losses: mean loss over targets, in nats, one entry an epoch.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        train_loader: DataLoader[Any],
        val_loader: DataLoader[Any] | None = None,
        options: TrainingOptions | None = None,
        checkpoint_dir: str | os.PathLike[str] = "checkpoints/baseline",
        device: str | torch.device | None = None,
        sinks: Sequence[MetricsSink] = (),
        console: RunConsole | None = None,
    ) -> None:
        self.options = options or TrainingOptions()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.train_loader, self.val_loader = train_loader, val_loader
        self.dataset, self.order = loader_parts(train_loader, model.config.context_limit)
        if val_loader is not None:
            loader_parts(val_loader, model.config.context_limit)
        self.checkpoint_dir = Path(checkpoint_dir)
        self.console = console or RunConsole()
        self.sinks = [JsonlSink(self.checkpoint_dir / "metrics.jsonl"), *sinks]
        self.progress = Progress()
        self.model = model.to(self.device)
        if self.options.compile:
            for layer in self.model.layers:
                layer.compile()
        self.optimizer = create_optimizer(self.model, self.options.optimizer)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: self._learning_rate_fraction(step))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.options.precision == "float16")

    @property
    def train_losses(self) -> list[float]:
        return self.progress.train_losses

    @property
    def val_losses(self) -> list[float]:
        return self.progress.val_losses

    @property
    def best_val_loss(self) -> float:
        return self.progress.best_val_loss

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.order) // self.options.accumulation_steps)

    @property
    def total_steps(self) -> int:
        return self.progress.planned_epochs * self.steps_per_epoch

    def _learning_rate_fraction(self, step: int) -> float:
        return learning_rate_fraction(step, self.total_steps, self.options.optimizer)

    def train(self, num_epochs: int | None = None) -> None:
        """Train for ``num_epochs`` more epochs; without a number, finish what the loaded checkpoint had planned.

        An interrupted run that goes on without a number continues its curve exactly. With a number the learning rate
        is planned anew, up to the new end.

        Raises:
            TrainingInterrupted: after Ctrl-C or SIGTERM, when all is saved.
            NonFiniteLoss, OutOfMemory, CheckpointError: see there.
        """
        progress = self.progress
        if num_epochs is not None:
            if num_epochs < 1:
                raise ConfigError(f"num_epochs is {num_epochs}, expected at least 1")
            progress.planned_epochs = progress.epoch + num_epochs
        elif progress.planned_epochs == 0:
            raise ValueError("num_epochs is missing: train(num_epochs=10), or load a checkpoint first to go on with its plan")
        self._set_learning_rate()
        self._steps_here = 0
        for sink in self.sinks:
            sink.rewind(progress.step)
        started = time.monotonic()
        with StopSignals() as signals, self.console:
            self._announce()
            try:
                while progress.epoch < progress.planned_epochs:
                    self._run_epoch(signals)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise out_of_memory(*self._memory_question()) from error
                raise
            finally:
                for sink in self.sinks:
                    sink.close()
        self.console.print(f"\nTraining complete! Total time: {(time.monotonic() - started) / 60:.1f} minutes")
        self.console.print(f"Best validation loss: {self.best_val_loss:.4f}" if self.val_losses else "No validation set")

    def load_newest(self) -> None:
        """Load the newest checkpoint in ``checkpoint_dir``.

        Raises:
            CheckpointError: there is none.
            CheckpointMismatch: it is of another model, or of other data.
        """
        path = latest_checkpoint(self.checkpoint_dir, lambda error: self.console.print(f"Passed over: {error}"))
        if path is None:
            raise CheckpointError(f"nothing to resume: {self.checkpoint_dir} holds no checkpoint that can be read")
        self._load(path, same_data=True)
        self.console.print(f"Resuming from {display_path(path)}")

    def train_until(self, num_epochs: int | None = None) -> None:
        """Train up to ``num_epochs`` in all, or as far as was planned; do nothing where that is done already."""
        progress = self.progress
        if num_epochs and progress.planned_epochs not in (0, num_epochs):
            self.console.print(
                f"The plan was {progress.planned_epochs} epochs, now it is {num_epochs}: the learning rate follows"
            )
        progress.planned_epochs = num_epochs or progress.planned_epochs
        if progress.step and progress.epoch >= progress.planned_epochs:
            self.console.print(f"All {progress.planned_epochs} epochs are done; ask for more to train on.")
        else:
            self.train()

    def resume(self, num_epochs: int | None = None) -> None:
        """Go on from the newest checkpoint in ``checkpoint_dir``, up to ``num_epochs`` in all (or as it had planned)."""
        self.load_newest()
        self.train_until(num_epochs)

    def _memory_question(self) -> tuple[MathTransformerConfig, int, int, torch.device, str]:
        return (self.model.config, self.order.batch_size, self.dataset.longest, self.device, self.options.precision)

    def _announce(self) -> None:
        progress = self.progress
        self.console.print(f"\nStarting training for {progress.planned_epochs - progress.epoch} epochs...")
        if progress.step:
            self.console.print(
                f"Going on after step {progress.step} (epoch {progress.epoch + 1}, batch {progress.batches_in_epoch})"
            )
        self.console.print(f"Device: {self.device.type}\nModel parameters: {self.model.num_parameters:,}")
        self.console.start(self.total_steps, progress.step)

    def _run_epoch(self, signals: StopSignals) -> None:
        progress, options, started = self.progress, self.options, time.monotonic()
        self.console.print(f"\nEpoch {progress.epoch + 1}/{progress.planned_epochs}\n{'-' * 60}")
        for batches in self._steps_left_in_epoch():
            self._logged_step(batches)
            last = progress.batches_in_epoch >= len(self.order)
            if options.validate_every_steps and progress.step % options.validate_every_steps == 0 and not last:
                self._keep_if_best(self._validate())
            if signals.received:  # after the validation, which a resumed run would not make up for
                self._stop(signals.received)
            if options.checkpoints.save_every_steps and progress.step % options.checkpoints.save_every_steps == 0 and not last:
                self.save_checkpoint("latest.pt")
        self._end_epoch(time.monotonic() - started)

    def _steps_left_in_epoch(self) -> Iterator[list[Batch]]:
        """The batches of each step, from where the run stands: the order is a function of (seed, epoch, batch)."""
        self.order.epoch, self.order.start = self.progress.epoch, self.progress.batches_in_epoch
        batches = iter(self.train_loader)
        while group := list(islice(batches, self.options.accumulation_steps)):
            yield group

    def _logged_step(self, batches: list[Batch]) -> None:
        progress, started = self.progress, time.monotonic()
        rate = float(self.scheduler.get_last_lr()[0])
        loss, norm, count = self._step(batches)
        seconds = time.monotonic() - started
        self._steps_here += 1
        num_tokens = sum(int((batch["input_ids"] != self.model.config.pad_token_id).sum()) for batch in batches)
        speed = num_tokens / seconds
        progress.step += 1
        progress.batches_in_epoch += len(batches)
        progress.epoch_loss_sum += loss * count
        progress.epoch_loss_count += count
        row = {"loss": loss, "gradient_norm": norm, "learning_rate": rate, "tokens": num_tokens, "seconds": seconds}
        if not self.options.compile or self._steps_here > COMPILING_STEPS:
            row["tokens_per_second"] = speed
        self._log(**row)
        self.console.step(progress.step, loss, rate, speed)
        if progress.step % self.options.log_every_steps == 0:
            mean = progress.epoch_loss_sum / progress.epoch_loss_count
            self.console.print(f"  Step {progress.step:4d} | Loss: {loss:.4f} | Avg Loss: {mean:.4f} | LR: {rate:.2e}")

    def _step(self, batches: list[Batch]) -> tuple[float, float, int]:
        """One optimizer step: mean loss over all targets of ``batches``, gradient norm before clipping, targets."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)  # also what a step left that was stopped half way
        count = sum(int((batch["targets"] != IGNORED).sum()) for batch in batches)
        if count == 0:
            raise TrainingError(f"step {self.progress.step + 1} has no token to learn from ({self._names(batches)})")
        sums = []
        for batch in batches:
            loss_sum, _ = self._loss(batch)
            self.scaler.scale(loss_sum / count).backward()
            sums.append(loss_sum.detach())
        total = float(sum(sums))  # the device is asked once a step
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.optimizer.max_gradient_norm).item()
        # float16 overflows now and then: the scaler then skips the step and turns its scale down.
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
        if not (torch.isfinite(torch.tensor(total)) and (torch.isfinite(torch.tensor(norm)) or overflow)):
            self._refuse(total / count, norm, batches)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        return total / count, norm, count

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = _DTYPES[self.options.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            on_device = {
                name: tensor.to(self.device, non_blocking=True) for name, tensor in cast(dict[str, torch.Tensor], batch).items()
            }
            hidden_BTD = self.model.hidden_states(
                on_device["input_ids"], on_device.get("document_ids"), on_device.get("position_ids")
            )
            return next_token_loss(hidden_BTD, self.model.output_weight, on_device["targets"])

    def _refuse(self, loss: float, norm: float, batches: list[Batch]) -> None:
        progress = self.progress
        raise NonFiniteLoss(
            f"loss {loss} and gradient norm {norm} at step {progress.step + 1} (epoch {progress.epoch + 1}; "
            f"{self._names(batches)}): the weights are still those of step {progress.step}, and every checkpoint in "
            f"{self.checkpoint_dir} is from before. Turn down learning_rate (now {self.options.optimizer.learning_rate:g}), "
            "or look at those problems."
        )

    def _names(self, batches: list[Batch]) -> str:
        names = [name for batch in batches for row in batch["rows"].tolist() for name in self.dataset.names(row)]
        return "problems " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    @torch.no_grad()
    def evaluate(self) -> float | None:
        """Mean loss over all targets of the validation set, in nats; None without one."""
        if self.val_loader is None:
            return None
        self.model.eval()
        sums, counts = zip(*(self._loss(batch) for batch in self.val_loader), strict=True)
        return float(sum(sums)) / max(int(sum(counts)), 1)

    def _validate(self) -> float | None:
        loss = self.evaluate()
        if loss is not None:
            self._log(validation_loss=loss)
            self.console.print(f"  Val Loss:   {loss:.4f}")
        return loss

    def _keep_if_best(self, loss: float | None) -> None:
        if loss is not None and loss < self.progress.best_val_loss:
            self.progress.best_val_loss = loss
            self.save_checkpoint("best_model.pt")
            self.console.print(f"  New best model! ({'Val' if self.val_loader else 'Train'} Loss: {loss:.4f})")

    def _end_epoch(self, seconds: float) -> None:
        progress = self.progress
        train_loss = progress.epoch_loss_sum / progress.epoch_loss_count
        progress.train_losses.append(train_loss)
        progress.epoch, progress.batches_in_epoch = progress.epoch + 1, 0
        progress.epoch_loss_sum, progress.epoch_loss_count = 0.0, 0
        self.console.print(f"\n  Train Loss: {train_loss:.4f}")
        val_loss = self._validate()
        if val_loss is not None:
            progress.val_losses.append(val_loss)
        self.console.print(f"  Time:       {seconds:.1f}s")
        self._keep_if_best(train_loss if val_loss is None else val_loss)
        if progress.epoch % self.options.checkpoints.save_every_epochs == 0 or progress.epoch == progress.planned_epochs:
            self.save_checkpoint(f"checkpoint_epoch_{progress.epoch}.pt")

    def _stop(self, number: int) -> None:
        path = self.save_checkpoint("latest.pt")
        message = f"Stopped after step {self.progress.step}; nothing is lost. To go on: load {path} and train, or add --resume."
        self.console.print(f"\n{message}")
        raise TrainingInterrupted(message, exit_code=128 + number)

    def _log(self, **numbers: float) -> None:
        epochs = self.progress.step / self.steps_per_epoch
        row = {"step": self.progress.step, "epoch": round(epochs, 4), **numbers}
        for sink in self.sinks:
            sink.log(row)

    def save_checkpoint(self, name: str = "latest.pt") -> Path:
        """Write everything that a run needs to go on into ``checkpoint_dir / name``, whole or not at all.

        Raises:
            CheckpointError: it can't be written; what was there before still is.
        """
        path = self.checkpoint_dir / name
        state = {
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "scaler_state_dict": self.scaler.state_dict(),
            **asdict(self.progress),
            "config": self.model.config.model_dump(),
            "options": self.options.model_dump(mode="json"),
            "seed": self.order.seed,
            "batch_size": self.order.batch_size,
            "data_fingerprint": self.dataset.fingerprint,
            "tokenizer": self.dataset.tokenizer.json,
        }
        write_checkpoint(path, state)
        self.console.print(f"  Saved checkpoint to {display_path(path)}")
        return path

    def load_checkpoint(self, name: str | os.PathLike[str] = "best_model.pt") -> None:
        """Take over weights, optimizer and progress; ``name`` is a file in ``checkpoint_dir``, or a path.

        Raises:
            CheckpointError: the file is missing, damaged, or holds code.
            CheckpointMismatch: it is of another architecture, vocabulary, or (within an epoch) of other data.
        """
        inside = self.checkpoint_dir / name
        self._load(inside if inside.exists() or not Path(name).exists() else Path(name), same_data=False)

    def _load(self, path: Path, same_data: bool) -> None:
        """Check everything first, then change anything."""
        state = read_checkpoint(path)
        check_architecture(path, state["config"], self.model.config)
        now = {"data": self.dataset.fingerprint, "seed": self.order.seed, "batch_size": self.order.batch_size}
        saved = {"data": state["data_fingerprint"], "seed": state["seed"], "batch_size": state["batch_size"]}
        changed = ", ".join(name for name in now if now[name] != saved[name])
        if state["batches_in_epoch"] and changed:
            raise CheckpointMismatch(
                f"{path} was written within an epoch, and since then the {changed} changed: the rest of that epoch can't "
                "be known. Resume with the same, or start a new run"
            )
        if same_data and now["data"] != saved["data"]:
            raise CheckpointMismatch(
                f"{path} was trained on other data than this: resume with the same, or train on from its weights with "
                "Trainer.load_checkpoint at an epoch's end"
            )
        try:
            self.model.load_state_dict(state["model_state_dict"])
            self.optimizer.load_state_dict(state["optimizer_state_dict"])
            self.scheduler.load_state_dict(state["scheduler_state_dict"])
            self.scaler.load_state_dict(state["scaler_state_dict"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} does not fit this model and optimizer: {error}") from error
        self.progress = Progress(**{name: state[name] for name in asdict(Progress())})

    def _set_learning_rate(self) -> None:
        """Give the optimizer the rate of the coming step (and the weight decay), under plan and options as they are now."""
        progress, options = self.progress, self.options.optimizer
        # Not progress.step: with other batches than now, the epochs behind may have taken more steps, or fewer.
        done = progress.epoch * self.steps_per_epoch + -(-progress.batches_in_epoch // self.options.accumulation_steps)
        self.scheduler.base_lrs = [options.learning_rate] * len(self.optimizer.param_groups)
        for group in self.optimizer.param_groups:
            group["initial_lr"], group["lr"] = options.learning_rate, options.learning_rate * self._learning_rate_fraction(done)
        self.optimizer.param_groups[0]["weight_decay"] = options.weight_decay
        self.scheduler.last_epoch = done
        self.scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]

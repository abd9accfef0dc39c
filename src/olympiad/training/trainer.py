"""The training loop: batches -> checkpoints, on one process or many.

    for each step:  accumulation_steps batches ─ count targets ─ backward(sum / count) each ─ clip ─ optimizer ─ log
    each epoch:     validate ─ best_model if better ─ checkpoint_epoch_N now and then

The loss of a step is the mean over all of its targets, however they are spread over batches and processes: the count is
known before the first backward pass, so the layout can't change the result.
"""

# B batch, T positions

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from olympiad.config import ConfigError, TrainingOptions
from olympiad.data import Batch
from olympiad.model import MathTransformerDecoder

from .checkpoint import check_architecture
from .console import RunConsole
from .errors import CheckpointError, CheckpointMismatch, NonFiniteLoss, TrainingError, TrainingInterrupted, lost_peer
from .hardware import memory_in_use, peak_flops
from .health import LONGEST_SPIKE, is_spike, remember
from .inputs import display_path, grouped_ahead, loader_parts
from .interruption import StopSignals
from .keeping import Keeper, find_checkpoint
from .layout import Layout, start_layout
from .learner import Learner
from .loading import adapted_model
from .lora import lora_options, merge_lora
from .memory import flops_per_position, is_out_of_memory, out_of_memory
from .metrics import JsonlSink, MetricsSink
from .optimizer import learning_rate_fraction
from .parallel import reshard
from .progress import Progress
from .samples import sample_solutions
from .slices import copy_own_slice
from .state import Saved, check_same_data, flat_tensors, latest_checkpoint, load_averaged, open_checkpoint, take_over
from .validation import evaluate

Loader = DataLoader[Any]

COMPILING_STEPS = 3  # with torch.compile the first steps compile rather than train: their speed is no speed


class Trainer:
    """Trains a model, on one device or, under ``torchrun``, on as many as ``options.layout`` says.

    Args:
        model: laid out in place. One on the "meta" device gets its initial weights from the seed of the data's order.
        train_loader: from :func:`olympiad.data.create_dataloader`; of each batch every rank takes its share.
        val_loader: likewise, or several by name; without any the training loss picks the best model.
        options: optimizer, layout, precision, what to log and save when.
        checkpoint_dir: where checkpoints go.
        device: "cuda" where there is one, else "cpu", if absent.
        sinks: more places for the metrics.
        metrics_dir: where ``metrics.jsonl`` goes; with the checkpoints if absent.
        layout: of :func:`start_layout`, if it was called already.

    Attributes:
        train_losses, val_losses: mean loss over targets, in nats, one entry an epoch.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        train_loader: Loader,
        val_loader: Loader | Mapping[str, Loader] | None = None,
        options: TrainingOptions | None = None,
        checkpoint_dir: str | os.PathLike[str] = "checkpoints/baseline",
        device: str | torch.device | None = None,
        sinks: Sequence[MetricsSink] = (),
        console: RunConsole | None = None,
        metrics_dir: str | os.PathLike[str] | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.options = options or TrainingOptions()
        self.layout = layout or start_layout(self.options.layout, device, self.options.health.timeout_seconds)
        self.device = self.layout.device
        self.train_loader = train_loader
        self.dataset, self.order = self._sliced(train_loader, model)
        self.val_loaders = dict(val_loader) if isinstance(val_loader, Mapping) else {"": val_loader} if val_loader else {}
        for loader in self.val_loaders.values():
            self._sliced(loader, model)
        self.checkpoint_dir = Path(checkpoint_dir)
        self.console = console or RunConsole(quiet=not self.layout.is_first)
        metrics = Path(metrics_dir or checkpoint_dir) / "metrics.jsonl"
        self.sinks = [JsonlSink(metrics), *sinks] if self.layout.is_first else []
        self.progress = Progress()
        self.keeper = Keeper(self.checkpoint_dir, self.options.checkpoints, self.layout, self.console.print)
        longest = max(loader.dataset.longest for loader in (train_loader, *self.val_loaders.values()))  # type: ignore[attr-defined]
        self.learner = Learner(model, self.layout, self.options, self.order.batch_size, longest, self.order.seed)
        self.model, self.optimizer, self.compute = self.learner.model, self.learner.optimizer, self.learner.compute
        self._schedule_step = 0
        self._check_same_everywhere()

    def _sliced(self, loader: Loader, model: MathTransformerDecoder) -> Any:
        """The parts of a loader, which from now on gives this rank's rows only."""
        dataset, order = loader_parts(loader, model.config.context_limit)
        order.rank, order.world_size = self.layout.data_rank, self.layout.data_size
        loader.pin_memory = self.device.type == "cuda"
        return dataset, order

    def _check_same_everywhere(self) -> None:
        """All ranks have to cut their shares out of one and the same data."""
        larger = [name for name, each in self.val_loaders.items() if each.batch_sampler.batch_size > self.order.batch_size]  # type: ignore[union-attr]
        if larger and self.layout.mesh is not None:
            raise ConfigError(f"validation batches may not be larger than those of training ({self.order.batch_size} rows)")
        fingerprints = [loader.dataset.fingerprint for loader in self.val_loaders.values()]  # type: ignore[attr-defined]
        own = (self.dataset.fingerprint, self.order.seed, self.order.batch_size, *fingerprints)
        others = self.layout.gather(own)
        different = [rank for rank, each in enumerate(others) if each != others[0]]
        if different:
            raise ConfigError(
                f"processes {', '.join(map(str, different))} have other data, another seed or other batches than process 0: "
                "give all machines the same files and the same recipe"
            )

    @property
    def val_loader(self) -> Loader | None:
        """The first validation set's loader."""
        return next(iter(self.val_loaders.values()), None)

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
        by_epochs = self.progress.planned_epochs * self.steps_per_epoch
        return min(self.progress.planned_steps or by_epochs, by_epochs)

    def train(self, num_epochs: int | None = None, num_steps: int | None = None) -> None:
        """Train for ``num_epochs`` more epochs; without a number, finish what the loaded checkpoint had planned.

        An interrupted run that goes on without a number continues its curve exactly. With a number the learning rate
        is planned anew, up to the new end.

        Args:
            num_steps: end after so many steps in all, if that is sooner.

        Raises:
            TrainingInterrupted: after Ctrl-C or SIGTERM, when all is saved.
            NonFiniteLoss, OutOfMemory, CheckpointError: see there.
        """
        progress = self.progress
        if num_epochs is not None:
            if num_epochs < 1:
                raise ConfigError(f"num_epochs is {num_epochs}, expected at least 1")
            progress.planned_epochs, progress.planned_steps = progress.epoch + num_epochs, 0
        elif progress.planned_epochs == 0:
            raise ValueError("num_epochs is missing: train(num_epochs=10), or load a checkpoint first to go on with its plan")
        progress.planned_steps = num_steps or progress.planned_steps
        self._set_learning_rate()
        self._steps_here = 0
        started = time.monotonic()
        with self.keeper.alone(), StopSignals() as signals, self.console:
            for sink in self.sinks:
                sink.rewind(progress.step)
            self._announce()
            try:
                while not self._finished:
                    self._run_epoch(signals)
                self.keeper.settle()
            except (RuntimeError, MemoryError) as error:
                raise self._explained(error) from error
            finally:
                for sink in self.sinks:
                    sink.close()
        self.console.print(f"\nTraining complete! Total time: {(time.monotonic() - started) / 60:.1f} minutes")
        self.console.print(f"Best validation loss: {self.best_val_loss:.4f}" if self.val_losses else "No validation set")

    @property
    def _finished(self) -> bool:
        progress = self.progress
        return progress.epoch >= progress.planned_epochs or 0 < progress.planned_steps <= progress.step

    def _explained(self, error: BaseException) -> BaseException:
        """The error in words that help, where there are some."""
        if is_out_of_memory(error):
            config, order, options = self.model.config, self.order, self.options
            micro_batch, sizes = self.compute.micro_batch, self.layout.sizes
            longest, steps = self.dataset.longest, options.accumulation_steps
            return out_of_memory(config, order.batch_size, longest, self.device, options.precision, sizes, micro_batch, steps)
        if self.layout.mesh is not None and lost_peer(error):
            return TrainingError(
                f"process {self.layout.rank} lost the others at step {self.progress.step + 1} ({str(error).partition(chr(10))[0]:.200}): "
                "one died or did not answer in time. Start all again with --resume auto; torchrun --max-restarts does so"
            )
        return error

    def load_newest(self) -> None:
        """Load the newest checkpoint in ``checkpoint_dir`` that is whole, byte for byte; else that of the remote storage.

        Raises:
            CheckpointError: there is none.
            CheckpointMismatch: it is of another model, or of other data.
        """

        def passed_over(error: CheckpointError) -> None:
            self.console.print(f"Passed over: {error}")

        path = latest_checkpoint(self.checkpoint_dir, passed_over, self.layout) or self.keeper.fetch(passed_over)
        if path is None:
            raise CheckpointError(f"nothing to resume: {self.checkpoint_dir} holds no checkpoint that can be read")
        self._load(path, same_data=True)
        self.console.print(f"Resuming from {display_path(path)}")

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Begin with the weights of a checkpoint (averaged ones, if it has some) and nothing else of it.

        Raises:
            CheckpointError, CheckpointMismatch: it is of another architecture or vocabulary, or damaged.
        """
        saved = open_checkpoint(Path(path))
        check_architecture(saved.path, saved.facts["config"], self.model.config)
        self._check_tokenizer(saved)
        if saved.facts.get("lora"):  # its adapters are a part of what it computes
            whole = dict(merge_lora(adapted_model(saved)).named_parameters())
            reshard(self.model)
            for name, parameter in self.model.named_parameters():
                if name in whole:
                    copy_own_slice(parameter, whole[name])
        else:
            load_averaged(saved, self.model, self.layout, strict=lora_options(self.model) is None)
        self.learner.begin_average()
        self.console.print(f"Starting from the weights of {display_path(saved.path)}")

    def _check_tokenizer(self, saved: Saved) -> None:
        if saved.facts["tokenizer"] != self.dataset.tokenizer.json:
            raise CheckpointMismatch(
                f"{saved.path} was trained with another tokenizer, whose numbers mean other pieces of text: set data.tokenizer "
                "to its own (olympiad checkpoint inspect shows where it comes from), or train from scratch"
            )

    def train_until(self, num_epochs: int | None = None, num_steps: int | None = None) -> None:
        """Train up to ``num_epochs`` in all, or as far as was planned; do nothing where that is done already.

        Args:
            num_steps: end after so many steps in all, if that is sooner; 0: no more than the epochs say.
        """
        progress = self.progress
        if num_epochs and progress.planned_epochs not in (0, num_epochs):
            self.console.print(
                f"The plan was {progress.planned_epochs} epochs, now it is {num_epochs}: the learning rate follows"
            )
        progress.planned_epochs = num_epochs or progress.planned_epochs
        progress.planned_steps = progress.planned_steps if num_steps is None else num_steps
        if progress.step and self._finished:
            steps = progress.planned_steps and f"{progress.planned_steps} steps"
            self.console.print(f"All {steps or f'{progress.planned_epochs} epochs'} are done; ask for more to train on.")
        else:
            self.train()

    def resume(self, num_epochs: int | None = None) -> None:
        """Go on from the newest checkpoint in ``checkpoint_dir``, up to ``num_epochs`` in all (or as it had planned)."""
        self.load_newest()
        self.train_until(num_epochs)

    def _announce(self) -> None:
        progress = self.progress
        self.console.print(f"\nStarting training for {progress.planned_epochs - progress.epoch} epochs...")
        if progress.step:
            self.console.print(
                f"Going on after step {progress.step} (epoch {progress.epoch + 1}, batch {progress.batches_in_epoch})"
            )
        several = f" ({self.layout.describe()})" if self.layout.mesh is not None else ""
        self.console.print(f"Device: {self.device.type}{several}\nModel parameters: {self.learner.num_parameters:,}")
        self.console.start(self.total_steps, progress.step)

    def _run_epoch(self, signals: StopSignals) -> None:
        progress, options, started = self.progress, self.options, time.monotonic()
        self.console.print(f"\nEpoch {progress.epoch + 1}/{progress.planned_epochs}\n{'-' * 60}")
        waiting_since = time.monotonic()
        for batches in self._steps_left_in_epoch():
            stop = self._logged_step(batches, signals, waiting_since)
            if self.layout.mesh is None:
                stop = signals.received  # alone, one need not wait for the next step to agree on it
            last = progress.batches_in_epoch >= len(self.order) or self._finished
            if _is_due(options.validate_every_steps, progress.step) and not last:
                self._keep_if_best(self._validate())
            if _is_due(options.sample_every_steps, progress.step):
                self._sample()
            if stop and not self._finished:  # after the validation, which a resumed run would not make up for
                self._stop(stop)
            if _is_due(options.checkpoints.save_every_steps, progress.step) and not last:
                self.save_checkpoint(f"step_{progress.step}", may_wait=True)
            if self._finished:
                break
            waiting_since = time.monotonic()
        self._end_epoch(time.monotonic() - started)

    def _steps_left_in_epoch(self) -> Iterator[list[Batch]]:
        """The batches of each step, from where the run stands: the order is a function of (seed, epoch, batch)."""
        self.order.epoch, self.order.start = self.progress.epoch, self.progress.batches_in_epoch
        return grouped_ahead(iter(self.train_loader), self.options.accumulation_steps, self.device)

    def _logged_step(self, batches: list[Batch], signals: StopSignals, waiting_since: float) -> int:
        """One step, into the metrics; the number of the signal by which any process was asked to stop, or 0."""
        progress, waited = self.progress, time.monotonic() - waiting_since
        rate = float(self.optimizer.param_groups[0]["lr"])
        numbers = self._step(batches, signals)
        stop, count = int(numbers.pop("stop")), int(numbers["targets"])
        seconds = time.monotonic() - waiting_since  # a loader that is too slow makes slow steps
        self._steps_here += 1
        progress.step += 1
        progress.batches_in_epoch += len(batches)
        progress.num_tokens += int(numbers["tokens"])
        row = {
            **numbers,
            "planned_steps": self.total_steps,
            "learning_rate": rate,
            "seconds": seconds,
            "data_seconds": waited,
            "memory_bytes": memory_in_use(self.device),
        }
        speed = numbers["tokens"] / seconds
        if not self.options.compile or self._steps_here > COMPILING_STEPS:
            row |= {"tokens_per_second": speed, **self._utilisation(numbers["tokens"], count, seconds)}
        self._log(**row)
        if "event" not in numbers:
            progress.epoch_loss_sum += numbers["loss"] * count
            progress.epoch_loss_count += count
        self.console.step(progress.step, numbers["loss"], rate, speed)
        if progress.step % self.options.log_every_steps == 0:
            mean = progress.epoch_loss_sum / max(progress.epoch_loss_count, 1)
            loss = f"Loss: {numbers['loss']:.4f} | Avg Loss: {mean:.4f}"
            self.console.print(f"  Step {progress.step:4d} | {loss} | LR: {rate:.2e}")
        return stop

    def _utilisation(self, tokens: int, targets: int, seconds: float) -> dict[str, float]:
        peak = peak_flops(self.device.type, self.options.precision)
        if peak is None:
            return {}
        length = round(self.dataset.num_tokens / self.dataset.num_documents)  # attention stays inside a document
        body, head = flops_per_position(self.model.config, length)
        done = tokens * body + targets * head  # logits are made where there is a target only
        return {"mfu": done / seconds / (peak * self.layout.world_size)}

    def _step(self, batches: list[Batch], signals: StopSignals) -> dict[str, Any]:
        """One optimizer step: loss (mean over all targets), gradient norm before clipping, tokens, targets."""
        count, tokens = self.learner.count(batches)
        if count == 0:
            raise TrainingError(f"step {self.progress.step + 1} has no token to learn from ({self._names(batches)})")
        watched = _is_due(self.options.health.norms_every_steps, self.progress.step + 1)
        own_sum, norm = self.learner.gradients(batches, count, watched)
        total, *stops, ready = self.layout.sum([own_sum, *_signal(signals.received), float(self.keeper.ready)])
        stop = next((number for number, seen in zip(_SIGNALS, stops, strict=True) if seen), 0)
        loss = total / count
        if not (math.isfinite(loss) and (math.isfinite(norm) or self.learner.overflow_is_normal())):
            self._refuse(loss, norm, batches)
        numbers: dict[str, Any] = {"loss": loss, "gradient_norm": norm, "tokens": tokens, "targets": count, "stop": stop}
        numbers |= self.learner.norms.read() if watched else {}
        if is_spike(self.progress.recent, loss, norm, self.options.health):
            numbers["event"] = self._leave_out(loss, norm)
        else:
            remember(self.progress.recent, loss, norm, self.options.health)
            self.progress.spikes_in_a_row = 0
            self.learner.update(norm)
        self._schedule_step += 1
        self._apply_learning_rate()
        if self.keeper.waiting and ready == self.layout.world_size:
            self.keeper.settle()
        return numbers

    def _leave_out(self, loss: float, norm: float) -> str:
        """Do not take this step, and, if so asked, go back to the weights of the last checkpoint."""
        progress, choice = self.progress, self.options.health.spike
        progress.spikes_in_a_row += 1
        if progress.spikes_in_a_row > LONGEST_SPIKE:
            raise TrainingError(
                f"{LONGEST_SPIKE} spikes in a row up to step {progress.step + 1} (loss {loss:.4f}, gradient norm {norm:.3g}): "
                'this is no spike any more. Resume with a lower optimizer.learning_rate, or with health.spike = "ignore"'
            )
        self.console.print(f"  Spike at step {progress.step + 1}: loss {loss:.4f}, gradient norm {norm:.3g}; step left out")
        self.learner.leave_out()
        if choice == "rollback":
            self.keeper.settle()
            path = latest_checkpoint(self.checkpoint_dir, layout=self.layout, until=progress)
            if path is not None:
                self._take_over(open_checkpoint(path))
                self.console.print(f"  Weights are again those of {display_path(path)}; the data goes on from here")
        return "spike"

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

    def evaluate(self) -> float | None:
        """Mean loss over all targets of the validation sets, in nats; None without any."""
        return self._evaluation().get("validation_loss")

    def _evaluation(self) -> dict[str, float]:
        with self.learner.average.swapped_in(self.model) if self.learner.average is not None else nullcontext():
            return evaluate(self.compute, self.val_loaders)

    def _validate(self) -> float | None:
        numbers = self._evaluation()
        if not numbers:
            return None
        self._log(**numbers)
        loss = numbers["validation_loss"]
        self.console.print(f"  Val Loss:   {loss:.4f}")
        return loss

    def _sample(self) -> None:
        if self.val_loader is None or self.layout.mesh is not None:
            return  # the whole model is on no single process
        with self.learner.average.swapped_in(self.model) if self.learner.average is not None else nullcontext():
            samples = sample_solutions(self.model, self.val_loader.dataset, self.device)  # type: ignore[arg-type]
        self._log(samples=samples)

    def _keep_if_best(self, loss: float | None) -> None:
        if loss is not None and loss < self.progress.best_val_loss:
            self.progress.best_val_loss = loss
            self.save_checkpoint("best_model")
            self.console.print(f"  New best model! ({'Val' if self.val_loaders else 'Train'} Loss: {loss:.4f})")

    def _end_epoch(self, seconds: float) -> None:
        """Validate and save; an epoch that the plan ends within is not counted as one."""
        progress = self.progress
        train_loss = progress.epoch_loss_sum / max(progress.epoch_loss_count, 1)
        whole = progress.batches_in_epoch >= len(self.order)
        if whole:
            progress.train_losses.append(train_loss)
            progress.epoch, progress.batches_in_epoch = progress.epoch + 1, 0
            progress.epoch_loss_sum, progress.epoch_loss_count = 0.0, 0
        self.console.print(f"\n  Train Loss: {train_loss:.4f}")
        val_loss = self._validate()
        if val_loss is not None:
            progress.val_losses.append(val_loss)
        self.console.print(f"  Time:       {seconds:.1f}s")
        self._keep_if_best(train_loss if val_loss is None else val_loss)
        saving = self.options.checkpoints
        if whole and (progress.epoch % saving.save_every_epochs == 0 or self._finished):
            self.save_checkpoint(f"checkpoint_epoch_{progress.epoch}")
        elif not whole or _is_due(saving.save_every_steps, progress.step):
            self.save_checkpoint(f"step_{progress.step}")

    def _stop(self, number: int) -> None:
        path = self.save_checkpoint(f"step_{self.progress.step}")
        message = f"Stopped after step {self.progress.step}; nothing is lost. To go on: load {path} and train, or add --resume."
        self.console.print(f"\n{message}")
        raise TrainingInterrupted(message, exit_code=128 + number)

    def _log(self, **numbers: Any) -> None:
        epochs = self.progress.step / self.steps_per_epoch
        row = {"step": self.progress.step, "epoch": round(epochs, 4), **numbers}
        for sink in self.sinks:
            sink.log(row)

    def save_checkpoint(self, name: str, may_wait: bool = False) -> Path:
        """Write everything that a run needs to go on into ``checkpoint_dir / name``, whole or not at all.

        Raises:
            CheckpointError: it can't be written; what was there before still is.
        """
        average = self.learner.average.tensors if self.learner.average else None
        facts = {
            "scheduler_state_dict": {"step": self._schedule_step, "total_steps": self.total_steps},
            "scaler_state_dict": self.compute.scaler.state_dict(),
            **asdict(self.progress),
            "average_updates": self.learner.average.num_updates if self.learner.average else 0,
            "config": self.model.config.model_dump(),
            "lora": adapters.model_dump(mode="json") if (adapters := lora_options(self.model)) else None,
            "options": self.options.model_dump(mode="json"),
            "seed": self.order.seed,
            "batch_size": self.order.batch_size,
            "data_fingerprint": self.dataset.fingerprint,
            "tokenizer": self.dataset.tokenizer.json,
        }
        return self.keeper.save(name, self.progress.step, flat_tensors(self.model, self.optimizer, average), facts, may_wait)

    def load_checkpoint(self, name: str | os.PathLike[str] = "best_model.pt") -> None:
        """Take over weights, optimizer and progress; ``name`` is one in ``checkpoint_dir``, or a path.

        Raises:
            CheckpointError: it is missing, damaged, or holds code.
            CheckpointMismatch: it is of another architecture, vocabulary, or (within an epoch) of other data.
        """
        self._load(self.layout.agree(find_checkpoint(self.checkpoint_dir, os.fspath(name))), same_data=False)
        self.progress.run_started = time.time()  # a branch of its own: what came after that checkpoint is left behind

    def _load(self, path: Path, same_data: bool) -> None:
        """Check everything first, then change anything."""
        saved = open_checkpoint(path)
        facts = saved.facts
        check_architecture(path, facts["config"], self.model.config)
        now = {"data": self.dataset.fingerprint, "seed": self.order.seed, "batch_size": self.order.batch_size}
        self._check_tokenizer(saved)
        check_same_data(saved, now, same_data)
        self._take_over(saved)
        if facts["scaler_state_dict"]:  # empty where the run was in another precision
            self.compute.scaler.load_state_dict(facts["scaler_state_dict"])
        self.progress = Progress(**{name: facts[name] for name in asdict(Progress())})
        if self.learner.average is not None:
            self.learner.average.num_updates = facts["average_updates"]

    def _take_over(self, saved: Saved) -> None:
        kind = self.options.optimizer.kind
        average = self.learner.average.tensors if self.learner.average else None
        take_over(saved, self.model, self.optimizer, kind, average, self.layout)

    def _set_learning_rate(self) -> None:
        """Give the optimizer the rate of the coming step (and the weight decay), under plan and options as they are now."""
        progress = self.progress
        # Not progress.step: with other batches than now, the epochs behind may have taken more steps, or fewer.
        batches = progress.batches_in_epoch
        self._schedule_step = progress.epoch * self.steps_per_epoch + -(-batches // self.options.accumulation_steps)
        self._apply_learning_rate()

    def _apply_learning_rate(self) -> None:
        fraction = learning_rate_fraction(self._schedule_step, self.total_steps, self.options.optimizer)
        self.learner.set_learning_rate(self.options.optimizer.learning_rate * fraction)


_SIGNALS = (2, 15)


def _signal(received: int) -> list[float]:
    """Which of the signals that stop a run has come, as numbers that can be summed over ranks."""
    return [float(received == number) for number in _SIGNALS]


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0

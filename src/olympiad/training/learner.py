"""A model, laid out over the processes, and its optimizer: batches -> gradients -> new weights."""

# B rows, T positions

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from olympiad.config import ConfigError, TrainingOptions
from olympiad.data import IGNORED, Batch
from olympiad.model import MathTransformerDecoder

from .compute import Compute
from .gradients import gradient_norm, scale_gradients
from .health import LayerNorms
from .layout import Layout
from .memory import micro_batch_that_fits
from .optimizer import WeightAverage, create_optimizer
from .parallel import initialize_weights, lay_out
from .precision import check_precision


class Learner:
    """What a step does, apart from when, on which data, and what is written down.

    Args:
        model: laid out in place. One on the "meta" device gets its initial weights from ``seed``.
        batch_size: rows of a batch, all ranks together.
        longest: tokens of the longest text, in training and in validation.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        layout: Layout,
        options: TrainingOptions,
        batch_size: int,
        longest: int,
        seed: int,
    ) -> None:
        self.layout, self.options, self.batch_size, self.longest = layout, options, batch_size, longest
        check_precision(options.precision, layout.device, layout.sizes, model.config)
        if options.precision == "float16" and layout.mesh is not None:
            raise ConfigError("float16 scales its loss by what one process sees: with several, use bfloat16")
        empty = next(model.parameters()).is_meta
        with torch.device("meta"):
            whole = MathTransformerDecoder(model.config)
        self.num_parameters = whole.num_parameters
        self.model = lay_out(model, layout, options.compile, options.precision)
        if empty:
            initialize_weights(model, whole, layout, seed)
        self.optimizer = create_optimizer(self.model, options.optimizer)
        self.begin_average()
        self.norms = LayerNorms(self.model, layout)
        self.compute = self._compute(self._auto_micro_batch() if options.micro_batch == "auto" else options.micro_batch)

    def begin_average(self) -> None:
        """Average from the weights as they are now on, if that is asked for."""
        decay = self.options.optimizer.averaging
        self.average = WeightAverage(self.model, decay) if decay else None

    def _compute(self, micro_batch: int | None) -> Compute:
        rows, options = -(-self.batch_size // self.layout.data_size), self.options
        z_loss = options.optimizer.z_loss
        return Compute(self.model, self.layout, options.precision, rows, self.longest - 1, micro_batch, z_loss)

    def _auto_micro_batch(self) -> int:
        # Several ranks would have to run out of memory together, so they trust the estimate.
        attempt = self._attempt if self.layout.device.type == "cuda" and self.layout.mesh is None else None
        device, sizes = self.layout.device, self.layout.sizes
        fits = micro_batch_that_fits(
            self.model.config, self.batch_size, self.longest, device, self.options.precision, sizes, attempt
        )
        return min(self.layout.gather(fits))

    def _attempt(self, micro_batch: int) -> None:
        """The longest rows, forward, backward, and a first step at no learning rate, which makes the moments."""
        ones = torch.ones(micro_batch, self.longest - 1, dtype=torch.long)
        try:
            batch = Batch(input_ids=ones, targets=ones, rows=torch.zeros(0))
            self._compute(micro_batch).backward(batch, ones.numel())
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.state.clear()

    def count(self, batches: list[Batch]) -> tuple[int, int]:
        """Targets, and tokens without padding, of a step's batches over all ranks."""
        pad, twins = self.model.config.pad_token_id, self.layout.world_size // self.layout.data_size
        targets = float(sum((batch["targets"] != IGNORED).sum() for batch in batches))
        tokens = float(sum((batch["input_ids"] != pad).sum() for batch in batches))
        count, num_tokens = (int(each) // twins for each in self.layout.sum([targets, tokens]))
        return count, num_tokens

    def gradients(self, batches: list[Batch], count: int, watched: bool = False) -> tuple[float, float]:
        """Make the gradients of the mean loss over ``count`` targets: the sum of this rank's losses, the norm of all.

        The one place where a step waits for the device: nothing may change before both are known to be finite.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)  # also what a step left that was stopped half way
        with self.norms.watching() if watched else nullcontext():
            sums = [self.compute.backward(batch, count, batch is batches[-1]) for batch in batches]
        self.compute.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self._gradients(), self.layout)
        own_sum, length = torch.stack([torch.stack(sums).sum(), norm]).tolist()
        return own_sum, length

    def overflow_is_normal(self) -> bool:
        """float16 overflows now and then: the scaler then skips the step and turns its scale down."""
        return self.compute.scaler.is_enabled() and self.compute.scaler.get_scale() > 1.0

    def update(self, norm: float) -> None:
        """Shorten gradients of length ``norm`` to the longest that is allowed, and take the step."""
        longest = self.options.optimizer.max_gradient_norm
        if norm > longest:
            scale_gradients(self._gradients(), longest / (norm + 1e-6))
        self.compute.scaler.step(self.optimizer)
        self.compute.scaler.update()
        if self.average is not None:
            self.average.update(self.model)

    def leave_out(self) -> None:
        """Forget the gradients."""
        self.compute.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def set_learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

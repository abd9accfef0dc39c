"""Batches through a model that is laid out over processes: forward, backward, evaluation.

    batch ─ rows of this data rank ─ micro-batches ─ positions of this context rank ─ hidden states ─ loss of own positions

Whatever the layout, the gradient is that of the sum of all losses over the count of all targets.
"""

# B rows, T positions

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import get_schedule_class

from olympiad.config import ConfigError
from olympiad.data import IGNORED, Batch
from olympiad.model import MathTransformerDecoder

from .layout import Layout
from .loss import next_token_loss, sent
from .parallel import local_output_weight, reduce_gradients
from .precision import BLOCK, DTYPES


def padded_length(length: int, multiple: int, block: int, limit: int) -> int:
    """``length``, up to a multiple of ``multiple`` and, where ``limit`` leaves room, of ``block``.

    >>> [padded_length(length, 2, 64, 512) for length in (1, 64, 511)], padded_length(499, 2, 64, 500)
    ([64, 64, 512], 500)
    """
    whole = math.lcm(multiple, block)
    padded = -(-length // whole) * whole
    return padded if padded <= limit else -(-length // multiple) * multiple


class Compute:
    """Forward and backward passes of a laid-out model.

    Args:
        rows: of a batch, at most, on one data rank.
        micro_batch: rows computed at once; all of them if absent, or one for each stage of a pipeline.
        length: positions of the longest row: with a pipeline, all rows are padded to it.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        layout: Layout,
        precision: str,
        rows: int,
        length: int,
        micro_batch: int | None = None,
        z_loss: float = 0.0,
    ) -> None:
        self.model, self.layout, self.z_loss = model, layout, z_loss
        self.dtype = DTYPES[precision]
        stages = layout.sizes.pipeline
        self.micro_batch = min(micro_batch or max(rows // stages, 1), rows)
        self.num_micro_batches = -(-rows // self.micro_batch)
        if self.num_micro_batches < stages:
            raise ConfigError(
                f"pipeline = {stages}: a rank's {rows} rows make {self.num_micro_batches} micro-batches of {self.micro_batch}, "
                f"but every stage needs one to work on: set micro_batch to at most {max(rows // stages, 1)}, or a larger batch"
            )
        self.length = length
        self.block = BLOCK if layout.device.type == "cuda" else 1
        self.scaler = torch.amp.GradScaler(layout.device.type, enabled=precision == "float16")
        self._schedule: Any = None

    def backward(self, batch: Batch, count: int, last: bool = True) -> Tensor:
        """Add the gradient of this batch's loss over ``count``; the sum of losses over this rank's positions.

        Args:
            last: whether the step ends with this batch: gradients then meet those of other ranks.
        """
        divisor = count / self.layout.gradient_divisor
        if self.layout.sizes.pipeline > 1:
            return self._pipeline(batch, divisor, train=True)
        total = torch.zeros((), device=self.layout.device)
        pieces = list(self._pieces(batch))
        for number, piece in enumerate(pieces, 1):
            reduce_gradients(self.model, last and number == len(pieces))
            loss_sum = self._loss_sum(piece)
            self.scaler.scale(loss_sum / divisor).backward()
            total += loss_sum.detach()
        return total

    @torch.no_grad()
    def loss_sum(self, batch: Batch) -> Tensor:
        """The sum of losses over this rank's positions."""
        if self.layout.sizes.pipeline > 1:
            return self._pipeline(batch, 1.0, train=False)
        return torch.stack([self._loss_sum(piece) for piece in self._pieces(batch)]).sum()

    def _loss_sum(self, piece: dict[str, Tensor]) -> Tensor:
        with torch.autocast(self.layout.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            hidden_BTD = self.model.hidden_states(
                piece["input_ids"], piece.get("document_ids_BT"), piece.get("position_ids_BT")
            )
            return self._loss_of(hidden_BTD, piece["targets"])

    def _loss_of(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        return next_token_loss(hidden_BTD, local_output_weight(self.model), targets_BT, IGNORED, self.z_loss)[0]

    def _pieces(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """The micro-batches; with several ranks as many for each, so that all meet in every collective."""
        rows = len(batch["input_ids"])
        number = self.num_micro_batches if self.layout.mesh is not None else max(-(-rows // self.micro_batch), 1)
        for i in range(number):
            part = {
                name: tensor[i * self.micro_batch : (i + 1) * self.micro_batch]
                for name, tensor in cast(dict[str, Tensor], batch).items()
            }
            yield self._own(part)

    def _own(self, part: dict[str, Any], rows: int = 1, length: int = 0) -> dict[str, Tensor]:
        """What this rank computes of some rows, padded to at least so many rows and positions, on its device."""
        tensor, context = self.layout.sizes.tensor, self.layout.sizes.context
        ids, targets = part["input_ids"], part["targets"]
        longest = max(ids.shape[1], length, 1)
        positions = padded_length(longest, tensor * context, self.block, self.model.config.context_limit)
        pad = (0, positions - ids.shape[1], 0, max(rows - len(ids), 0))
        ids = F.pad(ids, pad, value=self.model.config.pad_token_id)
        targets = F.pad(targets, pad, value=IGNORED)
        here = slice(
            self.layout.place("context") * (positions // context), (self.layout.place("context") + 1) * (positions // context)
        )
        own_targets = targets[:, here].chunk(tensor, 1)[self.layout.place("tensor")]
        own = {"input_ids": ids[:, here], "targets": own_targets}
        if "document_ids" in part:
            own["document_ids_BT"] = F.pad(part["document_ids"], pad, value=-1)  # of all positions: context ranks look back
            own["position_ids_BT"] = F.pad(part["position_ids"], pad)[:, here]
        elif context > 1 or self.layout.sizes.pipeline > 1:
            own["position_ids_BT"] = torch.arange(positions)[None, here].expand(len(ids), -1)
        return {name: tensor if name == "targets" else sent(tensor, self.layout.device) for name, tensor in own.items()}

    def _pipeline(self, batch: Batch, divisor: float, train: bool) -> Tensor:
        """One batch through all stages; only the last one sees the loss."""
        own = self._own(dict(batch), self.num_micro_batches * self.micro_batch, self.length)
        if self._schedule is None:
            self._schedule = self._make_schedule()
        self._divisor = divisor
        arguments = (own["input_ids"],) if self.layout.place("pipeline") == 0 else ()
        losses: list[Tensor] = []
        last = {"target": own["targets"], "losses": losses} if self.layout.is_last_stage else {}
        named = {name: tensor for name, tensor in own.items() if name.endswith("_ids_BT")}
        run = self._schedule.step if train else self._schedule.eval
        with torch.autocast(self.layout.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            run(*arguments, **last, **named)
        return torch.stack(losses).sum().detach() * divisor if losses else torch.zeros((), device=self.layout.device)

    def _make_schedule(self) -> Any:
        layout = self.layout
        assert layout.mesh is not None
        stage = PipelineStage(
            self.model,
            layout.place("pipeline"),
            layout.sizes.pipeline,
            layout.device,
            group=layout.mesh.get_group("pipeline"),
        )
        schedule = get_schedule_class(layout.sizes.pipeline_schedule)
        return schedule(
            stage,
            self.num_micro_batches,
            loss_fn=lambda hidden, targets: self._loss_of(hidden, targets) / self._divisor,
            scale_grads=False,  # the loss is divided by the count of the whole step already
        )

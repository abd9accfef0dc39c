"""Signs that a run is going wrong: spikes of the loss, layers whose numbers grow."""

# B rows, T positions, D hidden size

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from olympiad.config import HealthOptions

from .gradients import gradient_norm
from .layout import Layout
from .parallel import PassThrough

#: So many spikes in a row are no spikes but the new level of the loss: leaving steps out won't help.
LONGEST_SPIKE = 20


def is_spike(recent: list[list[float]], loss: float, norm: float, options: HealthOptions) -> bool:
    """Whether loss or gradient norm lies more than ``spike_deviations`` standard deviations above the recent mean.

    Until ``spike_window`` steps are there to compare with, nothing is a spike.
    """
    if options.spike == "ignore" or len(recent) < options.spike_window:
        return False
    for now, before in zip((loss, norm), zip(*recent, strict=True), strict=True):
        mean = sum(before) / len(before)
        deviation = math.sqrt(sum((each - mean) ** 2 for each in before) / len(before))
        if now > mean + options.spike_deviations * max(deviation, 1e-3 * abs(mean)):  # a flat past is no reason
            return True
    return False


def remember(recent: list[list[float]], loss: float, norm: float, options: HealthOptions) -> None:
    """Add a step that was no spike to those that the next ones are compared with."""
    if options.spike != "ignore":
        recent.append([loss, norm])
        del recent[: -options.spike_window]


class LayerNorms:
    """Norms of each layer's gradients, and the root mean square of what it puts out, padding included."""

    def __init__(self, model: nn.Module, layout: Layout) -> None:
        self.layout = layout
        self.layers: nn.ModuleList = model.layers  # type: ignore[assignment]
        self._squares: dict[int, list[Any]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While entered, forward passes are looked at."""
        self._squares = {number: [0.0, 0.0] for number in range(len(self.layers))}
        hooks = [
            layer.register_forward_hook(self._hook(number))
            for number, layer in enumerate(self.layers)
            if not isinstance(layer, PassThrough)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, number: int) -> Any:
        def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._squares[number][0] += output.detach().float().square().sum().double()  # read when all is computed
            self._squares[number][1] += output.numel()

        return add

    def read(self) -> dict[str, float]:
        """``gradient_norm/layer_N`` and ``activation_rms/layer_N``, over all ranks; after the backward pass."""
        numbers: dict[str, float] = {}
        for number, layer in enumerate(self.layers):
            gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
            numbers[f"gradient_norm/layer_{number}"] = gradient_norm(gradients, self.layout).item()
            if self.layout.sizes.pipeline == 1:  # a pipeline also sends made-up batches through, to learn their shapes
                squares, count = self.layout.sum([float(each) for each in self._squares[number]])
                numbers[f"activation_rms/layer_{number}"] = math.sqrt(squares / count) if count else 0.0
        return numbers

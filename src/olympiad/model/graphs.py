"""The step of one token for each row as CUDA graphs: recorded once for each size, replayed without Python in between."""

# B rows, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import CacheWindow, KVCache

if TYPE_CHECKING:
    from .decoder import MathTransformerDecoder

READ_BY = 256  # positions read are rounded up to a multiple of this, and rows to a power of two, so that graphs are few


class StepGraphs:
    """Logits of the next token of the first slots.

    Rows that fill up a size write into the last position of slots that are free, which no prompt reaches.
    """

    def __init__(self, model: MathTransformerDecoder, cache: KVCache, vocabulary: int) -> None:
        self._model, self._cache, self._weight = model, cache, model.output_weight[:vocabulary]
        self._graphs: dict[tuple[int, int], tuple[Tensor, Callable[[], Tensor]]] = {}

    def logits(self, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """(B, V) behind one new id of each of the first slots; overwritten by the next call."""
        capacity = self._cache.capacity
        num_rows = min(1 << (len(ids) - 1).bit_length(), len(self._cache.lengths))
        longest = min(-(-(max(lengths) + 1) // READ_BY) * READ_BY, capacity)
        filling = num_rows - len(ids)
        values = torch.tensor([[*ids, *[0] * filling], [*lengths, *[capacity - 1] * filling]])
        size = (num_rows, longest)
        if size not in self._graphs:
            self._graphs[size] = self._record(values.to(self._weight.device), longest)
        inputs_2B, replay = self._graphs[size]
        inputs_2B.copy_(values)
        return replay()[: len(ids)]

    def _record(self, inputs_2B: Tensor, longest: int) -> tuple[Tensor, Callable[[], Tensor]]:
        def step() -> Tensor:
            window = CacheWindow.at(self._cache, inputs_2B[1], longest)
            return F.linear(self._model.hidden_states(inputs_2B[0][:, None], cache=window)[:, 0], self._weight)

        if not inputs_2B.is_cuda:
            return inputs_2B, step
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries choose their kernels and workspaces before anything is recorded
            step()
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits_BV = step()

        def replay() -> Tensor:
            graph.replay()
            return logits_BV

        return inputs_2B, replay

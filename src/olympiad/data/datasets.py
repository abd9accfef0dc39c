"""Problems -> batches of tensors, through the one renderer."""

# B batch, T positions

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from olympiad.tokenizer import MathTokenizer, Rendered, Segment, render

from .order import BatchOrder
from .rows import DataError
from .schema import MathProblem

#: The target of a position that no loss is taken of.
IGNORED = -100


class Batch(TypedDict):
    """``targets[b, t]`` is the token that follows ``input_ids[b, t]``, or IGNORED; both (B, T), padded to the right."""

    input_ids: Tensor
    targets: Tensor
    rows: Tensor
    """(B,): which rows of the data set these are."""


def problem_segments(problem: MathProblem) -> list[Segment]:
    """A problem as the renderer's pieces: what is asked, how it is solved, what comes out."""
    segments = [Segment("problem", problem.problem)]
    if problem.solution:
        segments.append(Segment("solution", problem.solution))
    if problem.answer:
        segments.append(Segment("answer", problem.answer))
    return segments


class MathDataset(Dataset[Rendered]):
    """Problems as rendered token sequences.

    Args:
        max_length: tokens of the longest sequence that is taken.
        overlong: what happens to longer ones: ``"drop"`` or ``"truncate"``; ``num_overlong`` counts them either way.

    Raises:
        DataError: no problem is left.
    """

    def __init__(
        self,
        problems: Sequence[MathProblem],
        tokenizer: MathTokenizer,
        max_length: int = 512,
        overlong: Literal["drop", "truncate"] = "drop",
    ) -> None:
        self.tokenizer = tokenizer
        self.problem_ids: list[str] = []
        self.num_overlong = 0
        self._documents: list[tuple[np.ndarray, np.ndarray]] = []
        for problem in problems:
            document = render(tokenizer, problem_segments(problem))
            if len(document) > max_length:
                self.num_overlong += 1
                document = Rendered(document.ids[:max_length], document.loss_mask[:max_length])
                if overlong == "drop" or not any(document.loss_mask):
                    continue
            self.problem_ids.append(problem.id)
            self._documents.append((np.array(document.ids, np.int32), np.array(document.loss_mask, np.bool_)))
        if not self._documents:
            raise DataError(
                f"none of {len(problems)} problems is left to train on: {self.num_overlong} are longer than {max_length} tokens"
            )

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, row: int) -> Rendered:
        ids, mask = self._documents[row]
        return Rendered(ids.tolist(), mask.astype(int).tolist())

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows, padded to the longest of them."""
        documents = [self._documents[row] for row in rows]
        shape = (len(rows), max((len(ids) for ids, _ in documents), default=2) - 1)  # a rank may get no rows
        input_ids = np.full(shape, self.tokenizer.pad_id, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        for i, (ids, mask) in enumerate(documents):
            length = len(ids) - 1
            input_ids[i, :length] = ids[:-1]
            targets[i, :length] = np.where(mask[1:], ids[1:], IGNORED)
        return Batch(
            input_ids=torch.from_numpy(input_ids), targets=torch.from_numpy(targets), rows=torch.tensor(rows, dtype=torch.long)
        )

    def __getitems__(self, rows: list[int]) -> Batch:
        """What a torch data loader asks for: the rows of one batch at once."""
        return self.batch(rows)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(len(ids) for ids, _ in self._documents)

    @cached_property
    def num_tokens(self) -> int:
        return sum(len(ids) for ids, _ in self._documents)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all tokens and masks: a run goes on only with the data that it began with."""
        digest = hashlib.sha256()
        for ids, mask in self._documents:
            digest.update(len(ids).to_bytes(4, "little") + ids.tobytes() + mask.tobytes())
        return digest.hexdigest()


def create_dataloader(
    dataset: MathDataset, batch_size: int, shuffle: bool = True, seed: int = 0, num_workers: int = 0
) -> DataLoader[Rendered]:
    """Batches of ``dataset`` in the order of :class:`BatchOrder`, which the loader holds as ``batch_sampler``."""
    order = BatchOrder(len(dataset), batch_size, seed=seed, shuffle=shuffle)
    return DataLoader(dataset, batch_sampler=order, collate_fn=_as_it_is, num_workers=num_workers)


def _as_it_is(batch: Any) -> Any:
    return batch

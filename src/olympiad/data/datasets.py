"""Problems -> batches of tensors, through the one renderer."""

# B batch, T positions

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from olympiad.tokenizer import MathTokenizer, Rendered, Segment, render

from .documents import Documents, MemoryDocuments
from .order import BatchOrder
from .packing import pack
from .rows import DataError
from .schema import MathProblem

Overlong = Literal["drop", "truncate", "split"]

#: The target of a position that no loss is taken of.
IGNORED = -100


class Batch(TypedDict):
    """``targets[b, t]`` is the token that follows ``input_ids[b, t]``, or IGNORED; both (B, T), padded to the right."""

    input_ids: Tensor
    targets: Tensor
    rows: Tensor
    """(B,): which rows of the data set these are."""
    document_ids: NotRequired[Tensor]
    """(B, T), of packed rows: which document of its row a position belongs to, -1 for none."""
    position_ids: NotRequired[Tensor]
    """(B, T), of packed rows: places in the document, from 0."""


def problem_segments(problem: MathProblem) -> list[Segment]:
    """A problem as the renderer's pieces: what is asked, how it is solved, what comes out."""
    segments = [Segment("problem", problem.problem)]
    pieces = cast("list[tuple[Any, str]]", problem.metadata.get("segments", []))
    if pieces:  # a solution with tool calls in it
        segments += [Segment(role, text) for role, text in pieces]
    elif problem.solution:
        segments.append(Segment("solution", problem.solution))
    if problem.answer:
        segments.append(Segment("answer", problem.answer))
    return segments


class TokenDataset(Dataset[Rendered]):
    """Documents as the rows of batches.

    Documents become pieces that fit, pieces become rows: one each, or as many as fit when packed.

    Args:
        instances: numbers of the documents to take, repeated as often as a mixture says; each once if absent.
        max_length: tokens of the longest piece; positions of a packed row.
        overlong: what happens to longer documents: ``"drop"``, ``"truncate"``, or ``"split"`` into pieces that overlap by
            a token (so each is predicted once); ``num_overlong`` counts them either way.
        packing: fill rows of ``max_length`` positions with several pieces each, see :mod:`olympiad.data.packing`.

    Raises:
        DataError: nothing is left.
    """

    def __init__(
        self,
        documents: Documents,
        tokenizer: MathTokenizer,
        max_length: int = 512,
        overlong: Overlong = "drop",
        packing: bool = False,
        instances: np.ndarray | None = None,
    ) -> None:
        if max_length < 2:
            raise ValueError(f"max_length is {max_length}, expected at least 2: a token and the one that follows it")
        self.documents, self.tokenizer, self.max_length = documents, tokenizer, max_length
        taken = np.arange(len(documents.lengths)) if instances is None else np.asarray(instances, np.int64)
        lengths = documents.lengths[taken]
        self.num_overlong = int((lengths > max_length).sum())
        short = lengths <= max_length
        pieces = np.stack([taken, np.zeros_like(taken), lengths], axis=1)[short]  # document, start, stop
        if overlong != "drop" and self.num_overlong:
            cut = [(at, *piece) for at in np.flatnonzero(~short).tolist() for piece in self._cut(int(taken[at]), overlong)]
            places = np.concatenate([np.flatnonzero(short), np.array([at for at, *_ in cut], np.int64)])
            pieces = np.concatenate([pieces, np.array([piece for _, *piece in cut], np.int64).reshape(-1, 3)])
            pieces = pieces[np.argsort(places, kind="stable")]  # in the order of the documents
        if not len(pieces):
            raise DataError(
                f"none of {len(taken)} documents is left to train on: {self.num_overlong} are longer than {max_length} tokens"
            )
        self._pieces = pieces
        self._packed = pack(pieces[:, 2] - pieces[:, 1] - 1, max_length) if packing else None

    def _cut(self, document: int, overlong: Overlong) -> Iterator[tuple[int, int, int]]:
        """The pieces of a document that is too long, but for those with nothing to predict."""
        mask = self.documents[document][1]
        starts = range(0, len(mask) - 1, self.max_length - 1) if overlong == "split" else (0,)
        for start in starts:
            stop = min(start + self.max_length, len(mask))
            if mask[start + 1 : stop].any():
                yield document, start, stop

    def __len__(self) -> int:
        return len(self._pieces) if self._packed is None else len(self._packed)

    def _pieces_of(self, row: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids and mask of each piece of a row."""
        pieces = []
        for piece in [row] if self._packed is None else self._packed[row].tolist():
            document, start, stop = self._pieces[piece].tolist()
            ids, mask = self.documents[document]
            pieces.append((ids[start:stop].astype(np.int64), mask[start:stop]))  # IGNORED is no uint16
        return pieces

    def __getitem__(self, row: int) -> Rendered:
        ids, mask = (np.concatenate(parts) for parts in zip(*self._pieces_of(row), strict=True))
        return Rendered(ids.tolist(), mask.astype(int).tolist())

    def names(self, row: int) -> list[str]:
        """The ids of the problems in a row."""
        pieces = [row] if self._packed is None else self._packed[row]
        return [self.documents.name(int(document)) for document in self._pieces[pieces, 0]]

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows, padded to the longest of them, or to ``max_length`` positions where they are packed."""
        pieces = [self._pieces_of(row) for row in rows]
        longest = max((len(ids) for row in pieces for ids, _ in row), default=2) - 1  # a rank may get no rows
        shape = (len(rows), longest if self._packed is None else self.max_length)
        input_ids = np.full(shape, self.tokenizer.pad_id, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        document_ids, position_ids = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        for i, row in enumerate(pieces):
            start = 0
            for number, (ids, mask) in enumerate(row):
                place = (i, slice(start, start := start + len(ids) - 1))
                input_ids[place] = ids[:-1]
                targets[place] = np.where(mask[1:], ids[1:], IGNORED)
                if self._packed is not None:
                    document_ids[place], position_ids[place] = number, np.arange(len(ids) - 1)
        batch = Batch(
            input_ids=torch.from_numpy(input_ids), targets=torch.from_numpy(targets), rows=torch.tensor(rows, dtype=torch.long)
        )
        if self._packed is not None:
            batch["document_ids"], batch["position_ids"] = torch.from_numpy(document_ids), torch.from_numpy(position_ids)
        return batch

    def __getitems__(self, rows: list[int]) -> Batch:
        """What a torch data loader asks for: the rows of one batch at once."""
        return self.batch(rows)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row, the last of which is a target only."""
        return int((self._pieces[:, 2] - self._pieces[:, 1]).max()) if self._packed is None else self.max_length + 1

    @cached_property
    def num_documents(self) -> int:
        """Documents, or pieces of them, that were taken."""
        return len(self._pieces)

    @cached_property
    def num_tokens(self) -> int:
        return int((self._pieces[:, 2] - self._pieces[:, 1]).sum())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all tokens and masks, and how they lie in rows: a run goes on only with the data it began with."""
        digest = hashlib.sha256(self.documents.fingerprint.encode() + self._pieces.tobytes())
        if self._packed is not None:
            digest.update(self._packed.starts.tobytes() + self._packed.documents.tobytes())
        return digest.hexdigest()

    @property
    def padding(self) -> float:
        """The share of positions of packed rows that hold nothing; 0 where rows are not packed."""
        return 0.0 if self._packed is None else self._packed.padding


class MathDataset(TokenDataset):
    """Problems as rendered token sequences; see :class:`TokenDataset` for the rest of the arguments."""

    def __init__(
        self,
        problems: Sequence[MathProblem],
        tokenizer: MathTokenizer,
        max_length: int = 512,
        overlong: Overlong = "drop",
        packing: bool = False,
    ) -> None:
        rendered = [render(tokenizer, problem_segments(problem)) for problem in problems]
        documents = MemoryDocuments(rendered, [problem.id for problem in problems])
        super().__init__(documents, tokenizer, max_length, overlong, packing)

    @property
    def problem_ids(self) -> list[str]:
        """The ids of the problems that were taken, in the order of the pieces."""
        return [self.documents.name(int(document)) for document in self._pieces[:, 0]]


def create_dataloader(
    dataset: TokenDataset, batch_size: int, shuffle: bool = True, seed: int = 0, num_workers: int = 0
) -> DataLoader[Rendered]:
    """Batches of ``dataset`` in the order of :class:`BatchOrder`, which the loader holds as ``batch_sampler``."""
    order = BatchOrder(len(dataset), batch_size, seed=seed, shuffle=shuffle)
    return DataLoader(dataset, batch_sampler=order, collate_fn=_as_it_is, num_workers=num_workers)


def _as_it_is(batch: Any) -> Any:
    return batch

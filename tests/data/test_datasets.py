"""Problems become batches: every token to predict at its place, no other, whatever the batch and the workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from olympiad.data import (
    IGNORED,
    Batch,
    BatchOrder,
    DataError,
    MathDataset,
    MathProblem,
    TokenDataset,
    create_dataloader,
    create_sample_problems,
    problem_segments,
)
from olympiad.data.documents import MemoryDocuments
from olympiad.tokenizer import MathTokenizer, Rendered, Segment, render

TOKENIZER = MathTokenizer()
PROBLEMS = [
    *create_sample_problems(),
    MathProblem("short", "2+2?", answer="4"),
    MathProblem("no answer", "Prove it.", "It is clear." * 20),
    *(MathProblem(f"sum {n}", f"What is {n} + {n}?", f"It is $\\boxed{{{2 * n}}}$.", str(2 * n)) for n in range(12)),
]
DATASET = MathDataset(PROBLEMS, TOKENIZER)


def reference_batch(problems: list[MathProblem]) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and targets, one position after the other."""
    inputs, targets = [], []
    for problem in problems:
        document = render(TOKENIZER, problem_segments(problem))
        inputs.append([])
        targets.append([])
        for position in range(len(document.ids) - 1):
            inputs[-1].append(document.ids[position])
            targets[-1].append(document.ids[position + 1] if document.loss_mask[position + 1] == 1 else -100)
    length = max(map(len, inputs))
    for row, target in zip(inputs, targets, strict=True):
        while len(row) < length:
            row.append(TOKENIZER.pad_id)
            target.append(-100)
    return inputs, targets


def equal(batch: Batch, other: Batch) -> bool:
    return batch.keys() == other.keys() and all(torch.equal(batch[name], other[name]) for name in batch)  # type: ignore[literal-required]


@given(st.lists(st.integers(0, len(PROBLEMS) - 1), min_size=1, max_size=8))
def test_batch_is_what_the_definition_says(rows: list[int]) -> None:
    """Targets shifted by none or by two, a loss on the problem's text or on padding, or rows in another order."""
    batch = DATASET.batch(rows)
    inputs, targets = reference_batch([PROBLEMS[row] for row in rows])
    assert batch["input_ids"].tolist() == inputs
    assert batch["targets"].tolist() == targets
    assert batch["rows"].tolist() == rows
    assert {tensor.dtype for tensor in (batch["input_ids"], batch["targets"], batch["rows"])} == {torch.int64}


def test_padding_adds_nothing_to_the_loss() -> None:
    """A loss that depends on what a row is batched with."""
    torch.manual_seed(0)
    logits = torch.nn.Embedding(TOKENIZER.vocab_size, 32)

    def loss_sum(batch: Batch) -> Tensor:
        targets = batch["targets"].where(batch["targets"] == IGNORED, batch["targets"] % logits.embedding_dim)
        return torch.nn.functional.cross_entropy(
            logits(batch["input_ids"]).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )

    together = loss_sum(DATASET.batch([0, 3, 4, 5]))
    torch.testing.assert_close(together, sum(loss_sum(DATASET.batch([row])) for row in (0, 3, 4, 5)))


def test_first_target_is_the_solutions_first_token() -> None:
    """The first token of the solution, which has to follow the prompt, never learned."""
    [targets], prompt = DATASET.batch([5])["targets"].tolist(), render(TOKENIZER, [Segment("problem", PROBLEMS[5].problem)])
    solution = TOKENIZER.encode(PROBLEMS[5].solution)
    first = len(prompt.ids) - 1  # the prompt's <|end|> is a <|solution|> here
    assert targets[:first] == [IGNORED] * first
    assert targets[first : first + len(solution)] == solution
    assert targets[-1] == TOKENIZER.end_id


@pytest.mark.parametrize(
    ("solution", "answer", "roles"),
    [
        ("s", "a", ["problem", "solution", "answer"]),
        ("s", "", ["problem", "solution"]),
        ("", "a", ["problem", "answer"]),
        ("", "", ["problem"]),
    ],
)
def test_segments_of_a_problem(solution: str, answer: str, roles: list[str]) -> None:
    """A frame around nothing: a model that learns to give empty answers."""
    segments = problem_segments(MathProblem("id", "p", solution, answer))
    assert [segment.role for segment in segments] == roles
    assert "".join(segment.text for segment in segments) == f"p{solution}{answer}"


def test_items_are_the_rendered_documents() -> None:
    """A row that loses its type or its mask on the way through NumPy."""
    for row in range(len(DATASET)):
        assert DATASET[row] == render(TOKENIZER, problem_segments(PROBLEMS[row]))
    assert DATASET.num_tokens == sum(len(DATASET[row]) for row in range(len(DATASET)))
    assert DATASET.longest == max(len(DATASET[row]) for row in range(len(DATASET)))
    assert DATASET.problem_ids == [problem.id for problem in PROBLEMS]


def test_overlong_problems_are_dropped_and_counted() -> None:
    """Problems that vanish without a count, or the one of exactly the length lost."""
    lengths = [len(DATASET[row]) for row in range(len(DATASET))]
    limit = sorted(lengths)[8]
    dataset = MathDataset(PROBLEMS, TOKENIZER, max_length=limit)
    assert dataset.problem_ids == [problem.id for problem, length in zip(PROBLEMS, lengths, strict=True) if length <= limit]
    assert dataset.num_overlong == sum(length > limit for length in lengths) > 0
    assert dataset.longest == limit
    assert DATASET.num_overlong == 0


def test_overlong_problems_are_truncated_and_counted() -> None:
    """A cut document that ends with an <|end|> it does not have, is longer than asked, or has nothing left to learn."""
    limit = 30
    dataset = MathDataset(PROBLEMS, TOKENIZER, max_length=limit, overlong="truncate")
    whole = {problem.id: render(TOKENIZER, problem_segments(problem)) for problem in PROBLEMS}
    assert dataset.num_overlong == sum(len(document) > limit for document in whole.values())
    assert dataset.problem_ids == [id for id, document in whole.items() if any(document.loss_mask[:limit])]
    assert "sample/algebra" in whole.keys() - set(dataset.problem_ids)  # its problem alone is longer than that
    for row, id in enumerate(dataset.problem_ids):
        assert dataset[row].ids == whole[id].ids[:limit]
        assert dataset[row].loss_mask == whole[id].loss_mask[:limit]
    assert "no answer" in dataset.problem_ids
    assert dataset.longest == limit


@pytest.mark.parametrize(
    ("problems", "overlong", "message"),
    [
        ([], "drop", "none of 0 documents is left"),
        (PROBLEMS, "drop", f"none of {len(PROBLEMS)} documents is left to train on: {len(PROBLEMS)} are longer than 4 tokens"),
        (PROBLEMS, "truncate", f"{len(PROBLEMS)} are longer than 4 tokens"),
    ],
)
def test_nothing_left_is_an_error(problems: list[MathProblem], overlong: str, message: str) -> None:
    """An empty data set that fails much later, in the loss or the sampler."""
    with pytest.raises(DataError, match=message):
        MathDataset(problems, TOKENIZER, max_length=4, overlong=overlong)  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[list[MathProblem]], list[MathProblem]]] = {
    "one problem less": lambda problems: problems[:-1],
    "one problem twice": lambda problems: [*problems, problems[-1]],
    "other order": lambda problems: [problems[1], problems[0], *problems[2:]],
    "a letter of a problem": lambda problems: [replace(problems[0], problem=problems[0].problem + "!"), *problems[1:]],
    "a letter of a solution": lambda problems: [replace(problems[0], solution=problems[0].solution + "!"), *problems[1:]],
    "another answer": lambda problems: [replace(problems[0], answer="9"), *problems[1:]],
    "no answer": lambda problems: [replace(problems[0], answer=""), *problems[1:]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with_the_data(change: str) -> None:
    """A run resumed with other data than it began with."""
    assert MathDataset(CHANGES[change](PROBLEMS), TOKENIZER).fingerprint != DATASET.fingerprint


def test_fingerprint_sees_the_mask_and_the_ends_of_documents() -> None:
    """The same tokens with other targets, or cut into other documents, taken for the same data."""
    one, other = MathDataset(PROBLEMS[:2], TOKENIZER), MathDataset(PROBLEMS[:2], TOKENIZER)
    assert one.fingerprint == other.fingerprint
    other = MathDataset(PROBLEMS[:2], TOKENIZER)
    other.documents[0][1][-1] = False
    assert other.fingerprint != one.fingerprint
    fingerprints = set()
    for lengths in [(2, 4), (3, 3), (6,)]:
        documents = MemoryDocuments([Rendered([0] * length, [0] * length) for length in lengths], "ab")
        fingerprints.add(TokenDataset(documents, TOKENIZER).fingerprint)
    assert len(fingerprints) == 3


def test_fingerprint_is_that_of_the_tokens() -> None:
    """A resume refused for what the model never sees, or on another machine."""
    renamed = [replace(problem, id=f"new {problem.id}", subject="?", metadata={"year": 2024}) for problem in PROBLEMS]
    assert MathDataset(renamed, TOKENIZER).fingerprint == DATASET.fingerprint
    assert pickle.loads(pickle.dumps(DATASET)).fingerprint == DATASET.fingerprint


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_loader_follows_the_order(batch_size: int, shuffle: bool) -> None:
    """A loader with a random order of its own, which no step number can bring back."""
    loader = create_dataloader(DATASET, batch_size, shuffle=shuffle, seed=3)
    order = BatchOrder(len(DATASET), batch_size, seed=3, shuffle=shuffle)
    batches = list(loader)
    assert [batch["rows"].tolist() for batch in batches] == list(order)
    assert all(equal(batch, DATASET.batch(rows)) for batch, rows in zip(batches, order, strict=True))
    assert len(loader) == len(batches) == -(-len(DATASET) // batch_size)


def test_loader_goes_on_where_its_order_is_set() -> None:
    """A resumed epoch that begins anew, or every epoch in the order of the first."""
    loader = create_dataloader(DATASET, 4, seed=3)
    first = [batch["rows"].tolist() for batch in loader]
    assert isinstance(loader.batch_sampler, BatchOrder)
    loader.batch_sampler.epoch, loader.batch_sampler.start = 5, 2
    rest = [batch["rows"].tolist() for batch in loader]
    assert rest == list(BatchOrder(len(DATASET), 4, seed=3, epoch=5))[2:]
    assert rest != first[2:]


def test_workers_give_the_same_batches() -> None:
    """Batches that differ, or come in another order, once worker processes make them."""
    alone, helped = create_dataloader(DATASET, 4, seed=1), create_dataloader(DATASET, 4, seed=1, num_workers=2)
    assert all(equal(batch, other) for batch, other in zip(alone, helped, strict=True))


def test_loader_checks_its_batch_size() -> None:
    """An endless loader."""
    with pytest.raises(ValueError, match="batch_size is 0"):
        create_dataloader(DATASET, 0)


# ------------------------------------------------------------------------------------------------- packing, splitting


def pieces_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each document of a packed batch, positions checked."""
    pieces = []
    for ids, targets, documents, positions in zip(
        batch["input_ids"], batch["targets"], batch["document_ids"], batch["position_ids"], strict=True
    ):
        for document in range(int(documents.max()) + 1):
            place = documents == document
            assert positions[place].tolist() == list(range(int(place.sum())))
            pieces.append((ids[place].tolist(), targets[place].tolist()))
        assert (targets[documents == -1] == IGNORED).all()
    return pieces


def test_packed_rows_hold_each_document_once() -> None:
    """A document lost, doubled or cut by packing; positions that do not restart; a target across two documents."""
    packed = MathDataset(PROBLEMS, TOKENIZER, max_length=300, packing=True)
    assert 1 < len(packed) < len(PROBLEMS) / 2
    found = [piece for batch in create_dataloader(packed, 2) for piece in pieces_of(batch)]
    expected = []
    for problem in PROBLEMS:
        (ids,), (targets,) = reference_batch([problem])
        expected.append((ids, targets))
    assert sorted(found) == sorted(expected)
    assert sorted(name for row in range(len(packed)) for name in packed.names(row)) == sorted(p.id for p in PROBLEMS)
    assert packed.fingerprint != MathDataset(PROBLEMS, TOKENIZER, max_length=300).fingerprint


@given(length=st.integers(2, 80), packing=st.booleans())
def test_split_documents_predict_every_token_once(length: int, packing: bool) -> None:
    """A token that is predicted twice, or never, where a long document is split."""
    text = render(TOKENIZER, [Segment("text", "Let $x$ be real. " * 20)])
    dataset = TokenDataset(MemoryDocuments([text], ["text"]), TOKENIZER, length, "split", packing)
    assert dataset.num_overlong == 1
    rows = range(len(dataset))
    assert all(len(dataset[row]) <= length for row in rows) or packing
    batch = dataset.batch(list(rows))
    targets = [t for row in (pieces_of(batch) if packing else [((), row.tolist()) for row in batch["targets"]]) for t in row[1]]
    assert sorted(t for t in targets if t != IGNORED) == sorted(text.ids[1:])


def test_instances_are_what_a_mixture_says() -> None:
    """A mixture that repeats a document where it should not, or loses the second epoch of a long one."""
    documents = MemoryDocuments([Rendered([1] * n, [1] * n) for n in (3, 9, 4)], "abc")
    dataset = TokenDataset(documents, TOKENIZER, 5, "split", instances=np.array([1, 0, 1]))
    assert [dataset.names(row) for row in range(len(dataset))] == [["b"], ["b"], ["a"], ["b"], ["b"]]
    assert dataset.num_overlong == 2

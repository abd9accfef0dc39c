"""Choose the next token of many texts, again and again, with a cache of what was computed before.

admit ──> prefill prompts, rows of like length together; what begins like a text in the cache is copied from there
  │
  └─> step ──> one token for each row (more where a draft was right) ──> rows that end leave at once ──> admit ...
"""

# B rows running, T new positions, V vocabulary, D hidden size

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from olympiad.errors import UserError

from .cache import CacheWindow, KVCache
from .graphs import StepGraphs
from .sampling import SamplingOptions, choose_tokens

if TYPE_CHECKING:
    from .decoder import MathTransformerDecoder

FinishReason = Literal["stop", "length"]
SHARED_FROM = 16  # tokens that a prompt must have in common with another one to be worth waiting for its keys and values
PADDING = 0.15  # of the positions of prompts that are computed together, at most
PREFILL_POSITIONS = 8_192  # computed together at most, unless one prompt alone is longer
LOOKUP_NGRAM = 3  # tokens that have to stand there a second time for those behind them to be tried as a draft


class PromptError(UserError, ValueError):
    """A prompt that can't be continued, or a model that can't continue any."""


@dataclass(eq=False)
class Row:
    """One text that is being written.

    Attributes:
        draws: uniform numbers, one for each token, where they are sampled.
        tokens: the continuation so far.
        logprobs: log-probability of each, by the model's own distribution, where asked for.
        finish_reason: set when the row is to leave the batch.
    """

    prompt: list[int]
    options: SamplingOptions
    draws: np.ndarray | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _seen_at: dict[tuple[int, ...], int] = field(default_factory=dict)  # for drafts: an n-gram and what place follows it
    _looked_up: int = 0

    @property
    def last(self) -> int:
        """The newest token, which the next step is computed from."""
        return self.tokens[-1] if self.tokens else self.prompt[-1]

    def append(self, token: int) -> None:
        """Add a token, and notice whether it is the last."""
        self.tokens.append(token)
        if token in self.options.stop_tokens:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.options.max_new_tokens:
            self.finish_reason = "length"

    def draft(self, limit: int) -> list[int]:
        """Up to ``limit`` tokens that followed, earlier in this text, on its last few (prompt-lookup decoding)."""
        text, size = self.prompt + self.tokens, LOOKUP_NGRAM
        for end in range(max(self._looked_up, size), len(text)):  # those that something follows
            self._seen_at[tuple(text[end - size : end])] = end
        self._looked_up = max(len(text), size)
        place = self._seen_at.get(tuple(text[-size:]))
        return [] if place is None else text[place : place + limit]


class DecodingBatch:
    """Rows in the slots of a cache. Row i lies in slot i; slots behind the last row may still hold earlier texts.

    Args:
        capacity: positions of a slot: the longest prompt with its continuation.
        num_slots: rows that can run together.
        vocabulary: only ids below this are chosen; the model's if absent (models pad theirs).
        share_prefixes: copy the keys and values of a prompt's beginning from a row that begins alike.
        draft_tokens: try so many tokens at a time by prompt lookup (arXiv:2304.04487), for rows that take the most
            probable token; the text stays the same.
        use_graphs: replay the step of one token as a CUDA graph.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        num_slots: int,
        capacity: int,
        *,
        vocabulary: int | None = None,
        share_prefixes: bool = True,
        draft_tokens: int = 0,
        use_graphs: bool = False,
    ) -> None:
        self.model = model
        self.rows: list[Row] = []
        weight = model.embed_tokens.weight
        self.device = weight.device
        self.cache = KVCache(model.config, num_slots, capacity, weight.device, weight.dtype)
        self.num_slots = num_slots
        self._vocabulary = vocabulary or model.config.vocab_size
        self._graphs = StepGraphs(model, self.cache, self._vocabulary) if use_graphs else None
        # Dynamic scaling turns a prompt's keys by the length of the whole prompt: no other one can use them.
        dynamic = model.rotary.dynamic
        self._share, self._draft_tokens = share_prefixes and not dynamic, 0 if dynamic else draft_tokens
        self._pads_prompts = not dynamic
        self._held: list[list[int]] = [[] for _ in range(num_slots)]  # the beginning of the text in each slot

    @property
    def num_running(self) -> int:
        """Rows that have not ended."""
        return sum(row.finish_reason is None for row in self.rows)

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> None:
        """Take rows in, in the place of those that have ended, and give each its first token (some need a step for it).

        Raises:
            PromptError: the model's logits are no numbers.
        """
        free = self.num_slots - self.num_running
        assert len(rows) <= free, f"{len(rows)} rows are to be admitted, {free} slots are free"
        waiting = list(rows)
        while waiting:
            ready: list[Row] = []
            later: list[Row] = []
            for row in waiting:
                (later if self._share and self._should_wait(row, ready) else ready).append(row)
            self._prefill([(self._place(row), row) for row in ready])
            waiting = later

    def _should_wait(self, row: Row, others: Sequence[Row]) -> bool:
        """Whether more of the row's prompt can be copied once the others are computed."""
        there = self._best_source(row)[1]
        return any(
            common_length(row.prompt, other.prompt) >= there + SHARED_FROM
            or (row.prompt == other.prompt and there < len(row.prompt) - 1)
            for other in others
        )

    def _best_source(self, row: Row) -> tuple[int, int]:
        """The slot whose text begins most like the row's, and how many tokens of it the row can use: all but its last."""
        best = max(range(self.num_slots), key=lambda slot: common_length(self._held[slot], row.prompt))
        return best, min(common_length(self._held[best], row.prompt), len(row.prompt) - 1)

    def _place(self, row: Row) -> int:
        """Put a row into a free slot, with what can be copied of its keys and values."""
        free = [slot for slot, other in enumerate(self.rows) if other.finish_reason is not None]
        if len(self.rows) < self.num_slots:
            free.append(len(self.rows))
        source, shared = self._best_source(row) if self._share else (0, 0)
        slot = source if source in free and shared else free[0]
        self.cache.copy(source, slot, shared)
        self._held[slot] = row.prompt[:shared]
        if slot == len(self.rows):
            self.rows.append(row)
        else:
            self.rows[slot] = row
        return slot

    def _prefill(self, placed: list[tuple[int, Row]]) -> None:
        """Compute the prompts behind what was copied. A row with a single token left takes part in the next step."""
        todo = [(slot, row) for slot, row in placed if self.cache.lengths[slot] < len(row.prompt) - 1 or len(row.prompt) == 1]
        for slot, row in placed:
            self._held[slot] = row.prompt[:-1]
        for group in self._alike(todo):
            slots, starts = [slot for slot, _ in group], [self.cache.lengths[slot] for slot, _ in group]
            new = [row.prompt[start:] for (_, row), start in zip(group, starts, strict=True)]
            longest = max(map(len, new))
            ids_BT = torch.tensor([ids + [0] * (longest - len(ids)) for ids in new], device=self.device)
            hidden_BTD = self.model.hidden_states(ids_BT, cache=CacheWindow(self.cache, slots, longest))
            last_B = torch.tensor([len(ids) - 1 for ids in new], device=self.device)
            logits_BV = self._logits(hidden_BTD[torch.arange(len(new), device=self.device), last_B])
            if not logits_BV.isfinite().all():
                raise PromptError("the model's logits are not finite numbers: its weights are damaged, take another checkpoint")
            for slot, row in group:
                self.cache.lengths[slot], self._held[slot] = len(row.prompt), row.prompt
            self._extend([row for _, row in group], logits_BV)

    def _alike(self, placed: list[tuple[int, Row]]) -> Iterable[list[tuple[int, Row]]]:
        """Groups of rows that are computed together, so that little of the work is padding."""
        lengths, useful = self.cache.lengths, 0
        group: list[tuple[int, Row]] = []
        allowed = PADDING if self._pads_prompts else 0.0
        for slot, row in sorted(placed, key=lambda each: (lengths[each[0]] == 0, lengths[each[0]] - len(each[1].prompt))):
            new = len(row.prompt) - lengths[slot]
            if group:
                widest = len(group[0][1].prompt) - lengths[group[0][0]]
                fits = max(lengths[each] for each, _ in [*group, (slot, row)]) + widest <= self.cache.capacity
                same_kind = (lengths[slot] == 0) == (lengths[group[0][0]] == 0)
                positions = widest * (len(group) + 1)
                if not fits or not same_kind or positions > PREFILL_POSITIONS or 1 - (useful + new) / positions > allowed:
                    yield group
                    group, useful = [], 0
            group.append((slot, row))
            useful += new
        if group:
            yield group

    @torch.inference_mode()
    def step(self) -> None:
        """Give every row that has not ended its next token, or several. Those that end keep their slots until the next call,
        so that another sample of the same prompt can follow them there."""
        self._compact()
        if not self.rows:
            return
        drafts = self._drafts()
        if any(drafts):
            self._accept(drafts)
            return
        ids = [row.last for row in self.rows]
        if self._graphs is not None:
            logits_BV = self._graphs.logits(ids, self.cache.lengths[: len(ids)])
        else:
            window = CacheWindow(self.cache, range(len(ids)), 1)
            ids_B1 = torch.tensor(ids, device=self.device)[:, None]
            logits_BV = self._logits(self.model.hidden_states(ids_B1, cache=window)[:, 0])
        for slot in range(len(ids)):
            self.cache.lengths[slot] += 1
        self._extend(self.rows, logits_BV)

    def _drafts(self) -> list[list[int]]:
        """What each row may go on with, if it takes the most probable token each time."""
        room = self.cache.capacity - max(self.cache.lengths[: len(self.rows)]) - 1
        limit = min(self._draft_tokens, room)
        return [
            row.draft(min(limit, row.options.max_new_tokens - len(row.tokens) - 1))
            if limit > 0 and row.options.temperature == 0.0 and row.options.repetition_penalty == 1.0
            else []
            for row in self.rows
        ]

    def _accept(self, drafts: list[list[int]]) -> None:
        """Keep of each draft what the model itself would have written, and the token behind that."""
        longest = 1 + max(map(len, drafts))
        ids = [[row.last, *draft, *[0] * (longest - 1 - len(draft))] for row, draft in zip(self.rows, drafts, strict=True)]
        window = CacheWindow(self.cache, range(len(ids)), longest)
        logits_BTV = self._logits(self.model.hidden_states(torch.tensor(ids, device=self.device), cache=window))
        likeliest = logits_BTV.max(dim=-1).indices.tolist()
        taken = []
        for row, draft, own in zip(self.rows, drafts, likeliest, strict=True):
            right = next((place for place, token in enumerate(draft) if token != own[place]), len(draft))
            taken.append(right)
            for place in range(right):
                if row.finish_reason is None:
                    row.append(own[place])
                    if row.options.logprobs:
                        row.logprobs.append(float(logits_BTV[len(taken) - 1, place].float().log_softmax(-1)[own[place]]))
        for slot, right in enumerate(taken):
            self.cache.lengths[slot] += right + 1
        going_on = [slot for slot, row in enumerate(self.rows) if row.finish_reason is None]
        if going_on:
            place_B = torch.tensor([taken[slot] for slot in going_on], device=self.device)
            slot_B = torch.tensor(going_on, device=self.device)
            self._extend([self.rows[slot] for slot in going_on], logits_BTV[slot_B, place_B])

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.model.output_weight[: self._vocabulary])

    def _extend(self, rows: Sequence[Row], logits_BV: Tensor) -> None:
        """Choose and append the next token of each row."""
        groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            groups[row.options.filters].append(number)
        for numbers in groups.values():
            members = [rows[number] for number in numbers]
            logits = logits_BV if len(groups) == 1 else logits_BV[torch.tensor(numbers, device=self.device)]
            options = members[0].options
            uniform = None
            if options.temperature > 0.0:
                draws = [row.draws[len(row.tokens)] for row in members if row.draws is not None]
                uniform = torch.tensor(draws, device=self.device)
            chosen_B = choose_tokens(logits, self._seen(members), uniform, options)
            tokens = chosen_B.tolist()
            if any(row.options.logprobs for row in members):
                own = logits.float()
                logprobs_B = (own.gather(1, chosen_B[:, None])[:, 0] - own.logsumexp(dim=-1)).tolist()
                for row, logprob in zip(members, logprobs_B, strict=True):
                    if row.options.logprobs:
                        row.logprobs.append(logprob)
            for row, token in zip(members, tokens, strict=True):
                row.append(token)

    def _seen(self, rows: Sequence[Row]) -> Tensor | None:
        """(B, T) ids that the penalty is for; a row's first token fills up what it is shorter."""
        if rows[0].options.repetition_penalty == 1.0:
            return None
        longest = max(len(row.prompt) + len(row.tokens) for row in rows)
        texts = [row.prompt + row.tokens for row in rows]
        return torch.tensor([text + text[:1] * (longest - len(text)) for text in texts], device=self.device)

    def _compact(self) -> None:
        """Move the last row into the place of each one that has ended: what is left is all that a step computes."""
        for slot in range(len(self.rows) - 1, -1, -1):
            if self.rows[slot].finish_reason is not None:
                last = len(self.rows) - 1
                if slot != last:
                    self.cache.copy(last, slot, self.cache.lengths[last])
                    self.rows[slot], self._held[slot] = self.rows[last], self._held[last]
                self.rows.pop()


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many items two lists have in common from their start on.

    >>> common_length([1, 2, 3, 4], [1, 2, 9, 4]), common_length([1, 2], [1, 2, 3]), common_length([], [1])
    (2, 2, 0)
    """
    shorter = min(len(left), len(right))
    if not shorter or left[0] != right[0]:
        return 0
    if left[:shorter] == right[:shorter]:
        return shorter
    low, high = 1, shorter - 1  # items that are equal for sure, and at most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low

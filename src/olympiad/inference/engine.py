"""Many prompts -> their completions: slots of one cache, refilled as texts end."""

from __future__ import annotations

import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import psutil
import torch

from olympiad.errors import UserError
from olympiad.model import MathTransformerDecoder
from olympiad.model.decoding import DecodingBatch, FinishReason, PromptError, Row
from olympiad.model.generation import draws_for
from olympiad.model.sampling import SamplingOptions

from .streaming import TextStream, Tokenizer

OnToken = Callable[[int, int, str], None]
Prompt = str | Sequence[int]


class EngineError(UserError, ValueError):
    """An engine that can't be built as asked for."""


@dataclass(frozen=True)
class Completion:
    """What was written for one sample of one prompt.

    Attributes:
        prompt_index, sample_index: which one.
        token_ids: with the token that ended the text, if one did.
        text: without it, and without the stop string; other special tokens are written out.
        finish_reason: "stop" at an end token or a stop string, "length" at the limit.
        logprobs: natural logarithm of each token's probability by the model itself (temperature 1, no filter), if asked for.
        num_prompt_tokens: length of the prompt.
        seconds: from its turn to its end, beside the others of the batch.
    """

    prompt_index: int
    sample_index: int
    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    logprobs: list[float] | None
    num_prompt_tokens: int
    seconds: float


@dataclass(frozen=True)
class _Asked:
    """A prompt that was checked, with its options completed."""

    index: int
    ids: list[int]
    options: SamplingOptions


@dataclass(eq=False)
class _Writing:
    """A row of the batch, and what the outside sees of it."""

    row: Row
    prompt_index: int
    sample_index: int
    stream: TextStream | None
    told: int = 0  # tokens that the stream has had
    started: float = field(default_factory=time.perf_counter)

    def tell(self, on_token: OnToken | None) -> None:
        """Give new tokens to the stream; end the row where a stop string is complete."""
        row, stream = self.row, self.stream
        if stream is None:
            return
        for place in range(self.told, len(row.tokens)):
            if row.finish_reason == "stop" and place == len(row.tokens) - 1 and row.tokens[place] in row.options.stop_tokens:
                break
            if stream.add(row.tokens[place]):
                row.finish_reason = "stop"
                del row.tokens[place + 1 :], row.logprobs[place + 1 :]
                break
        self.told = len(row.tokens)
        piece = stream.finish() if row.finish_reason is not None else stream.take()
        if piece and on_token is not None:
            on_token(self.prompt_index, self.sample_index, piece)


class Engine:
    """Generates for many prompts at a time.

    Texts lie in the slots of one cache. A step computes one token for every text that goes on, however long each is; one
    that ends leaves at once, and the next prompt takes its place. What a prompt has in common with one that is there is
    copied, not computed again: the samples of a prompt, the worked examples of an evaluation.

    With a seed, a text depends on its prompt, its options and its sample's number, not on what else is in the batch: each
    has random numbers of its own. Only a last bit of the logits may differ (matrix products of another size add in
    another order), so two tokens that are equally probable to six digits may change places.

    Args:
        model: on its device and in its precision; it is shared, not copied.
        tokenizer: ours, or a foreign one; its end tokens end a text.
        max_batch_size: texts that are written together.
        max_length: positions of a prompt with its completion; the model's context if absent.
        dtype: "bfloat16" or "float32", to which the model is converted, in place.
        quantization: "int8" or "int4" weights in the layers, in place (through torchao: pip install olympiad[quantization]).
        cuda_graphs: record the step of one token as CUDA graphs and replay them; on CUDA only.
        draft_tokens: try so many tokens at a time that followed on the same words earlier in the text (prompt lookup); only
            where temperature is 0, and the text stays the same.
        end_ids: tokens that end a text, in place of the tokenizer's.

    Raises:
        EngineError: the tokenizer does not fit the model, or an option can't be had.
    """

    def __init__(
        self,
        model: MathTransformerDecoder,
        tokenizer: Tokenizer,
        *,
        max_batch_size: int = 32,
        max_length: int | None = None,
        dtype: Literal["bfloat16", "float32"] | None = None,
        quantization: Literal["int8", "int4"] | None = None,
        cuda_graphs: bool = False,
        draft_tokens: int = 0,
        end_ids: Sequence[int] | None = None,
    ) -> None:
        for name, value, least in (("max_batch_size", max_batch_size, 1), ("draft_tokens", draft_tokens, 0)):
            if value < least:
                raise EngineError(f"{name} is {value}, expected at least {least}")
        limit, entries = model.config.context_limit, model.config.vocab_size
        if max_length is not None and not 1 < max_length <= limit:
            raise EngineError(f"max_length is {max_length}, expected 2 to {limit}, the model's context")
        if tokenizer.vocab_size > entries:
            raise EngineError(
                f"the tokenizer has {tokenizer.vocab_size} entries, the model {entries}: they do not belong together; "
                "load the tokenizer that the model was trained with"
            )
        if cuda_graphs and not model.output_weight.is_cuda:
            raise EngineError("cuda_graphs need CUDA, and the model is not there: leave them out")
        if dtype is not None:
            model.to(getattr(torch, dtype))
        if quantization is not None:
            from .quantization import quantize

            quantize(model, quantization)
        self.model, self.tokenizer = model, tokenizer
        self.max_batch_size, self.max_length = max_batch_size, max_length or limit
        self.end_ids = tuple(_end_ids(tokenizer) if end_ids is None else end_ids)
        self._cuda_graphs, self._draft_tokens = cuda_graphs, draft_tokens

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingOptions | Sequence[SamplingOptions] | None = None,
        on_token: OnToken | None = None,
    ) -> list[Completion]:
        """Complete each prompt, ``num_samples`` times; in order of (prompt, sample).

        Args:
            prompts: texts (encoded as they are, without a frame) or ids.
            sampling: of all prompts, or of each. A completion has at most the tokens that fit behind its prompt.
            on_token: called with (prompt index, sample index, piece of text) as text comes; never half a character.

        Raises:
            PromptError: before anything is computed: an empty prompt, ids outside the vocabulary, a prompt that fills the
                context; and where the model's logits are not finite.
        """
        return sorted(self.stream(prompts, sampling, on_token), key=lambda each: (each.prompt_index, each.sample_index))

    def stream(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingOptions | Sequence[SamplingOptions] | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[Completion]:
        """As :meth:`generate`, each completion as soon as it ends."""
        asked = self._asked(prompts, sampling)
        was_training, _ = self.model.training, self.model.eval()
        try:
            yield from self._run(asked, on_token)
        finally:
            self.model.train(was_training)

    def _run(self, asked: Sequence[_Asked], on_token: OnToken | None) -> Iterator[Completion]:
        todo = [prompt for prompt in asked if prompt.options.max_new_tokens]
        for writing in self._writings([prompt for prompt in asked if not prompt.options.max_new_tokens]):
            writing.row.finish_reason = "length"
            yield self._completion(writing)
        if not todo:
            return
        batch, waiting = self._batch(todo), self._writings(todo, on_token is not None)
        running: list[_Writing] = []
        while True:
            if new := list(islice(waiting, batch.num_slots - batch.num_running)):
                batch.admit([each.row for each in new])
                running += new
            elif running:
                batch.step()
            else:
                return
            for each in running:
                each.tell(on_token)
            ended = [each for each in running if each.row.finish_reason is not None]
            running = [each for each in running if each.row.finish_reason is None]
            yield from map(self._completion, ended)

    def _batch(self, asked: Sequence[_Asked]) -> DecodingBatch:
        capacity = max(len(each.ids) + each.options.max_new_tokens for each in asked)
        slots = min(self.max_batch_size, sum(each.options.num_samples for each in asked))
        config, weight = self.model.config, self.model.embed_tokens.weight
        per_slot = 2 * config.num_hidden_layers * config.kv_heads * config.head_dim * capacity * weight.element_size()
        available = torch.cuda.mem_get_info(weight.device)[0] if weight.is_cuda else psutil.virtual_memory().available
        if slots * per_slot > available:
            raise EngineError(
                f"keys and values of {slots} texts of {capacity} tokens take {slots * per_slot / 2**30:.1f} GiB, "
                f"{available / 2**30:.1f} GiB are free: set max_batch_size to {available // per_slot} or less, or ask for "
                "fewer new tokens"
            )
        return DecodingBatch(
            self.model,
            slots,
            capacity,
            vocabulary=self.tokenizer.vocab_size,
            draft_tokens=self._draft_tokens,
            use_graphs=self._cuda_graphs,
        )

    def _asked(self, prompts: Sequence[Prompt], sampling: SamplingOptions | Sequence[SamplingOptions] | None) -> list[_Asked]:
        if isinstance(prompts, str):
            raise PromptError(f"expected a list of prompts, got one text ({prompts!r:.60}): put it into a list")
        if sampling is None or isinstance(sampling, SamplingOptions):
            sampling = [sampling or SamplingOptions()] * len(prompts)
        if len(sampling) != len(prompts):
            raise PromptError(f"{len(prompts)} prompts came with {len(sampling)} sampling options: give one, or one for each")
        asked = []
        for index, (prompt, options) in enumerate(zip(prompts, sampling, strict=True)):
            ids = self._ids(index, prompt)
            completed = {
                "max_new_tokens": min(options.max_new_tokens, self.max_length - len(ids)),
                "stop_tokens": tuple({*options.stop_tokens, *self.end_ids}),
                "seed": int(torch.randint(2**62, ())) if options.seed is None and options.temperature > 0 else options.seed,
            }
            asked.append(_Asked(index, ids, options.model_copy(update=completed)))
        return asked

    def _writings(self, asked: Sequence[_Asked], stream: bool = False) -> Iterator[_Writing]:
        """A row for each sample, made when its turn comes."""
        for prompt in asked:
            content = zlib.crc32(array("q", prompt.ids))  # so that one seed does not give all prompts the same random numbers
            for sample in range(prompt.options.num_samples):
                row = Row(prompt.ids, prompt.options, draws_for(prompt.options, (sample, content)))
                needed = stream or prompt.options.stop_strings
                text = TextStream(self.tokenizer, prompt.options.stop_strings) if needed else None
                yield _Writing(row, prompt.index, sample, text)

    def _ids(self, index: int, prompt: Prompt) -> list[int]:
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else [int(id) for id in prompt]
        if not ids:
            raise PromptError(f"prompt {index} is empty: give at least one token")
        outside = next((id for id in ids if not 0 <= id < self.model.config.vocab_size), None)
        if outside is not None:
            entries = self.model.config.vocab_size
            raise PromptError(f"prompt {index}: token id {outside} is outside the model's vocabulary of {entries}")
        if len(ids) >= self.max_length:
            raise PromptError(f"prompt {index} has {len(ids)} tokens, the model a context of {self.max_length}: shorten it")
        return ids

    def _completion(self, writing: _Writing) -> Completion:
        row = writing.row
        assert row.finish_reason is not None
        if writing.stream is not None:
            text = writing.stream.text
        else:
            ended = bool(row.tokens) and row.finish_reason == "stop"
            text = self.tokenizer.decode(row.tokens[:-1] if ended else row.tokens)
        return Completion(
            writing.prompt_index,
            writing.sample_index,
            row.tokens,
            text,
            row.finish_reason,
            row.logprobs if row.options.logprobs else None,
            len(row.prompt),
            time.perf_counter() - writing.started,
        )


def _end_ids(tokenizer: Tokenizer) -> Sequence[int]:
    """The ids that end a text: a foreign tokenizer may have several."""
    several = getattr(tokenizer, "end_ids", None)
    return several if several is not None else (tokenizer.end_id,)  # type: ignore[attr-defined]

"""Who answers: our engine, Transformers, or any OpenAI-compatible endpoint, behind one small interface."""

from __future__ import annotations

import difflib
import importlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from olympiad.model.generation import SamplingOptions
from olympiad.tokenizer import MathTokenizer, render_prompt, special

from .errors import EvaluationError
from .prompts import Prompt


@dataclass(frozen=True)
class Request:
    """One answer that is asked for. ``sampling.seed`` is of this request alone."""

    id: str
    prompt: Prompt
    sampling: SamplingOptions


@dataclass(frozen=True)
class Response:
    """What came. ``refused`` says why there is no answer to this request, where others may well have one."""

    request: Request
    text: str = ""
    prompt: str | Sequence[Any] = ""
    """What the model read: a text with its marks, or messages where the template is not ours to see."""
    finish_reason: str = "stop"
    """"stop", "length" or "refused"."""
    prompt_tokens: int | None = None
    tokens: int | None = None
    seconds: float = 0.0
    """From its turn to its end; of answers that Transformers makes together each one's equal part."""
    confidence: float | None = None
    """exp of the mean log-probability of its tokens, where it is known."""
    refused: str = ""


class Backend(Protocol):
    """``default_style`` is the prompt style that suits the model."""

    default_style: str

    def complete(self, requests: Iterable[Request]) -> Iterator[Response]:
        """A response to each request, in any order, each as soon as it is there.

        Raises:
            BackendError: nothing can be asked any more.
        """
        ...


BACKENDS = ("engine", "transformers", "openai")


def create_backend(name: str, model: str, **options: Any) -> Backend:
    """The backend of this name for ``model``: a folder, file or hub id; for an endpoint the name that it knows.

    Raises:
        EvaluationError: no backend has that name, or the model can't be loaded.
    """
    if name == "engine":
        return EngineBackend(model, options.get("batch_size", 32))
    if name == "transformers":
        return TransformersBackend(model, options.get("batch_size", 8))
    if name == "openai":
        from .endpoint import EndpointBackend, EndpointOptions

        return EndpointBackend(model, options.get("endpoint") or EndpointOptions())
    near = difflib.get_close_matches(name, BACKENDS, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(BACKENDS)}"
    raise EvaluationError(f"no backend {name!r}; {advice}")


def cut_at(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to the first of the stop strings, and whether there was one.

    >>> cut_at("It is 4.\\nProblem: next", ("\\nProblem:",))
    ('It is 4.', True)
    """
    places = [place for each in stop if (place := text.find(each)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def plain_text(text: str) -> str:
    """What our own models write, without the marks of its end; what stands behind the mark of an answer is the answer,
    whatever was boxed before.

    >>> plain_text("First $\\\\boxed{7}$ cases, in all 4.<|answer|>4<|end|>")
    'First $\\\\boxed{7}$ cases, in all 4.\\n$\\\\boxed{4}$'
    """
    text = text.partition(special.END)[0]
    solution, mark, answer = text.partition(special.ANSWER)
    if not mark or not (answer := answer.strip()):
        return solution
    balanced = answer.count("{") == answer.count("}")
    return f"{solution.rstrip()}\n" + (f"$\\boxed{{{answer}}}$" if balanced else f"#### {answer}")


def _together(one: Request, other: Request) -> bool:
    """Whether one batch can answer both: greedy, and with the same options but for their seeds."""
    options = [each.sampling.model_copy(update={"seed": None}) for each in (one, other)]
    return options[0] == options[1] and one.sampling.temperature == 0 and one.prompt.stop == other.prompt.stop


class EngineBackend:
    """Our own engine, with any model that it can load: a checkpoint or run of ours, a folder, a hub id, a .gguf file."""

    def __init__(self, model: str, batch_size: int = 32) -> None:
        from olympiad.inference import Engine
        from olympiad.inference.loading import load_any

        loaded, self.tokenizer = load_any(model)
        self._engine, self._context = Engine(loaded, self.tokenizer, max_batch_size=batch_size), loaded.config.context_limit
        chat = not self._ours and getattr(self.tokenizer, "chat_template", None) is not None
        self.default_style = "rendered" if self._ours else "chat" if chat else "few-shot"

    @property
    def _ours(self) -> bool:
        return isinstance(self.tokenizer, MathTokenizer)

    def complete(self, requests: Iterable[Request]) -> Iterator[Response]:
        asked: list[tuple[Request, list[int]]] = []
        ids: list[int] = []
        previous: Prompt | None = None
        for request in requests:
            if request.prompt is not previous:  # the samples of a problem share theirs
                ids, previous = self._ids(request.prompt), request.prompt
            if len(ids) < self._context:
                asked.append((request, ids))
                continue
            why = f"the prompt has {len(ids):,} tokens, the model a context of {self._context:,}"
            yield Response(request, prompt=self.tokenizer.decode(ids), finish_reason="refused", refused=why)
        extra = [{"stop_strings": request.prompt.stop, "logprobs": True} for request, _ in asked]
        sampling = [request.sampling.model_copy(update=more) for (request, _), more in zip(asked, extra, strict=True)]
        for completion in self._engine.stream([ids for _, ids in asked], sampling):
            request, ids = asked[completion.prompt_index]
            text = plain_text(completion.text) if self._ours else completion.text
            logprobs, count = completion.logprobs or [], len(completion.token_ids)
            confidence = math.exp(sum(logprobs) / len(logprobs)) if logprobs else None
            prompt, seconds = self.tokenizer.decode(ids), completion.seconds
            yield Response(request, text, prompt, completion.finish_reason, len(ids), count, seconds, confidence)

    def _ids(self, prompt: Prompt) -> list[int]:
        tokenizer = self.tokenizer
        if prompt.kind == "rendered":
            if not isinstance(tokenizer, MathTokenizer):
                raise EvaluationError("the style 'rendered' is for models trained here: take 'chat' or 'few-shot'")
            return render_prompt(tokenizer, prompt.text)
        if isinstance(tokenizer, MathTokenizer):
            if prompt.kind == "text":
                return [tokenizer.begin_id, *tokenizer.encode(prompt.text)]
            raise EvaluationError("this model has no chat template: take the style 'few-shot' or 'boxed'")
        if prompt.kind == "text":
            return tokenizer.prompt_ids(prompt.text)
        ids = tokenizer.chat_prompt([dict(message) for message in prompt.messages])
        if ids is None:
            raise EvaluationError("this model has no chat template: take the style 'few-shot' or 'boxed'")
        return ids


class TransformersBackend:
    """Transformers' ``generate``: greedy in batches, samples one by one, since each has its own seed."""

    def __init__(self, model: str, batch_size: int = 8) -> None:
        try:
            transformers = importlib.import_module("transformers")
        except ImportError as error:
            raise EvaluationError("the backend 'transformers' needs Transformers: pip install transformers") from error
        import torch

        path = Path(model)
        place, extra = (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (model, {})
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(place, **extra)
            self._model = transformers.AutoModelForCausalLM.from_pretrained(place, **extra).eval()
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise EvaluationError(
                f"Transformers can't load {model!r} ({reason}): give a folder with config.json, weights and tokenizer, "
                "a .gguf file, or the id of a model on the Hugging Face Hub"
            ) from error
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._batch_size = batch_size
        self.default_style = "chat" if self.tokenizer.chat_template else "few-shot"

    def complete(self, requests: Iterable[Request]) -> Iterator[Response]:
        context = getattr(self._model.config, "max_position_embeddings", None) or 2**31
        group: list[tuple[Request, list[int]]] = []
        for request in requests:
            ids = self._ids(request.prompt)
            if len(ids) >= context:
                why = f"the prompt has {len(ids):,} tokens, the model a context of {context:,}"
                yield Response(request, prompt=self.tokenizer.decode(ids), finish_reason="refused", refused=why)
                continue
            limit = min(request.sampling.max_new_tokens, context - len(ids))
            request = replace(request, sampling=request.sampling.model_copy(update={"max_new_tokens": limit}))
            if group and (len(group) == self._batch_size or not _together(group[0][0], request)):
                yield from self._generated(group)
                group = []
            group.append((request, ids))
        if group:
            yield from self._generated(group)

    def _ids(self, prompt: Prompt) -> list[int]:
        if prompt.kind == "text":
            return self.tokenizer(prompt.text).input_ids
        if prompt.kind == "rendered":
            marks = self.tokenizer.convert_tokens_to_ids([special.BEGIN, special.PROBLEM, special.SOLUTION])
            if None in marks or self.tokenizer.unk_token_id in marks:
                raise EvaluationError("the style 'rendered' is for models trained here: take 'chat' or 'few-shot'")
            return [*marks[:2], *self.tokenizer(prompt.text, add_special_tokens=False).input_ids, marks[2]]
        if not self.tokenizer.chat_template:
            raise EvaluationError("this model has no chat template: take the style 'few-shot' or 'boxed'")
        messages = [dict(message) for message in prompt.messages]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def _generated(self, group: Sequence[tuple[Request, list[int]]]) -> Iterator[Response]:
        import torch

        started = time.perf_counter()
        prompt, sampling = group[0][0].prompt, group[0][0].sampling
        width = max(len(ids) for _, ids in group)
        pad, device = self.tokenizer.pad_token_id or 0, self._model.device
        padded = torch.tensor([[pad] * (width - len(ids)) + ids for _, ids in group], device=device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for _, ids in group], device=device)
        options: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens}
        options |= {"do_sample": sampling.temperature > 0, "repetition_penalty": sampling.repetition_penalty}
        options |= {"pad_token_id": pad}
        if prompt.stop:
            options |= {"stop_strings": list(prompt.stop), "tokenizer": self.tokenizer}
        if sampling.temperature > 0:
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k or 0}
            options |= {"min_p": sampling.min_p} if sampling.min_p > 0 else {}
            torch.manual_seed(sampling.seed or 0)
        with torch.no_grad():
            rows = self._model.generate(padded, attention_mask=mask, **options)[:, width:].tolist()
        seconds = (time.perf_counter() - started) / len(group)
        for (request, ids), row in zip(group, rows, strict=True):
            yield self._response(request, ids, row, seconds)

    def _response(self, request: Request, ids: list[int], row: list[int], seconds: float) -> Response:
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        ended = next((place for place, id in enumerate(row) if id in ends), None)
        made = row if ended is None else row[:ended]
        while ended is None and made and made[-1] == self.tokenizer.pad_token_id:  # others of the batch went on
            made = made[:-1]
        if request.prompt.kind == "rendered":
            decoded = plain_text(self.tokenizer.decode(made, skip_special_tokens=False))
        else:
            decoded = self.tokenizer.decode(made, skip_special_tokens=True)
        text, stopped = cut_at(decoded, request.prompt.stop)
        reason = "stop" if stopped or ended is not None else "length"
        count = len(made) + (ended is not None)
        return Response(request, text, self.tokenizer.decode(ids), reason, len(ids), count, seconds)

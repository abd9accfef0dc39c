"""Any OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, hosted ones): many requests at once, patient with all of them.

What may pass is tried again, with growing pauses: no connection, a timeout, status 408, 409, 425, 429 and 5xx, an answer
that is none. After 429 nobody asks until the time that the server named. What won't pass ends the evaluation, except a
single request that is refused (too long for the model), or fails each time while others are answered: that becomes a
response which says so.
"""

from __future__ import annotations

import email.utils
import json
import os
import queue
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .backends import Request, Response
from .errors import BackendError, EvaluationError

MAX_BYTES = 64_000_000
LONGEST_PAUSE = 60.0
LAST_ANSWERS = 30.0  # seconds for requests under way when another one failed for good
MOST_REFUSALS = 8  # without one answer: then it is not the request
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
REQUEST_AT_FAULT = {400, 413, 422}


class EndpointOptions(BaseModel):
    """How to ask an endpoint; nothing of this changes an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or "http://localhost:8000/v1")
    """Up to /v1; OPENAI_BASE_URL if absent. The key, if any, is that of OPENAI_API_KEY."""
    concurrency: int = Field(default=16, ge=1, le=1_000)
    """Requests under way at once."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds for one answer."""
    attempts: int = Field(default=6, ge=1)
    """Tries of a request; waiting for a rate limit is none."""
    patience: float = Field(default=3_600.0, ge=0)
    """Seconds that a request waits for rate limits, in all, and the longest pause that a server may ask for."""
    first_pause: float = Field(default=0.5, ge=0)
    """Seconds before the second try; doubled each time, up to a minute."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would ask the other address without the question, and tell it the key."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Passing(Exception):
    """Another try may help. ``pause``: seconds that the server asked for. ``down``: nobody is there, whatever is asked."""

    def __init__(self, reason: str, pause: float | None = None, limited: bool = False, down: bool = False) -> None:
        super().__init__(reason)
        self.pause, self.limited, self.down = pause or 0.0, limited, down


class _Refused(Exception):
    """This request is at fault."""


@dataclass
class _State:
    """Of one call of ``complete``, shared by its threads."""

    waiting: Iterator[Request]
    results: queue.Queue[Response | BackendError | None] = field(default_factory=queue.Queue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    not_before: float = 0.0
    answered: int = 0
    held: list[Response] = field(default_factory=list)
    """Refusals before the first answer: those of a server that refuses everything are none."""
    failing: list[tuple[Response, bool]] = field(default_factory=list)
    """Requests that failed each time, until somebody gets through; and whether others did since they began."""
    exhausted: bool = False


class EndpointBackend:
    """Asks ``model`` at an endpoint, chats at ``/chat/completions`` and texts at ``/completions``."""

    default_style = "chat"

    def __init__(self, model: str, options: EndpointOptions) -> None:
        self.model, self.options = model, options
        if not options.url.startswith(("http://", "https://")):
            raise EvaluationError(f"the endpoint is {options.url!r}, expected a URL such as http://localhost:8000/v1")
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (self._key.isascii() and self._key.isprintable()):  # it is not shown
            raise EvaluationError("OPENAI_API_KEY holds a line break or another character that no key has: set it again")
        self._opener = urllib.request.build_opener(_NoRedirects)

    def complete(self, requests: Iterable[Request]) -> Iterator[Response]:
        state = _State(iter(requests))
        threads = [threading.Thread(target=self._work, args=(state,), daemon=True) for _ in range(self.options.concurrency)]
        for thread in threads:
            thread.start()
        running, failure, deadline = len(threads), None, None
        try:
            while running:
                try:
                    result = state.results.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
                if result is None:
                    running -= 1
                elif isinstance(result, BackendError):
                    failure, deadline = failure or result, deadline or time.monotonic() + LAST_ANSWERS
                else:
                    yield result
        finally:
            state.stop.set()
        if failure is not None:
            raise failure
        for response, others in state.failing:
            if not others:
                raise self._given_up(response.refused)
            yield response
        if len(state.held) > 1:
            raise self._hopeless(state.held[0].refused)
        yield from state.held

    def _work(self, state: _State) -> None:
        try:
            while not state.stop.is_set():
                with state.lock:
                    request = next(state.waiting, None)
                    state.exhausted |= request is None
                if request is None:
                    break
                if (response := self._answer(request, state)) is not None:
                    self._hand_over(response, state)
        except BackendError as error:
            state.stop.set()
            state.results.put(error)
        except Exception as error:  # a bug, or a failing source of requests: told by the caller's thread
            state.stop.set()
            failure = BackendError(f"asking {self.options.url} failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            state.results.put(failure)
        finally:
            state.results.put(None)

    def _answer(self, request: Request, state: _State) -> Response | None:
        """The response; None when told to stop, or when it failed and has to wait for others."""
        tries, limits, limited_until = 0, 0, time.monotonic() + self.options.patience
        began = again = state.answered
        while True:
            if state.stop.wait(max(0.0, state.not_before - time.monotonic())):
                return None
            if time.monotonic() < state.not_before:
                continue
            if tries <= 1:  # counted from the second try on: a server that just broke down answered before
                again = state.answered
            try:
                return self._ask(request)
            except _Refused as refusal:
                return _refusal(request, str(refusal))
            except _Passing as error:
                if error.pause > self.options.patience or (error.limited and time.monotonic() > limited_until):
                    what = "limits the rate" if error.limited else "asks for a pause"
                    raise self._given_up(f"it {what} ({error}) beyond {self.options.patience:g} seconds") from error
                doubled = 2 ** min(limits if error.limited else tries, 16)
                own = min(LONGEST_PAUSE, self.options.first_pause * doubled) * random.uniform(0.75, 1.25)
                pause = max(own, error.pause)  # "at once" is no answer to the question when
                if error.limited:
                    with state.lock:
                        state.not_before = max(state.not_before, time.monotonic() + pause)
                    limits += error.pause < self.options.first_pause  # a longer pause each time, but no end to tries
                    continue
                tries += 1
                if tries >= self.options.attempts:
                    why = f"{error}, after {tries} tries"
                    if error.down:
                        raise self._given_up(why) from error
                    return self._failed(_refusal(request, why), began, again, state)
                if state.stop.wait(pause):
                    return None

    def _failed(self, response: Response, began: int, again: int, state: _State) -> Response | None:
        """Of a request that failed each time: where others were answered meanwhile it is at fault, else it waits for that.

        Two that wait while there is more to ask: nobody gets through.
        """
        with state.lock:
            if state.answered > again:
                return response
            state.failing.append((response, state.answered > began))
            if len(state.failing) < 2 or state.exhausted:
                return None
        raise self._given_up(response.refused)

    def _hand_over(self, response: Response, state: _State) -> None:
        """A refusal waits for the first answer to another request, which tells that it is the request's own fault."""
        with state.lock:
            state.held.append(response)
            if not response.refused:
                state.answered += 1
                state.held += [each for each, _ in state.failing]
                state.failing.clear()
            if state.answered:
                for each in state.held:
                    state.results.put(each)
                state.held.clear()
        if len(state.held) >= MOST_REFUSALS:
            raise self._hopeless(response.refused)

    def _hopeless(self, why: str) -> BackendError:
        return BackendError(
            f"{self.options.url} refuses each request to {self.model!r}: {why}; check the model's name and --style"
        )

    def _given_up(self, why: str) -> BackendError:
        return BackendError(
            f"no answer from {self.options.url}: {why}. Is the server up, and is this its address (--url)? "
            "What was answered is kept: the same command goes on"
        )

    def _ask(self, request: Request) -> Response:
        prompt, sampling = request.prompt, request.sampling
        if prompt.kind == "rendered":
            raise BackendError("the style 'rendered' needs our tokenizer, an endpoint has its own: take 'chat' or 'few-shot'")
        chat = prompt.kind == "chat"
        body: dict[str, Any] = {"model": self.model, "max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature}
        body |= {"messages": [dict(message) for message in prompt.messages]} if chat else {"prompt": prompt.text}
        body |= {"seed": sampling.seed} if sampling.seed is not None else {}
        body |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
        body |= {"top_k": sampling.top_k} if sampling.top_k is not None else {}
        body |= {"min_p": sampling.min_p} if sampling.min_p > 0 else {}
        body |= {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty != 1 else {}
        body |= {"stop": list(prompt.stop)} if prompt.stop else {}
        started = time.perf_counter()
        answer = self._post("chat/completions" if chat else "completions", body)
        return _response(request, answer, chat, time.perf_counter() - started)

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "olympiad"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self.options.url.rstrip('/')}/{path}"
        post = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        deadline = time.monotonic() + self.options.timeout
        try:
            with self._opener.open(post, timeout=self.options.timeout) as reply:
                content = _read(reply, MAX_BYTES, deadline)
        except urllib.error.HTTPError as error:
            raise self._status(error, deadline) from error
        except TimeoutError as error:
            raise _Passing(f"no answer within {self.options.timeout:g} seconds") from error
        except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
            reason = getattr(error, "reason", error)
            down = isinstance(reason, ConnectionRefusedError | socket.gaierror)
            raise _Passing(f"{reason}" if not isinstance(reason, TimeoutError) else "it timed out", down=down) from error
        if len(content) > MAX_BYTES:
            raise _Passing(f"an answer of over {MAX_BYTES:,} bytes")
        return content

    def _status(self, error: urllib.error.HTTPError, deadline: float) -> Exception:
        """What a status other than 200 means."""
        try:
            said = _message(_read(error, 100_000, deadline))
        except (OSError, HTTPException):
            said = ""
        what = f"status {error.code}" + (f" ({said})" if said else "")
        if error.code in PASSING:
            pause = retry_after(error.headers.get("Retry-After"))
            limited = error.code == 429 or (error.code == 503 and pause is not None)
            return _Passing(what, pause, limited, down=error.code in (502, 503))  # of what is in between: none behind it
        if error.code in REQUEST_AT_FAULT:
            return _Refused(what)
        hint = {
            401: "set OPENAI_API_KEY",
            403: "check OPENAI_API_KEY",
            404: "check the model's name, and that --url ends with /v1",
        }.get(error.code, "check --url")
        if 300 <= error.code < 400 and (place := error.headers.get("Location")):
            hint = f"it sends to {_one_line(place)!r}, where nothing is asked: if that is right, give its address up to /v1 (--url)"
        return BackendError(f"{self.options.url} answers with {what} when asked for {self.model!r}: {hint}")


def _read(reply: Any, most: int, deadline: float) -> bytes:
    """An answer of at most so many bytes and some; the socket's own limit is for each piece, and a drop is one.

    Raises:
        TimeoutError: it is not here by ``deadline``.
    """
    content = b""
    while len(content) <= most and (piece := reply.read1(1_000_000)):
        content += piece
        if time.monotonic() > deadline:
            raise TimeoutError
    return content


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number of them, or a date (RFC 9110, section 10.2.3).

    >>> retry_after("2.5"), retry_after("soon"), retry_after("Thu, 01 Jan 1970 00:00:00 GMT")
    (2.5, None, 0.0)
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def _message(content: bytes) -> str:
    """The error message in an answer, in one short line."""
    text = content.decode("utf-8", "replace")
    try:
        error = json.loads(text).get("error")
        text = error["message"] if isinstance(error, dict) else error or text
    except (ValueError, AttributeError, KeyError):
        pass
    return _one_line(str(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _shown(request: Request) -> Any:
    return request.prompt.text if request.prompt.kind == "text" else [dict(message) for message in request.prompt.messages]


def _refusal(request: Request, why: str) -> Response:
    return Response(request, prompt=_shown(request), finish_reason="refused", refused=why)


def _response(request: Request, content: bytes, chat: bool, seconds: float) -> Response:
    """The response in a server's answer."""
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        text = choice["message"]["content"] if chat else choice["text"]
        thought = (choice["message"].get("reasoning_content") or choice["message"].get("reasoning")) if chat else None
        usage = answer.get("usage") or {}
        reason = choice.get("finish_reason")
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        if not isinstance(text if text is not None else "", str) or not isinstance(thought or "", str):
            raise TypeError
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        start = " ".join(content[:200].decode("utf-8", "replace").split())
        raise _Passing(
            f"it answers with something else than an OpenAI-compatible completion, beginning with {start[:100]!r}"
        ) from error
    if thought:
        text = f"<think>\n{thought}\n</think>\n{text or ''}"
    text = (text or "").encode("utf-8", "replace").decode()  # halves of characters
    prompt_tokens, tokens = (count if isinstance(count, int) else None for count in counts)
    return Response(request, text, _shown(request), "length" if reason == "length" else "stop", prompt_tokens, tokens, seconds)

"""Endpoints that are down, slow, limited, broken: nothing is lost, nothing hangs, each message says what to do."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from server import Server, completion

from olympiad.evaluation.backends import Request, Response
from olympiad.evaluation.endpoint import EndpointBackend, EndpointOptions, retry_after
from olympiad.evaluation.errors import BackendError, EvaluationError
from olympiad.evaluation.prompts import STYLES
from olympiad.model.generation import SamplingOptions


def requests(count: int, style: str = "chat", **sampling: Any) -> list[Request]:
    options = SamplingOptions(max_new_tokens=32, **sampling)
    return [
        Request(str(number), STYLES[style].prompt(f"What is {number} + 1?"), options.model_copy(update={"seed": number}))
        for number in range(count)
    ]


def backend(url: str, **options: Any) -> EndpointBackend:
    quick = {"concurrency": 4, "timeout": 5.0, "attempts": 3, "first_pause": 0.01}
    return EndpointBackend("m", EndpointOptions(url=url, **{**quick, **options}))


def texts(found: EndpointBackend, asked: list[Request]) -> dict[str, str]:
    return {response.request.id: response.text for response in found.complete(asked)}


def test_what_is_asked_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a seed, a stop string or a temperature that is not sent, and responses that go to other requests."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Server(lambda body, _: f"seed {body['seed']}") as server:
        assert texts(backend(server.url), requests(9, temperature=0.5, top_p=0.9)) == {str(n): f"seed {n}" for n in range(9)}
        first = server.asked[0]
        assert first["path"] == "/v1/chat/completions"
        assert first["authorization"] == "Bearer secret"
        assert (first["model"], first["max_tokens"], first["temperature"], first["top_p"]) == ("m", 32, 0.5, 0.9)
        assert first["messages"][0]["content"].startswith("What is ")
        (response,) = backend(server.url).complete(requests(1, "few-shot"))
        assert server.asked[-1]["path"] == "/v1/completions"
        assert server.asked[-1]["stop"] == ["\nProblem:"]
        assert server.asked[-1]["prompt"].endswith("What is 0 + 1?\nSolution:")
        assert (response.text, response.tokens, response.prompt_tokens) == ("seed 0", 2, 7)


def test_requests_are_under_way_at_once() -> None:
    """Guards against one request after the other, and against more at once than allowed."""
    running, most, lock = [0], [0], threading.Lock()

    def answer(body: dict[str, Any], number: int) -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.1)
        with lock:
            running[0] -= 1
        return "ok"

    with Server(answer) as server:
        assert len(texts(backend(server.url, concurrency=6), requests(18))) == 18
    assert 3 <= most[0] <= 6


def test_down() -> None:
    """Guards against a traceback, and against endless tries, where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(BackendError, match=r"no answer from http.*refused.*after 3 tries.*--url.*goes on"):
        texts(backend(url), requests(3))


def test_slow() -> None:
    """Guards against waiting for ever for a server that takes requests and never answers."""
    with Server(lambda *_: time.sleep(3) or "late") as server:
        started = time.monotonic()
        with pytest.raises(BackendError, match=r"no answer within 0.2 seconds|timed out"):
            texts(backend(server.url, timeout=0.2, attempts=2), requests(1))
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("header", ["0.3", None])
def test_rate_limits_are_waited_for(header: str | None) -> None:
    """Guards against a limit of rate that uses up the tries, and against asking again before the time that was named."""
    times: list[float] = []

    def answer(body: dict[str, Any], number: int) -> Any:
        times.append(time.monotonic())
        headers = {} if header is None else {"Retry-After": header}
        return (429, headers, b'{"error": {"message": "slow down"}}') if number < 12 else "ok"

    with Server(answer) as server:
        assert len(texts(backend(server.url, attempts=2, concurrency=2), requests(4))) == 4
    if header is not None:
        pauses = [b - a for a, b in pairwise(times)]
        assert sum(pause > 0.2 for pause in pauses[:12]) >= 5


def test_impatience() -> None:
    """Guards against an evaluation that hangs for a day since the server says so."""
    with (
        Server(lambda *_: (429, {"Retry-After": "86400"}, b"")) as server,
        pytest.raises(BackendError, match="limits the rate"),
    ):
        texts(backend(server.url, patience=1.0), requests(2))


def test_failures_that_pass() -> None:
    """Guards against an answer lost to one failure: of the server, of the connection, or of what is between."""
    broken: list[Any] = [
        (500, {}, b"oops"),
        None,
        (200, {}, b"<html>bad gateway</html>"),
        (200, {}, b"{}"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": 5}}]}'),
        (200, {"Content-Length": "900"}, b"{"),
        (200, {}, b"[" * 100_000),
    ]
    with Server(lambda _, number: broken[number] if number < len(broken) else "ok") as server:
        assert texts(backend(server.url, attempts=20, concurrency=1), requests(2)) == {"0": "ok", "1": "ok"}
        assert len(server.asked) == len(broken) + 2


def test_garbage_for_ever() -> None:
    """Guards against garbage that is taken for an answer; the message shows how it begins."""
    with (
        Server(lambda *_: (200, {}, b"<html>login</html>")) as server,
        pytest.raises(BackendError, match="something else than an OpenAI-compatible completion, beginning with '<html>login"),
    ):
        texts(backend(server.url), requests(2))


@pytest.mark.parametrize(("status", "hint"), [(401, "OPENAI_API_KEY"), (404, "model's name"), (301, "--url")])
def test_what_will_not_pass_is_told_at_once(status: int, hint: str) -> None:
    """Guards against trying a wrong key or a wrong model again and again."""
    with Server(lambda *_: (status, {}, b'{"error": {"message": "no\\nsuch thing"}}')) as server:
        with pytest.raises(BackendError, match=rf"{status} \(no such thing\).*{hint}"):
            texts(backend(server.url, concurrency=1), requests(3))
        assert len(server.asked) == 1


def test_a_refused_request_is_a_response() -> None:
    """Guards against one prompt that is too long for the model ending the evaluation of all others."""

    def answer(body: dict[str, Any], number: int) -> Any:
        too_long = body["seed"] == 2
        return (400, {}, b'{"error": {"message": "maximum context length"}}') if too_long else "ok"

    with Server(answer) as server:
        responses = {response.request.id: response for response in backend(server.url).complete(requests(4))}
    assert [responses[str(n)].text for n in range(4)] == ["ok", "ok", "", "ok"]
    assert "maximum context length" in responses["2"].refused
    assert responses["2"].finish_reason == "refused"


def test_refusing_everything_is_an_error() -> None:
    """Guards against a whole evaluation of refusals, where the request is wrong for this server."""
    for count in (2, 30):
        got: list[Response] = []
        with Server(lambda *_: (400, {}, b'{"error": "no such model"}')) as server:
            with pytest.raises(BackendError, match=r"refuses each request to 'm': status 400 .no such model"):
                got.extend(backend(server.url).complete(requests(count)))
            assert len(server.asked) <= 12
        assert not got, "refusals that are rows are never asked again"


def test_refusals_before_the_first_answer() -> None:
    """Guards against a prompt that is too long and comes first, or alone, and is lost, or holds up the others."""
    refuse = 400, {}, b"too long"
    with Server(lambda _, number: refuse if number < 3 else "ok") as server:
        responses = list(backend(server.url, concurrency=1).complete(requests(5)))
    assert [response.finish_reason for response in responses] == [*["refused"] * 3, "stop", "stop"]
    with Server(lambda *_: refuse) as server:
        (response,) = backend(server.url).complete(requests(1))
    assert response.finish_reason == "refused"


def test_answers_under_way_are_kept() -> None:
    """Guards against answers that were asked for and thrown away when another request fails, and asking on and on."""

    def answer(body: dict[str, Any], number: int) -> Any:
        if body["seed"] == 0:
            time.sleep(0.1)  # until the others are asked
            return 404, {}, b""
        time.sleep(0.3)
        return "ok"

    got: list[str] = []
    with Server(answer) as server:
        with pytest.raises(BackendError):
            got.extend(response.request.id for response in backend(server.url).complete(requests(40)))
        assert len(server.asked) == 4
    assert sorted(got) == ["1", "2", "3"]


def test_thoughts_come_before_the_answer() -> None:
    """Guards against the thoughts of a reasoning model that are lost, or searched for an answer."""
    message = {"role": "assistant", "content": None, "reasoning_content": "is it 5?"}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}).encode()
    with Server(lambda *_: (200, {}, body)) as server:
        (response,) = backend(server.url).complete(requests(1))
    assert response.text == "<think>\nis it 5?\n</think>\n"
    assert (response.finish_reason, response.tokens) == ("length", None)


def test_half_characters() -> None:
    """Guards against a text that can't be written to a file."""
    with Server(lambda *_: (200, {}, completion("a\ud800b"))) as server:
        (response,) = backend(server.url).complete(requests(1))
    response.text.encode()


def test_misuse() -> None:
    """Guards against a URL without a scheme, and our renderer's style at an endpoint, told as something else."""
    with pytest.raises(EvaluationError, match="expected a URL such as"):
        backend("localhost:8000")
    with pytest.raises(BackendError, match="take 'chat' or 'few-shot'"):
        texts(backend("http://127.0.0.1:9/v1"), requests(1, "rendered"))


def test_retry_after() -> None:
    """Guards against dates, negative numbers and nonsense in the header."""
    assert retry_after("-3") == 0
    assert retry_after("inf") is None
    assert retry_after("nan") is None
    assert retry_after("Fri, 31 Dec 2100 23:59:59 GMT") > 1e6  # type: ignore[operator]


@pytest.mark.parametrize("key", ["secret\rInjected: yes", "sécret"])
def test_a_damaged_key_is_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Guards against a key in an error message, and a header that the key brings along."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(EvaluationError, match="OPENAI_API_KEY holds") as caught:
        backend("http://127.0.0.1:9/v1")
    assert "cret" not in str(caught.value)


def test_a_key_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against the line break at the end of a key's file."""
    monkeypatch.setenv("OPENAI_API_KEY", " secret\r\n")
    with Server(lambda *_: "ok") as server:
        texts(backend(server.url), requests(1))
    assert server.asked[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """Guards against a key that is told to another host, and a question that becomes a GET without one."""
    with Server(lambda *_: "ok") as other, Server(lambda *_: (status, {"Location": f"{other.url}/x"}, b"")) as server:
        with pytest.raises(BackendError, match=rf"{status} when.*sends to '{other.url}/x'.*--url"):
            texts(backend(server.url, concurrency=1), requests(2))
        assert (len(server.asked), len(other.asked)) == (1, 0)


def test_limits_without_a_time() -> None:
    """Guards against asking thousands of times where the server says "in 0 seconds", or names a time that is over."""
    for header in ("0", "Thu, 01 Jan 1970 00:00:00 GMT"):
        with Server(lambda *_, header=header: (429, {"Retry-After": header}, b"")) as server:
            with pytest.raises(BackendError, match="limits the rate"):
                texts(backend(server.url, patience=1.0, first_pause=0.1), requests(4))
            assert len(server.asked) < 40


def test_a_failing_server_that_names_a_long_pause() -> None:
    """Guards against an evaluation that sleeps for a day, and against asking again before the time that was named."""
    started = time.monotonic()
    with (
        Server(lambda *_: (500, {"Retry-After": "86400"}, b"")) as server,
        pytest.raises(BackendError, match=r"asks for a pause \(status 500\) beyond 1 seconds"),
    ):
        texts(backend(server.url, patience=1.0), requests(1))
    assert time.monotonic() - started < 1
    with Server(lambda _, number: "ok" if number else (500, {"Retry-After": "0.5"}, b"")) as server:
        assert texts(backend(server.url), requests(1)) == {"0": "ok"}
    assert time.monotonic() - started > 0.5


@pytest.mark.parametrize(("concurrency", "failing"), [(1, {0}), (4, {0}), (4, {5, 6}), (4, {10, 11})])
def test_a_request_that_always_fails(concurrency: int, failing: set[int]) -> None:
    """Guards against one request that ends the evaluation of all others, each time it is started again."""

    def answer(body: dict[str, Any], number: int) -> Any:
        time.sleep(0.01)
        return (500, {}, b"assertion failed") if body["seed"] in failing else "ok"

    with Server(answer) as server:
        responses = {each.request.id: each for each in backend(server.url, concurrency=concurrency).complete(requests(12))}
    assert len(responses) == 12
    assert {int(id) for id, each in responses.items() if each.refused} == failing
    assert {each.refused for each in responses.values()} == {"", "status 500 (assertion failed), after 3 tries"}


@pytest.mark.parametrize("reply", [(500, {}, b""), (502, {}, b""), (503, {}, b""), None])
def test_a_server_that_breaks_down(reply: Any) -> None:
    """Guards against rows of "no answer" for all that was under way when the server broke down."""
    got: list[Response] = []
    with (
        Server(lambda _, number: "ok" if number < 8 else reply) as server,
        pytest.raises(BackendError, match="no answer from"),
    ):
        got.extend(backend(server.url).complete(requests(40)))
    assert [each.refused for each in got] == [""] * 8


def test_an_answer_in_drops() -> None:
    """Guards against an answer of which a byte comes now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(100_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(BackendError, match=r"no answer within 0.4 seconds"):
            texts(backend(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", timeout=0.4, attempts=1), requests(1))
        assert time.monotonic() - started < 2

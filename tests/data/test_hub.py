"""Loading from the Hugging Face Hub, through the real library, from a small Hub of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from olympiad.data.sources import SOURCES

# A process of its own, since huggingface_hub reads its settings once, at import. It doesn't wait, it adds up the waits.
WORKER = """
import json, sys, time
waits = []
time.sleep = waits.append
from olympiad.data import DataError, MathDatasetLoader
for line in sys.stdin:
    method, arguments = json.loads(line)
    waits.clear()
    answer = {}
    try:
        problems = getattr(MathDatasetLoader(), method)(**arguments)
        answer["problems"] = [[p.id, p.problem, p.solution, p.answer, p.subject, p.level] for p in problems]
    except DataError as error:
        answer["error"] = str(error)
    except Exception as error:
        answer["bug"] = repr(error)
    print(json.dumps(answer | {"waited": sum(waits)}), flush=True)
"""


@dataclass
class Hub:
    """What our Hub holds (path -> bytes), how it misbehaves, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    fault: str = ""
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""

    @property
    def downloads(self) -> list[str]:
        return [request for request in self.requests if request.startswith("GET")]


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            content = hub.files.get(self.path)
            if hub.fault == "reset" or (hub.fault == "reset download" and self.command == "GET"):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close without a goodbye
                self.connection.close()
                return
            status = int(hub.fault) if hub.fault.isdigit() else 200 if content is not None else 404
            if status != 200:
                content = b'{"error": "no such thing"}'
            assert content is not None
            if hub.fault == "garbage":
                content = b"<html>Please log in to the hotel's network</html>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if hub.fault != "no Hub" and status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            elif hub.fault != "no Hub" and status == 200:
                self.send_header("X-Repo-Commit", "c" * 40)
                self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                cut = 0 if hub.fault == "cut" else len(content)
                self.wfile.write(content[:cut])

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, ValueError):  # the connection that was closed above
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    return Handler


class Client:
    """The loaders in another process, that knows this Hub and no other."""

    def __init__(self, endpoint: str, home: Path) -> None:
        ours = ("HF_", "HUGGING", "OLYMPIAD_DATA", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "XDG_CACHE_HOME")
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
        environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def load(self, method: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([method, arguments]), file=self.process.stdin, flush=True)
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        try:
            answer = json.loads(self.process.stdout.readline() or '{"bug": "no answer in a minute"}')
        finally:
            timer.cancel()
        assert "bug" not in answer, answer["bug"]
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    hub = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(hub)) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def worker(server: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(server.endpoint, tmp_path_factory.mktemp("hub"))
    yield client
    client.close()


@pytest.fixture
def hub(server: Hub) -> Hub:
    """The Hub with nothing wrong, holding GSM8K and MATH."""
    server.fault = ""
    server.requests.clear()
    server.files = {
        "/datasets/openai/gsm8k/resolve/main/main/train-00000-of-00001.parquet": table(
            [
                {"question": f"What is {n} plus {n}?", "answer": f"{n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}"}
                for n in (1, 2)
            ]
        )
    }
    for (
        subject
    ) in "algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra precalculus".split():
        row = {"problem": f"A problem of {subject}?", "level": "Level 3", "type": subject, "solution": r"$\boxed{1}$"}
        path = f"/datasets/EleutherAI/hendrycks_math/resolve/main/{subject}/train-00000-of-00001.parquet"
        server.files[path] = table([row, row])
    return server


@pytest.fixture
def client(worker: Client) -> Client:
    """The client with an empty cache."""
    shutil.rmtree(worker.home, ignore_errors=True)
    return worker


def table(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows), file)
    return file.getvalue()


def test_gsm8k(hub: Hub, client: Client) -> None:
    """A repository, a file name or a field that is not the Hub's."""
    problems = client.load("load_gsm8k")["problems"]
    assert [problem[1:4] for problem in problems] == [
        ["What is 1 plus 1?", "1+1=2", "2"],
        ["What is 2 plus 2?", "2+2=4", "4"],
    ]


def test_math_comes_from_seven_files(hub: Hub, client: Client) -> None:
    """One of the seven subjects left out, or ids that two of them share."""
    problems = client.load("load_math_dataset")["problems"]
    assert len(problems) == 14 == len({problem[0] for problem in problems})
    assert len({problem[4] for problem in problems}) == 7
    assert len(hub.downloads) == 7


def test_limit_downloads_no_further(hub: Hub, client: Client) -> None:
    """Gigabytes fetched for the first three problems."""
    assert len(client.load("load_math_dataset", limit=3)["problems"]) == 3
    assert len(hub.downloads) == 2


@pytest.mark.parametrize("fault", ["", "500", "reset"])
def test_second_load_uses_the_cache(hub: Hub, client: Client, fault: str) -> None:
    """Everything downloaded again each time, or a Hub that is down keeping us from what lies here."""
    first = client.load("load_gsm8k")
    hub.requests.clear()
    hub.fault = fault
    assert client.load("load_gsm8k") == first | {"waited": 0}
    assert hub.downloads == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "404"),
        ("403", "403 Forbidden"),
        ("401", "401 Unauthorized"),
        ("500", "500"),
        ("429", "429"),
        ("reset", "reset"),
        ("reset download", "reset"),
        ("cut", "RemoteProtocolError"),
        ("no Hub", "X-Repo-Commit"),
    ],
)
def test_faults_of_the_hub(hub: Hub, client: Client, fault: str, reason: str) -> None:
    """A traceback out of the library or its HTTP client, no end of retries, or an error without a way out."""
    hub.fault = fault
    answer = client.load("load_gsm8k")
    assert "can't fetch main/train-00000-of-00001.parquet of openai/gsm8k from the Hugging Face Hub" in answer["error"]
    assert "set OLYMPIAD_DATA to a folder that holds the data" in answer["error"]
    assert reason in answer["error"]
    assert answer["waited"] <= 30
    assert len(hub.requests) <= 20


def test_missing_file(hub: Hub, client: Client) -> None:
    """A data set that was moved, reported as a fault of the connection without the file's name."""
    hub.files.clear()
    answer = client.load("load_math_dataset")
    assert "can't fetch algebra/train-00000-of-00001.parquet of EleutherAI/hendrycks_math" in answer["error"]
    assert "404" in answer["error"]
    assert answer["waited"] == 0


def test_garbage(hub: Hub, client: Client) -> None:
    """A login page saved as a data set, and no word of how to get rid of it."""
    hub.fault = "garbage"
    error = client.load("load_gsm8k")["error"]
    assert "is not a whole Parquet file" in error
    hub.fault = ""
    Path(error.split("delete ")[1].removesuffix(" to fetch it again")).unlink()
    assert len(client.load("load_gsm8k")["problems"]) == 2


def test_nobody_listens(tmp_path: Path) -> None:
    """No connection at all: minutes of retries before the advice."""
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path)
        try:
            answer = client.load("load_aops")
        finally:
            client.close()
    assert "can't fetch data/train-00000-of-00005.parquet of AI-MO/NuminaMath-CoT" in answer["error"]
    assert "ConnectError" in answer["error"]
    assert answer["waited"] == 0


def test_every_source_can_be_had() -> None:
    """A split that is neither on the Hub nor in the folder, or files on the Hub of no repository."""
    for source in SOURCES.values():
        for split in source.splits.values():
            assert split.local
            assert bool(split.hub_files) == bool(source.hub_repository)
    local_only = {source.name for source in SOURCES.values() if not source.hub_repository}
    assert local_only == {"aimo"} | {source.name for source in SOURCES.values() if source.kind == "text"}


def test_any_set_by_its_name(hub: Hub, client: Client) -> None:
    """A JSON list, or a set that has no loader of its own, that only the data folder can give."""
    rows = [{"problem": "What is 1 + 1?", "answer": "2", "solution": ""}, {"problem": "And 1 + 2?", "answer": 3}]
    path = "/datasets/agentica-org/DeepScaleR-Preview-Dataset/resolve/main/deepscaler.json"
    hub.files[path] = json.dumps(rows).encode()
    problems = client.load("load", source="deepscaler")["problems"]
    assert [problem[1:4] for problem in problems] == [["What is 1 + 1?", "", "2"], ["And 1 + 2?", "", "3"]]

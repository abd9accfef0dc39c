"""Models from the Hugging Face Hub, through the real library, from a small Hub of our own on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small_models import foreign, lively, tiny_config

from olympiad.interop import load_huggingface, save_huggingface

NOTHING_THERE = "http://127.0.0.1:9"
COMMIT = "c" * 40
FOREIGN = foreign()


@dataclass
class Hub:
    """What our Hub holds (path in the repository -> bytes), and what was downloaded."""

    files: dict[str, bytes]
    endpoint: str = ""
    downloads: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | None:
        path = path.partition("?")[0]
        if path.startswith("/api/models/maths/tiny/tree/"):
            rows = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.files.items()]
            return json.dumps(rows).encode()
        if path.startswith("/api/models/maths/tiny"):
            siblings = [{"rfilename": name} for name in self.files]
            return json.dumps({"id": "maths/tiny", "sha": COMMIT, "siblings": siblings}).encode()
        if path.startswith("/maths/tiny/resolve/"):
            return self.files.get(path.split("/", 5)[5])
        return None


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = hub.answer(self.path)
            status = 404 if content is None else 200
            content = b'{"error": "no such thing"}' if content is None else content
            if self.command == "GET" and "/resolve/" in self.path:
                hub.downloads.append(self.path.rpartition("/")[2])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound" if "maths/tiny" not in self.path else "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    save_huggingface(lively(tiny_config(FOREIGN)), FOREIGN, tmp_path / "model")
    hub = Hub({path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    hub.files |= {"README.md": b"a model", "pytorch_model.bin": b"never asked for", "original/model.pth": b"nor this"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


def olympiad_import(hub: Hub, tmp_path: Path, out: str, name: str = "maths/tiny") -> Any:
    """The verb in another process that knows this Hub and no other (the library reads its settings once, at import)."""
    ours = ("HF_", "HUGGING", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "olympiad", "import", name, "--out", str(tmp_path / out), "--no-check"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path)


def test_a_model_comes_from_the_hub_and_later_from_its_cache(hub: Hub, tmp_path: Path) -> None:
    """Guards against downloads of every form of the weights that a repository holds, and of all again without a network."""
    run = olympiad_import(hub, tmp_path, "first")
    assert run.returncode == 0, run.stderr
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    assert set(hub.downloads) == wanted
    expected, _ = load_huggingface(tmp_path / "model")
    got, tokenizer = load_huggingface(tmp_path / "first")
    assert got.config == expected.config
    assert tokenizer.json == FOREIGN.json
    hub.endpoint = NOTHING_THERE
    hub.downloads.clear()
    assert olympiad_import(hub, tmp_path, "second").returncode == 0
    assert not hub.downloads
    assert (tmp_path / "second" / "model.safetensors").read_bytes() == (tmp_path / "first" / "model.safetensors").read_bytes()


def test_what_can_not_be_fetched_is_told(hub: Hub, tmp_path: Path) -> None:
    """Guards against a traceback, or minutes of waiting, where the name is wrong or no network is there."""
    run = olympiad_import(hub, tmp_path, "out", "maths/huge")
    assert run.returncode == 1
    assert run.stderr.startswith("error: can't fetch maths/huge from the Hugging Face Hub")
    assert "a folder or a GGUF file on this machine" in run.stderr
    hub.files = {"tiny-Q4_K_M.gguf": b"GGUF"}
    run = olympiad_import(hub, tmp_path, "out")
    assert run.returncode == 1
    assert "holds no config.json; download one of its GGUF files (tiny-Q4_K_M.gguf) and import that" in run.stderr
    hub.endpoint = NOTHING_THERE
    run = olympiad_import(hub, tmp_path, "out")
    assert run.returncode == 1
    assert run.stderr.startswith("error: can't fetch maths/tiny")
    assert not (tmp_path / "out").exists()

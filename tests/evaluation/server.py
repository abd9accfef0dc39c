"""A loopback endpoint for tests: answers as it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[dict[str, Any], int], "Reply | str | None"]


def completion(text: str, chat: bool = True, reason: str = "stop") -> bytes:
    """The body of an OpenAI-compatible completion."""
    choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text.split())}
    return json.dumps({"choices": [{**choice, "finish_reason": reason}], "usage": usage}).encode()


class Server:
    """``answer(body, number)`` gives a text, a (status, headers, body), or None to hang up; number counts from 0."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.asked)
                    outer.asked.append({**body, "path": self.path, "authorization": self.headers.get("Authorization")})
                reply = answer(body, number)
                if reply is None:
                    self.close_connection = True
                    return
                if isinstance(reply, str):
                    reply = 200, {}, completion(reply, self.path.endswith("chat/completions"))
                status, headers, content = reply
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

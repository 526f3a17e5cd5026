"""An OpenAI-compatible server on this machine whose answers a test computes from what it is asked."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


class ChatServer:
    """Answers each chat completion with `answer(body)`: a text, a whole reply, or a status.

    Attributes:
        bodies: every request's, as they came.
        most: requests that were held at once.
        hold: requests wait for it before they are answered.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], Any], models: Sequence[str] = ("tiny",)):
        self.answer, self.models = answer, models
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock, self.hold = threading.Lock(), threading.Event()
        self.running = self.most = 0
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(200, {"data": [{"id": name} for name in outer.models]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.running += 1
                    outer.most = max(outer.most, outer.running)
                outer.hold.wait(60)
                with outer.lock:
                    outer.running -= 1
                    said = outer.answer(body)
                if isinstance(said, int):
                    return self.reply(said, {"error": {"message": "the prompt is too long"}})
                self.reply(200, reply(said) if isinstance(said, str) else said)

            def reply(self, status, content):
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        """From now on nothing listens at its address."""
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Any], models: Sequence[str] = ("tiny",)):
    """A server as long as it is needed."""
    server = ChatServer(answer, models)
    try:
        yield server
    finally:
        server.hold.set()
        server.die()


def reply(text: str, ended: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion of three tokens to a prompt of forty."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": ended, **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 40, "completion_tokens": 3}}


def pictures(body: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a request, in order."""
    parts = [part for message in body["messages"] for part in message["content"] if not isinstance(part, str)]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) for url in urls]

"""An OpenAI-compatible server on this machine that plays a script."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vision_rewards import get_reward

YES, NO = '{"grade": 1}', '{"reason": "it says ENTRY", "grade": 0}'


class Server:
    """An OpenAI-compatible server that plays (status, body or reply, headers), the last one for ever."""

    def __init__(self, *script):
        self.script, self.requests, self.lock = list(script), [], threading.Lock()
        self.running = self.most = 0
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.requests.append((self.path, dict(self.headers), body))
                    outer.running += 1
                    outer.most = max(outer.most, outer.running)
                    status, reply, headers = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                outer.gate.wait(60)
                with outer.lock:
                    outer.running -= 1
                data = reply if isinstance(reply, bytes) else json.dumps(completion_of(reply)).encode()
                self.send_response(status)
                for key, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def judge(self, **params):
        return get_reward("judge", endpoint=self.url, model="m", **{"timeout": 60, **params})


def completion_of(reply):
    return {"choices": [{"message": {"role": "assistant", "content": reply}}], "usage": {"total_tokens": 100}}

"""HTTP to an OpenAI-compatible server: requests with limits, and further tries of what failed in passing."""

from __future__ import annotations

import json
import logging
import os
import queue
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx

Answer = TypeVar("Answer")
RETRIED = frozenset((408, 409, 429, *range(500, 600)))
LONGEST_WAIT = 60.0  # seconds
MAX_REPLY = 1_000_000  # bytes
WHOLE_ANSWER = 10.0  # times `timeout`: what one request may take in all
# Without a handler of its own, every further try would be a bare line on stderr in programs that configure no logging.
logging.getLogger("stamina").addHandler(logging.NullHandler())


class Failure(Exception):
    """Why there is no answer.

    Attributes:
        reason: short code, which begins with whose request it was, such as "judge": "judge_unconfigured",
            "judge_unreachable", "judge_http_429", "judge_unreadable", and of a judge "judge_budget".
        status: of the server's refusal; None where it sent none.
    """

    def __init__(self, reason: str, detail: str, status: int | None = None):
        super().__init__(" ".join(detail.split()))
        self.reason, self.status = reason, status


class Passing(Failure):
    """A failure that may pass, and so is worth a further try.

    Attributes:
        wait: seconds that the server asks for; None: it does not say.
    """

    def __init__(self, reason: str, detail: str, wait: float | None = None, status: int | None = None):
        super().__init__(reason, detail, status)
        self.wait = wait


class ChatClient:
    """One server. Redirects, which would carry the key elsewhere, are failures; threads share it.

    Args:
        url: its base, such as `http://localhost:8000/v1`; a login in it is sent, and stands in no message.
        key_env: environment variable that holds the key; None: none is sent.
        timeout: seconds without a byte after which a request is given up; `WHOLE_ANSWER` times as many in all.
        whose: what reasons of failures begin with.
        longest: most bytes of an answer.

    Raises:
        Failure: no URL, no key where one is named, or a login in the URL beside a key.
    """

    def __init__(
        self, url: str, key_env: str | None, timeout: float, whose: str = "endpoint", longest: int = MAX_REPLY
    ):
        import httpx

        self.timeout, self.whose, self.longest = timeout, whose, longest
        # Identity: a compressed reply could grow past every limit while it is unpacked.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key_env is not None:
            headers["Authorization"] = f"Bearer {self._key(key_env)}"
        try:
            base = httpx.URL(url.rstrip("/"))
            # Not in the URL, which httpx logs.
            self.base, login = base.copy_with(userinfo=b""), (base.username, base.password) if base.userinfo else None
            if base.userinfo and key_env is not None:
                problem = f"a login in the URL and a key in {key_env!r} exclude each other; give one of them"
                raise Failure(f"{whose}_unconfigured", problem)
            # The system's certificates, where companies put theirs; whoever asks limits connections.
            self.client = httpx.Client(
                auth=login,
                headers=headers,
                timeout=timeout,
                verify=ssl.create_default_context(),
                limits=httpx.Limits(max_connections=None),
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            problem = f"the endpoint, or a proxy set in the environment: {error}"
            raise Failure(f"{whose}_unconfigured", problem) from None

    def post(self, path: str, body: Any) -> Any:
        """What the server answers to a request with a body of JSON. Raises Failure: Passing where a further try may
        help."""
        content = json.dumps(body).encode()
        return self._within(partial(self._ask, "POST", path, content))

    def get(self, path: str) -> Any:
        """What the server answers to a request without a body. Raises Failure."""
        return self._within(partial(self._ask, "GET", path, None))

    def close(self) -> None:
        """Ends its connections."""
        self.client.close()

    def _ask(self, method: str, path: str, content: bytes | None) -> Any:
        import httpx

        url = self.base.copy_with(path=self.base.path.rstrip("/") + path)
        try:
            with self.client.stream(method, url, content=content) as response:
                if not response.is_success:
                    raise self._refusal(response)
                raw = self._body(response)
        except httpx.RequestError as error:
            raise Passing(f"{self.whose}_unreachable", f"{type(error).__name__}: {error}") from None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self.unreadable("the server's body is no JSON") from None

    def unreadable(self, detail: str) -> Failure:
        """The failure of an answer that is not in the form that was asked for."""
        return Failure(f"{self.whose}_unreadable", detail)

    def _within(self, ask: Callable[[], Any]) -> Any:
        """What `ask` gives or raises; Passing where it takes longer, however many bytes arrive meanwhile.

        A server that sends one byte after the other holds a thread that nobody waits for, and not the run.
        """
        seconds = WHOLE_ANSWER * self.timeout
        arrived: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                arrived.put((ask(), None))
            except Exception as error:
                arrived.put((None, error))

        threading.Thread(target=run, name=self.whose, daemon=True).start()
        try:
            answer, error = arrived.get(timeout=seconds)
        except queue.Empty:
            raise Passing(f"{self.whose}_unreachable", f"no whole answer within {seconds:g} s") from None
        if error is not None:
            raise error
        return answer

    def _key(self, variable: str) -> str:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise Failure(f"{self.whose}_unconfigured", f"the environment variable {variable!r} is not set")
        if not (key.isascii() and key.isprintable()):
            problem = f"the environment variable {variable!r} holds characters that no key has"
            raise Failure(f"{self.whose}_unconfigured", problem)
        return key

    def _refusal(self, response: httpx.Response) -> Failure:
        code, wait = response.status_code, response.headers.get("Retry-After", "").strip()
        reason, detail = f"{self.whose}_http_{code}", f"{code} {response.reason_phrase} from {response.url}"
        if code not in RETRIED:
            # What is said to a key may hold it.
            return Failure(reason, detail if code in (401, 403) else detail + self._said(response), code)
        return Passing(reason, detail, float(wait) if wait.isdecimal() else None, code)

    def _said(self, response: httpx.Response) -> str:
        """The server's own words on a refusal, in one short line; empty where it has none."""
        import httpx

        try:
            said = json.loads(self._body(response))
        except (Failure, ValueError, RecursionError, httpx.RequestError):
            return ""
        error = said.get("error", said) if isinstance(said, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return f": {message[:300]}" if isinstance(message, str) and message.strip() else ""

    def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self.longest:
                raise self.unreadable(f"the server's reply is longer than {self.longest} bytes")
        return bytes(body)


def with_retries(ask: Callable[[], Answer], retries: int, backoff: float) -> Answer:
    """What `ask` gives, after further tries of what failed in passing.

    Args:
        retries: further tries.
        backoff: seconds before the first of them, doubled each time, or what the server asks for.

    Raises:
        Failure: the last try's.
    """
    import stamina

    for attempt in stamina.retry_context(
        on=_worth_a_try,
        attempts=retries + 1,
        timeout=None,
        wait_initial=backoff,
        wait_jitter=backoff / 2,
        wait_max=LONGEST_WAIT,
    ):
        with attempt:
            return ask()
    raise AssertionError("unreachable")


def _worth_a_try(error: Exception) -> bool | float:
    # A number is the wait, in seconds, in place of the growing one.
    if not isinstance(error, Passing):
        return False
    return True if error.wait is None else min(error.wait, LONGEST_WAIT)

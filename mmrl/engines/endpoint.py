"""The `endpoint` engine: an OpenAI-compatible server, asked for one chat completion per answer.

Each of n answers is a request with a seed of its own, so that what it costs and what ended it are its own too. Texts
are the server's, without the stop text; they have as many units as the server counted.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from mmrl.contracts.engine import Completion, Request, Sampling, SyncReport, own_seed
from mmrl.contracts.errors import ConfigError, UserError, unknown
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import StopReason
from mmrl.contracts.world import World
from mmrl.policies.endpoint import EndpointPolicy, EndpointPrompt
from mmrl.recipe.endpoint_engine import EndpointEngineSettings
from mmrl.recipe.secrets import masked
from vision_rewards.chat import ChatClient, Failure, Passing, with_retries

WHOSE = "endpoint"
# What a server says of one request that it cannot serve, such as a prompt beyond its context.
OWN_FAULT = frozenset((400, 413, 422))
# With log-probs, an answer of the longest kind takes megabytes.
LONGEST = 64_000_000
# Some servers read seeds as 32-bit integers.
SEEDS = 2**31
# What every server can answer that answers at all.
SHORTEST = [{"role": "user", "content": "Hi"}]


class EndpointEngine:
    """See `Engine`. Asks while the policy is started on it; a lost request is asked again, as its settings say."""

    def __init__(self, settings: EndpointEngineSettings):
        self.settings, self.shown = settings, str(masked(settings.url))
        self._client: ChatClient | None = None
        self._model = ""
        self._answered = False

    @property
    def client(self) -> ChatClient:
        """The connection. Raises RuntimeError before `start` and after `close`."""
        if self._client is None:
            raise RuntimeError("engine 'endpoint' is not started, or was closed")
        return self._client

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`.

        Raises:
            UserError: the key is not set, nothing answers, or the server has another model.
        """
        if not isinstance(policy, EndpointPolicy):
            raise ConfigError(f"engine 'endpoint' does not sample policy.type '{policy.config.type}'")
        settings, self._model = self.settings, policy.config.path
        try:
            self._client = ChatClient(settings.url, settings.key_env, settings.timeout, WHOSE, LONGEST)
        except Failure as error:
            raise UserError(f"engine 'endpoint': {masked(str(error))}") from None
        if settings.check_model:
            self._check_model()

    def _check_model(self) -> None:
        try:
            listed = with_retries(partial(self.client.get, "/models"), self.settings.retries, self.settings.backoff)
            names = [str(model["id"]) for model in listed["data"]]
        except Failure as error:
            cure = "; engine.check_model: false asks a server that lists none" if error.status in (404, 405) else ""
            raise self._ended(error, cure) from None
        except (KeyError, TypeError):
            raise UserError(
                f"engine 'endpoint': {self.shown}/models lists no models in OpenAI's form; engine.check_model: false "
                "asks it all the same"
            ) from None
        if self._model not in names:
            raise UserError(f"policy.path: {self.shown} serves no such model: {unknown('model', self._model, names)}")

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. What the server refuses of a request alone is a completion that says so.

        Raises:
            ConfigError: a prefix, a token set, or log-probs at a temperature that servers do not give them at.
            UserError: the server cannot be reached, or refuses, after all tries.
        """
        if any(request.prefix is not None or request.restrict is not None for request in requests):
            raise ConfigError("engine 'endpoint' asks for whole answers: it continues no prefix and has no token sets")
        if self.settings.log_probs and sampling.temperature not in (0.0, 1.0):
            raise ConfigError(
                f"engine.log_probs: servers give log-probs at temperature 1, and {sampling.temperature:g} is sampled "
                "at; set the temperature to 1 or 0, or leave log_probs out"
            )
        asks = [
            partial(self._complete, _chat_of(request), sampling, own_seed(first, draw))
            for place, request in enumerate(requests)
            for first in [own_seed(seed, place) if request.seed is None else request.seed]
            for draw in range(request.n)
        ]
        answers = iter(_side_by_side(asks, self.settings.concurrency))
        completions = [[next(answers) for _ in range(request.n)] for request in requests]
        self._refuse_all_failed(completions, sampling)
        return completions

    def _refuse_all_failed(self, completions: Sequence[Sequence[Completion]], sampling: Sampling) -> None:
        """Raises UserError where the server has answered nothing so far, and refuses the shortest question too."""
        failed = [answer.failed for each in completions for answer in each if answer.failed is not None]
        if failed and not self._answered and self._complete(SHORTEST, sampling, 0).failed is not None:
            raise UserError(
                f"engine 'endpoint': {self.shown} refused all of {len(failed)} requests, first: {failed[0]}"
            )

    def _complete(self, chat: Sequence[Any], sampling: Sampling, seed: int) -> Completion:
        body = self._body(chat, sampling, seed)
        try:
            answer = with_retries(
                partial(self.client.post, "/chat/completions", body), self.settings.retries, self.settings.backoff
            )
            self._answered = True
            return self._read(answer, sampling)
        except Failure as error:
            if error.status in OWN_FAULT:
                return _failed(str(masked(str(error))))
            raise self._ended(error) from None

    def _body(self, chat: Sequence[Any], sampling: Sampling, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": chat,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "seed": seed % SEEDS,
        }
        # Not all servers know these: what limits nothing is not sent.
        limits = {"top_p": (sampling.top_p, 1.0), "top_k": (sampling.top_k, 0), "min_p": (sampling.min_p, 0.0)}
        body |= {key: value for key, (value, nothing) in limits.items() if value != nothing}
        body |= {"stop": list(sampling.stop)} if sampling.stop else {}
        return body | ({"logprobs": True} if self.settings.log_probs else {})

    def _read(self, answer: Any, sampling: Sampling) -> Completion:
        try:
            (choice,) = answer["choices"]
            text, ended = choice["message"].get("content") or "", choice["finish_reason"]
            usage: Mapping[str, Any] = answer.get("usage") or {}
            given = (choice.get("logprobs") or {}).get("content") if self.settings.log_probs else None
            log_probs = None if given is None else [float(token["logprob"]) for token in given]
        except (KeyError, ValueError, TypeError, AttributeError):
            raise self.client.unreadable("the server's body is no chat completion with one choice") from None
        if ended == "content_filter":
            return _failed("the server's filter took the answer")
        if not isinstance(text, str):
            raise self.client.unreadable("the server's reply has no text")
        if self.settings.log_probs and log_probs is None:
            raise self.client.unreadable("the server gives no log-probs; leave engine.log_probs out")
        units = len(log_probs) if log_probs is not None else _count(usage, "completion_tokens")
        if units is None:
            # Servers need not say; four characters per token is the usual rule of thumb.
            units = len(text) // 4 + 1
        return Completion(
            torch.zeros(units, dtype=torch.long),
            None if log_probs is None else torch.tensor(log_probs),
            StopReason.LENGTH if ended == "length" else StopReason.END,
            sampling.temperature or 1.0,
            text=text,
            prompt_tokens=_count(usage, "prompt_tokens"),
        )

    def _ended(self, error: Failure, cure: str = "") -> UserError:
        tries = f" in {self.settings.retries + 1} tries" if isinstance(error, Passing) else ""
        return UserError(
            f"engine 'endpoint': {self.shown} gave no answer{tries}: {masked(str(error))}{cure}; what is written is "
            "gone on with by the same command"
        )

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """Raises ConfigError: no weights can be handed over."""
        raise ConfigError("engine 'endpoint' asks a server, which takes no weights")

    def close(self) -> None:
        """See `Engine.close`."""
        if self._client is not None:
            self._client.close()
        self._client = None


def _chat_of(request: Request) -> Sequence[Any]:
    if not isinstance(request.prompt, EndpointPrompt):
        raise ConfigError("engine 'endpoint' asks prompts of policy.type 'endpoint' alone")
    return request.prompt.chat


def _failed(why: str) -> Completion:
    return Completion(torch.zeros(0, dtype=torch.long), None, StopReason.END, text="", failed=why)


def _side_by_side(asks: Sequence[Callable[[], Completion]], concurrency: int) -> list[Completion]:
    """What `asks` give, in their order, of threads that nothing waits for once one of them has raised.

    Threads of a pool are joined when the interpreter ends, however long their requests still take; daemons are not.
    """
    waiting: queue.SimpleQueue[tuple[int, Callable[[], Completion]]] = queue.SimpleQueue()
    arrived: queue.SimpleQueue[tuple[int, Completion | Exception]] = queue.SimpleQueue()
    ended = threading.Event()
    for numbered in enumerate(asks):
        waiting.put(numbered)

    def work() -> None:
        while not ended.is_set():
            try:
                place, ask = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                arrived.put((place, ask()))
            except Exception as error:
                ended.set()
                arrived.put((place, error))

    for _ in range(min(concurrency, len(asks))):
        threading.Thread(target=work, name=WHOSE, daemon=True).start()
    answers: dict[int, Completion] = {}
    try:
        for _ in asks:
            place, answer = arrived.get()
            if isinstance(answer, Exception):
                raise answer
            answers[place] = answer
    finally:
        ended.set()
    return [answers[place] for place in range(len(asks))]


def _count(usage: Mapping[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and value >= 0 else None

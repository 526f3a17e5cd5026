"""The `vllm` engine: vLLM in the training process, with a copy of the weights that every sync is proved on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mmrl.contracts.engine import Completion, Request, Sampling, SyncReport, own_seed
from mmrl.contracts.errors import ConfigError, EngineError
from mmrl.contracts.policy import Policy
from mmrl.contracts.served import Served
from mmrl.contracts.types import Span, StopReason
from mmrl.contracts.world import World
from mmrl.engines.probes import Probes, beyond
from mmrl.engines.vllm.checks import check_model
from mmrl.engines.vllm.core import Core, Job
from mmrl.engines.vllm.prompts import engine_prompt
from mmrl.engines.vllm.sampling import (
    check_prefix,
    said_at,
    sampling_arguments,
    stop_reason,
    token_limits,
    truncates,
)
from mmrl.policies.qwen_vl.policy import QwenVL
from mmrl.policies.qwen_vl.prompt import QwenPrompt
from mmrl.recipe.vllm_engine import VLLMSettings


class VLLMEngine:
    """See `Engine`. What it samples with is a copy of the policy's weights, which `sync` renews."""

    def __init__(self, settings: VLLMSettings):
        self.settings, self.version = settings, 0
        self._policy: QwenVL | None = None
        self._core: Core | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._probes: Probes | None = None
        self._limits: dict[str | None, dict[str, Any]] = {}

    @property
    def policy(self) -> QwenVL:
        """The policy that is sampled. Raises RuntimeError before `start` and after `close`."""
        if self._policy is None:
            raise RuntimeError("engine 'vllm' is not started, or was closed")
        return self._policy

    @property
    def core(self) -> Core:
        """vLLM itself. Raises RuntimeError before `start` and after `close`."""
        if self._core is None:
            raise RuntimeError("engine 'vllm' is not started, or was closed")
        return self._core

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`. Raises EngineError where it does not start, or does not score as the trainer does."""
        policy = _sampled(policy)
        self.settings.check_installed()
        config = policy.module.config
        check_model(config, policy.device)
        self._folder = tempfile.TemporaryDirectory(prefix="mmrl_vllm_")
        try:
            policy.save_settings(Path(self._folder.name))
            probe = self.settings.probe
            self._probes = Probes(policy, probe.shows, probe.tokens)
            self._core = Core(self.settings, Path(self._folder.name), config, policy.config.dtype, policy.device)
            self._policy = policy
            self._hand_over(None, 0)
            self._prove()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. A request without a seed has one of the call's and its place.

        Where `sampling` truncates (top-k, top-p, min-p) completions have no log-probs: vLLM's are of what is left.

        Raises:
            ConfigError: a prompt with its answer is longer than `engine.max_length`, or than the model's own limit.
            EngineError: vLLM fails, or read another prompt than it was given.
            ValueError: a prefix is not shorter than the limit of units, or holds an end.
        """
        policy = self.policy
        jobs = []
        for i, request in enumerate(requests):
            self._check(request, sampling)
            own = request.seed if request.seed is not None else own_seed(seed, i)
            limits = self._token_limits(request.restrict)
            arguments = sampling_arguments(request, sampling, limits, policy.eos_ids, own)
            jobs.append(
                Job(engine_prompt(cast(QwenPrompt, request.prompt), self.core.marks, request.prefix), arguments)
            )
        outputs = self.core.run(jobs)
        results = []
        for request, output in zip(requests, outputs, strict=True):
            completions = [self._completion(request, sampling, each) for each in output.outputs]
            results.append(completions * request.n if sampling.temperature == 0.0 else completions)
        return results

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """See `Engine.sync`: hands over the parts that train, each whole, and proves it on the probes.

        Raises:
            EngineError: engine and trainer score the probes differently; says which part is stale.
        """
        policy, began = _sampled(policy), time.perf_counter()
        self._policy = policy
        tensors, size = self._hand_over(policy.served_parts(), version)
        seconds = time.perf_counter() - began
        gaps = self._prove()
        figures = {f"gap/probe_{kind}": gap for kind, gap in gaps.items()}
        return SyncReport(version, tensors, size, seconds, figures)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._core is not None:
            self._core.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._policy = self._core = self._folder = self._probes = None

    def gaps(self) -> dict[str, float]:
        """Of each probe the largest difference between the engine's log-probs and the trainer's, in nats."""
        if self._probes is None:
            raise RuntimeError("engine 'vllm' is not started, or was closed")
        probes = self._probes
        return probes.gaps(self.policy, lambda requests: self.generate(requests, probes.sampling, 0))

    def _hand_over(self, parts: Sequence[str] | None, version: int) -> tuple[int, int]:
        """(tensors, bytes) that the engine took: of some parts of the model, or of all."""
        served: Served = self.policy
        count = size = 0

        def weights() -> Iterator[tuple[str, Tensor]]:
            nonlocal count, size
            for part in [None] if parts is None else parts:
                for name, tensor in served.served_weights(part):
                    count, size = count + 1, size + tensor.numel() * tensor.element_size()
                    yield name, tensor

        self.core.receive(weights(), version)
        self.core.forget()
        self.version = version
        return count, size

    def _prove(self) -> dict[str, float]:
        """The probes' gaps. Raises EngineError where one is not within the bound."""
        gaps, bound = self.gaps(), self.settings.probe.bound_of(self.policy.config.dtype)
        if not beyond(gaps, bound):
            return gaps
        measured = ", ".join(f"{kind} {gap:.2g}" for kind, gap in gaps.items())
        raise EngineError(
            f"engine 'vllm' scores its own samples at version {self.version} otherwise than the trainer does: largest "
            f"difference of a log-prob in nats {measured}, bound {bound:g} (engine.probe.bound); {self._stale(bound)}"
        )

    def _stale(self, bound: float) -> str:
        """What of the engine is not the trainer's: the first thing whose renewal brings the probes together."""
        self.core.forget()
        if not beyond(self.gaps(), bound):
            return "stale: what it had computed with earlier weights (keys and values, embeddings of pictures)"
        for part in self.policy.model_parts():
            self._hand_over([part], self.version)
            if not beyond(self.gaps(), bound):
                return f"stale: the weights of '{part}'"
        return "handing over every part again does not bring them together, so it computes something else"

    def _token_limits(self, restrict: str | None) -> dict[str, Any]:
        if restrict not in self._limits:
            self._limits[restrict] = token_limits(self.policy.allowed_tokens(restrict))
        return self._limits[restrict]

    def _check(self, request: Request, sampling: Sampling) -> None:
        length = request.prompt.length + sampling.max_new_tokens
        if length > self.core.limit:
            raise ConfigError(
                f"engine.max_length: a prompt of {request.prompt.length} tokens and {sampling.max_new_tokens} new ones "
                f"are {length}, above {self.core.limit}; raise it (the model's own limit holds too), or lower "
                "policy.max_prompt_tokens"
            )
        if request.prefix is not None:
            ends = () if request.restrict else self.policy.eos_ids
            stop = () if request.restrict else sampling.stop
            check_prefix(request.prefix, sampling.max_new_tokens, ends, stop, self.policy.decode_text)

    def _completion(self, request: Request, sampling: Sampling, output: Any) -> Completion:
        """What vLLM sampled as a completion, with the prefix before it."""
        prefix = request.prefix if request.prefix is not None else torch.zeros(0, dtype=torch.long)
        given, ids = len(prefix), list(output.token_ids)
        new = torch.tensor([entry[token].logprob for entry, token in zip(output.logprobs, ids, strict=True)])
        tokens = torch.cat([prefix, torch.tensor(ids)])
        stop = stop_reason(output.finish_reason, output.stop_reason, request.restrict)
        log_probs = torch.cat([torch.zeros(given), new.float()])
        if given and sampling.stop and request.restrict is None:
            # vLLM reads its own tokens alone for stop texts, which may begin in the prefix.
            said = said_at(tokens, given, sampling.stop, self.policy.decode_text)
            if said is not None and said + 1 < len(tokens):
                tokens, log_probs, stop = tokens[: said + 1], log_probs[: said + 1], StopReason.TEXT
        return Completion(
            tokens,
            None if truncates(sampling) else log_probs,
            stop,
            sampling.temperature or 1.0,
            self._versions(output, given, len(tokens)),
            given,
        )

    def _versions(self, output: Any, given: int, units: int) -> tuple[Span, ...]:
        """The versions that vLLM names. Raises EngineError where one is not the engine's."""
        named = {str(span.version) for span in output.weight_versions or ()}
        if named != {str(self.version)}:
            raise EngineError(
                f"engine 'vllm' sampled with weights of version {', '.join(sorted(named)) or 'unknown'}, and was "
                f"handed those of version {self.version}"
            )
        return (Span(self.version, given, units),) if units > given else ()


def _sampled(policy: Policy) -> QwenVL:
    """The policy, where the engine samples it. Raises ConfigError where it does not."""
    if not isinstance(policy, QwenVL):
        raise ConfigError(f"engine 'vllm' does not sample policy.type '{policy.config.type}'")
    return policy

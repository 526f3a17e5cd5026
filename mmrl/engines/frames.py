"""The `frames` engine: moments of a video drawn by a frame selector, and the answers of its frozen reader to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mmrl.contracts.engine import Completion, Request, Sampling
from mmrl.contracts.policy import Policy
from mmrl.contracts.world import World
from mmrl.engines.base import InProcess, alike
from mmrl.engines.hf import HFEngine
from mmrl.policies.frame_selector import plackett_luce
from mmrl.policies.frame_selector.policy import FramePrompt, FrameSelector, evenly_spaced
from mmrl.recipe.engines import FrameSettings, HFSettings
from mmrl.recipe.rollout import SamplingConfig

Moments = tuple[int, ...]


class FrameEngine(InProcess[FrameSelector]):
    """Samples a `frame_selector`."""

    def __init__(self, settings: FrameSettings):
        super().__init__(settings)
        self._answers = HFEngine(HFSettings(batch_size=settings.batch_size))

    def as_sampled(self, policy: Policy) -> FrameSelector:
        """See `InProcess.as_sampled`."""
        if not isinstance(policy, FrameSelector):
            raise self.refusal(policy)
        return policy

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`."""
        super().start(policy, world)
        self._answers.start(self.policy.reader, world)

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """n choices of moments of each request, each with the reader's greedy answer as its text.

        The same moments in another order are the same video, and are answered once. What ended a completion is what
        ended its answer.

        Args:
            sampling: its temperature is that of the choice, 0 for the moments of the highest scores; top-p and the like
                have no effect. Its token limit and stop texts are the answer's.
            seed: of the choice.

        Raises:
            ConfigError: a prefix to be continued.
        """
        self.refuse_prefixes(requests)
        prompts = [cast(FramePrompt, request.prompt) for request in requests]
        scores = [self.policy.scores([prompt])[0] for prompt in prompts]
        orders: list[Tensor] = [scores_N.new_empty(0) for scores_N in scores]
        shared = torch.Generator(device=self.policy.device).manual_seed(seed)
        for i in (i for indices in alike(requests) for i in indices):
            own = requests[i].seed
            generator = shared if own is None else torch.Generator(device=self.policy.device).manual_seed(own)
            orders[i] = self._choose(scores[i], sampling.temperature, requests[i].n, generator)
        prompts_of = [
            {chosen: self.policy.show(prompt, chosen) for chosen in dict.fromkeys(map(_unordered, order_nU))}
            for prompt, order_nU in zip(prompts, orders)
        ]
        greedy = SamplingConfig(temperature=0.0, max_new_tokens=sampling.max_new_tokens, stop=list(sampling.stop))
        answers = iter(
            self._answers.generate(
                [Request(shown_prompt) for each in prompts_of for shown_prompt in each.values()], greedy, seed
            )
        )
        answer_of = [{chosen: next(answers)[0] for chosen in each} for each in prompts_of]
        return [
            self._completions(scores_N, sampling.temperature or 1.0, order_nU, each)
            for scores_N, order_nU, each in zip(scores, orders, answer_of)
        ]

    def _choose(self, scores_N: Tensor, temperature: float, n: int, generator: torch.Generator) -> Tensor:
        """int64 [n, U]."""
        count = min(self.policy.params.moments, len(scores_N))
        if self.policy.params.choose == "uniform":
            return torch.tensor(evenly_spaced(len(scores_N), count), device=scores_N.device).expand(n, -1)
        if temperature == 0.0:
            return scores_N.topk(count).indices.expand(n, -1)
        return plackett_luce.gumbel_top_k(scores_N / temperature, count, n, generator)

    def _completions(
        self, scores_N: Tensor, temperature: float, order_nU: Tensor, answers: dict[Moments, Completion]
    ) -> list[Completion]:
        choices_nUN = plackett_luce.choices((scores_N / temperature).expand(len(order_nU), -1), order_nU)
        log_probs_nU = plackett_luce.order_log_probs(choices_nUN, order_nU).float().cpu()
        completions = []
        for order_U, log_probs_U in zip(order_nU.cpu(), log_probs_nU):
            answer = answers[_unordered(order_U)]
            text, spans = self.policy.reader.decode_text(answer.tokens), self.spans(0, len(order_U))
            completions.append(Completion(order_U, log_probs_U, answer.stop, temperature, spans, text=text))
        return completions


def _unordered(order_U: Tensor) -> Moments:
    return tuple(order_U.sort().values.tolist())

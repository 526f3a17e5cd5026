"""The `frames` engine: moments of a video drawn by a frame selector, and the answers of its frozen reader to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmrl.engines.hf import Completion, HFEngine
from mmrl.policies.frame_selector import plackett_luce
from mmrl.policies.frame_selector.policy import FramePrompt, evenly_spaced
from mmrl.recipe.rollout import SamplingConfig

Moments = tuple[int, ...]


class FrameEngine:
    """Samples a `frame_selector`."""

    def __init__(self, policy: Any, batch_size: int = 256):
        self.policy = policy
        self._answers = HFEngine(policy.reader, batch_size)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[FramePrompt], sampling: SamplingConfig, n: int, seed: int, restrict: str | None = None
    ) -> list[list[Completion]]:
        """n choices of moments for each prompt, each with the reader's greedy answer as its text.

        The same moments in another order are the same video, and are answered once.

        Args:
            sampling: its temperature is that of the choice, 0 for the moments of the highest scores; top-p and the like
                have no effect. Its token limit and stop texts are the answer's.
            seed: of the choice.
        """
        generator = torch.Generator(device=self.policy.device).manual_seed(seed)
        scores = [self.policy.scores([prompt])[0] for prompt in prompts]
        orders = [self._choose(scores_N, sampling.temperature, n, generator) for scores_N in scores]
        shown = [
            {chosen: self.policy.show(prompt, chosen) for chosen in dict.fromkeys(map(_unordered, order_nU))}
            for prompt, order_nU in zip(prompts, orders)
        ]
        greedy = sampling.model_copy(update={"temperature": 0.0})
        answers = iter(self._answers.generate([one for each in shown for one in each.values()], greedy, 1, seed))
        said = [{chosen: next(answers)[0] for chosen in each} for each in shown]
        temperature = sampling.temperature or 1.0
        return [
            self._completions(scores_N / temperature, order_nU, each)
            for scores_N, order_nU, each in zip(scores, orders, said)
        ]

    def _choose(self, scores_N: Tensor, temperature: float, n: int, generator: torch.Generator) -> Tensor:
        """int64 [n, U]."""
        count = min(self.policy.params.moments, len(scores_N))
        if self.policy.params.choose == "uniform":
            return torch.tensor(evenly_spaced(len(scores_N), count), device=scores_N.device).expand(n, -1)
        if temperature == 0.0:
            return scores_N.topk(count).indices.expand(n, -1)
        return plackett_luce.gumbel_top_k(scores_N / temperature, count, n, generator)

    def _completions(self, scores_N: Tensor, order_nU: Tensor, said: dict[Moments, Completion]) -> list[Completion]:
        choices_nUN = plackett_luce.choices(scores_N.expand(len(order_nU), -1), order_nU)
        log_probs_nU = plackett_luce.order_log_probs(choices_nUN, order_nU).float().cpu()
        completions = []
        for order_U, log_probs_U in zip(order_nU.cpu(), log_probs_nU):
            answer = said[_unordered(order_U)]
            text = self.policy.reader.decode_text(answer.tokens)
            completions.append(Completion(order_U, log_probs_U, answer.truncated, text))
        return completions


def _unordered(order_U: Tensor) -> Moments:
    return tuple(order_U.sort().values.tolist())

"""Groups of episodes: a policy acts in a simulator, and each model call becomes a decision of the trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import robotics
from mmrl.config import SamplingConfig
from mmrl.errors import ConfigError
from mmrl.types import Decision, Group, Sample, Trajectory


class Simulators:
    """The recipe's simulators, made on first use at the number of worlds that a call needs."""

    def __init__(self, configs: Mapping[str, Mapping[str, Any]]):
        self.configs = configs
        self._made: dict[tuple[str, int], Any] = {}

    def get(self, name: str, worlds: int) -> Any:
        """The simulator `name` with `worlds` parallel worlds. Raises ConfigError on a bad configuration."""
        if (name, worlds) not in self._made:
            try:
                self._made[name, worlds] = robotics.make({**self.configs[name], "num_envs": worlds})
            except ValueError as error:
                raise ConfigError(f"simulators.{name}: {error}") from None
        return self._made[name, worlds]


def bin_values(bins: int) -> Tensor:
    """float32 [bins]: the action value of each bin, evenly from -1 to 1."""
    return torch.linspace(-1.0, 1.0, bins)


def play(
    policy: Any,
    engine: Any,
    simulators: Simulators,
    samples: Sequence[Sample],
    sampling: SamplingConfig,
    n: int,
    chunk: int,
    seed: int,
) -> list[Group]:
    """n episodes from each sample's start state, in parallel; equal ids give equal starts.

    Every decision is one chunk of actions: chunk x action_dim tokens restricted to the action bins. An episode's
    reward is its return; a decision carries the reward of its own chunk.
    """
    env = simulators.get(samples[0].simulator, len(samples) * n)
    ids = torch.tensor([sample.episode for sample in samples]).repeat_interleave(n)
    values = bin_values(policy.config.action_bins)
    first_id = int(policy.action_ids()[0])
    sampling = sampling.model_copy(update={"max_new_tokens": chunk * env.action_dim, "stop": []})
    observation = env.reset(ids)
    decisions: list[list[Decision]] = [[] for _ in ids]
    live = torch.ones(len(ids), dtype=torch.bool)
    cut = torch.zeros(len(ids), dtype=torch.bool)
    prompts_seen: list[Sample | None] = [None] * len(ids)
    call, info = 0, {}
    while bool(live.any()):
        active = live.nonzero().squeeze(-1).tolist()
        views = [_observe(samples[i // n], observation, i) for i in active]
        prompts = policy.prepare(views)
        chosen = engine.generate(prompts, sampling, 1, seed + 7919 * call, restrict="action")
        actions = torch.zeros(len(ids), chunk, env.action_dim)
        for i, prompt, (completion,) in zip(active, prompts, chosen):
            actions[i] = values[completion.tokens - first_id].view(chunk, env.action_dim)
            decisions[i].append(Decision(prompt, completion.tokens, completion.log_probs, restrict="action"))
            prompts_seen[i] = prompts_seen[i] or views[active.index(i)]
        result = env.chunk_step(actions)
        rewards = (result.reward * result.valid).sum(1).tolist()
        for i in active:
            decisions[i][-1] = replace(decisions[i][-1], reward=float(rewards[i]))
        ended = ((result.terminated | result.truncated) & result.valid).any(1)
        cut |= (result.truncated & result.valid).any(1).cpu()
        live &= ~ended.cpu()
        observation, info, call = result.observation, result.info, call + 1
    return [_group(samples, g, n, decisions, {**info, "cut": cut}, prompts_seen) for g in range(len(samples))]


def _observe(sample: Sample, observation: Any, index: int) -> Sample:
    from PIL import Image

    images = tuple(Image.fromarray(frames[index].cpu().numpy()) for frames in observation.images.values())
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": observation.instruction[index]}]
    return replace(sample, messages=({"role": "user", "content": content},), images=images)


def _group(samples, g: int, n: int, decisions, info, seen) -> Group:
    trajectories = []
    for i in range(g * n, (g + 1) * n):
        success = bool(info["success_once"][i])
        total = float(info["return"][i])
        facts = {
            "accuracy": float(success),
            "success_once": success,
            "success_at_end": bool(info["success_at_end"][i]),
            "episode_len": int(info["episode_len"][i]),
        }
        parts, cut = {"return": total}, bool(info["cut"][i])
        trajectories.append(Trajectory(tuple(decisions[i]), reward=total, parts=parts, truncated=cut, info=facts))
    sample = seen[g * n] or samples[g]
    return Group(sample, tuple(trajectories))

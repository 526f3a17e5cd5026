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
from mmrl.types import DEMO, POLICY, Decision, Group, Sample, Trajectory


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
    env = simulators.get(str(samples[0].simulator), len(samples) * n)
    episodes = _Episodes(env, samples, n)
    values, first_id = bin_values(policy.config.action_bins), int(policy.action_ids()[0])
    sampling = sampling.model_copy(update={"max_new_tokens": chunk * env.action_dim, "stop": []})
    call = 0
    while worlds := episodes.running():
        prompts = policy.prepare([episodes.view(i) for i in worlds])
        chosen = engine.generate(prompts, sampling, 1, seed + 7919 * call, restrict="action")
        actions = torch.zeros(len(episodes.decisions), chunk, env.action_dim)
        for i, prompt, (completion,) in zip(worlds, prompts, chosen):
            actions[i] = values[completion.tokens - first_id].view(chunk, env.action_dim)
            episodes.decisions[i].append(Decision(prompt, completion.tokens, completion.log_probs, restrict="action"))
        episodes.step(actions)
        call += 1
    return episodes.groups(POLICY)


def demonstrate_episodes(policy: Any, simulators: Simulators, samples: Sequence[Sample], chunk: int) -> list[Group]:
    """One episode of the simulator's scripted expert from each start state, as groups of one demonstration.

    The expert's actions are rounded to the policy's bins before they are played, so that the states are those that the
    tokens lead to. It acts step by step; its decision is the chunk of steps that follows one observation.

    Raises:
        ConfigError: the simulator has no scripted expert.
    """
    name = str(samples[0].simulator)
    env = simulators.get(name, len(samples))
    if not env.has_expert:
        raise ConfigError(f"simulators.{name} has no scripted expert, so its episodes give no demonstrations")
    episodes = _Episodes(env, samples, 1)
    values, first_id = bin_values(policy.config.action_bins), int(policy.action_ids()[0])
    while worlds := episodes.running():
        prompts = dict(zip(worlds, policy.prepare([episodes.view(i) for i in worlds])))
        tokens: dict[int, list[Tensor]] = {i: [] for i in worlds}
        for _ in range(chunk):
            acting = [i for i in episodes.running() if i in tokens]
            bins_BA = (env.expert_action().cpu()[..., None] - values).abs().argmin(-1)
            for i in acting:
                tokens[i].append(bins_BA[i] + first_id)
            episodes.step(values[bins_BA][:, None], credit=False)
        for i in worlds:
            episodes.decisions[i].append(Decision(prompts[i], torch.cat(tokens[i]), restrict="action"))
    return episodes.groups(DEMO)


class _Episodes:
    """Episodes in progress: what each world has decided, and which worlds still run."""

    def __init__(self, env: Any, samples: Sequence[Sample], n: int):
        self.env, self.samples, self.n = env, samples, n
        ids = torch.tensor([sample.episode for sample in samples]).repeat_interleave(n)
        self.observation, self.info = env.reset(ids), {}
        self.decisions: list[list[Decision]] = [[] for _ in ids]
        self.first_views: list[Sample | None] = [None] * len(ids)
        self.live = torch.ones(len(ids), dtype=torch.bool)
        self.cut = torch.zeros(len(ids), dtype=torch.bool)

    def running(self) -> list[int]:
        """Worlds whose episode goes on."""
        return self.live.nonzero().squeeze(-1).tolist()

    def view(self, world: int) -> Sample:
        """What the policy is shown of a world now: its cameras and its instruction."""
        from PIL import Image

        sample, seen = self.samples[world // self.n], self.observation
        images = tuple(Image.fromarray(frames[world].cpu().numpy()) for frames in seen.images.values())
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": seen.instruction[world]}]
        view = replace(sample, messages=({"role": "user", "content": content},), images=images)
        self.first_views[world] = self.first_views[world] or view
        return view

    def step(self, actions_BCA: Tensor, credit: bool = True) -> None:
        """Plays a chunk; with `credit`, its reward goes to each running world's last decision."""
        result = self.env.chunk_step(actions_BCA)
        if credit:
            rewards = (result.reward * result.valid).sum(1).tolist()
            for i in self.running():
                self.decisions[i][-1] = replace(self.decisions[i][-1], reward=float(rewards[i]))
        self.cut |= (result.truncated & result.valid).any(1).cpu()
        self.live &= ~((result.terminated | result.truncated) & result.valid).any(1).cpu()
        self.observation, self.info = result.observation, result.info

    def groups(self, source: str) -> list[Group]:
        """Finished episodes, n a group; the group's sample shows its first observation."""
        made = []
        for g, sample in enumerate(self.samples):
            members = range(g * self.n, (g + 1) * self.n)
            trajectories = tuple(self._trajectory(i, source) for i in members)
            made.append(Group(self.first_views[g * self.n] or sample, trajectories))
        return made

    def _trajectory(self, world: int, source: str) -> Trajectory:
        success, total = bool(self.info["success_once"][world]), float(self.info["return"][world])
        facts = {
            "accuracy": float(success),
            "success_once": success,
            "success_at_end": bool(self.info["success_at_end"][world]),
            "episode_len": int(self.info["episode_len"][world]),
        }
        return Trajectory(
            tuple(self.decisions[world]),
            source=source,
            reward=total,
            parts={"return": total},
            truncated=bool(self.cut[world]),
            info=facts,
        )

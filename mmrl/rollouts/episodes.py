"""Groups of episodes: a policy acts in a simulator, and each model call becomes a decision of the trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

import robotics
from mmrl.config import SamplingConfig
from mmrl.errors import ConfigError
from mmrl.types import DEMO, POLICY, Decision, Group, Prompt, Sample, Trajectory


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


def play(
    policy: Any,
    engine: Any,
    simulators: Simulators,
    samples: Sequence[Sample],
    sampling: SamplingConfig,
    n: int,
    chunk: int,
    seed: int,
    bootstrap: bool = False,
) -> list[Group]:
    """n episodes from each sample's start state, in parallel; equal ids give equal starts.

    Every decision is one chunk of actions, in the policy's action units. An episode's reward is its return; a decision
    carries the reward of its own chunk, and no unit of actions that did not count.

    Args:
        bootstrap: prepare the last observation of truncated episodes, for a critic.
    """
    env = simulators.get(str(samples[0].simulator), len(samples) * n)
    episodes = Episodes(env, samples, n)
    units = chunk * policy.units_per_action(env.action_dim)
    sampling = sampling.model_copy(update={"max_new_tokens": units, "stop": []})
    call = 0
    while worlds := episodes.running():
        prompts = policy.prepare([episodes.view(i) for i in worlds])
        chosen = engine.generate(prompts, sampling, 1, seed + 7919 * call, restrict="action")
        actions = torch.zeros(len(episodes.decisions), chunk, env.action_dim)
        for i, prompt, (completion,) in zip(worlds, prompts, chosen):
            actions[i] = policy.actions(completion.tokens[None], env.action_dim)[0]
            taken = Decision(
                prompt, completion.tokens, completion.log_probs, restrict="action", context=completion.context
            )
            episodes.decisions[i].append(taken)
        episodes.step(actions)
        call += 1
    finals = [i for i, cut in enumerate(episodes.cut.tolist()) if cut] if bootstrap else []
    prompts = policy.prepare([episodes.view(i) for i in finals]) if finals else []
    return episodes.groups(POLICY, dict(zip(finals, prompts)))


def expert_world(simulators: Simulators, samples: Sequence[Sample]) -> Any:
    """The samples' simulator, one world each. Raises ConfigError where it has no scripted expert."""
    name = str(samples[0].simulator)
    env = simulators.get(name, len(samples))
    if not env.has_expert:
        raise ConfigError(f"simulators.{name} has no scripted expert, so its episodes give no demonstrations")
    return env


def demonstrate_episodes(policy: Any, simulators: Simulators, samples: Sequence[Sample], chunk: int) -> list[Group]:
    """One episode of the simulator's scripted expert from each start state, as groups of one demonstration.

    The expert's actions are rounded to the policy's units before they are played, so that the states are those that the
    units lead to. It acts step by step; its decision is the chunk of steps that follows one observation.

    Raises:
        ConfigError: the simulator has no scripted expert.
    """
    env = expert_world(simulators, samples)
    episodes = Episodes(env, samples, 1)
    while worlds := episodes.running():
        prompts = dict(zip(worlds, policy.prepare([episodes.view(i) for i in worlds])))
        tokens: dict[int, list[Tensor]] = {i: [] for i in worlds}
        for _ in range(chunk):
            acting = [i for i in episodes.running() if i in tokens]
            units_BU = policy.action_units(env.expert_action().cpu()[:, None])
            for i in acting:
                tokens[i].append(units_BU[i])
            episodes.step(policy.actions(units_BU, env.action_dim), credit=False)
        for i in worlds:
            episodes.decisions[i].append(Decision(prompts[i], torch.cat(tokens[i]), restrict="action"))
    return episodes.groups(DEMO)


class Episodes:
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
        view = replace(
            sample,
            messages=({"role": "user", "content": content},),
            images=images,
            cameras=tuple(seen.images),
            state=seen.state[world].cpu(),
        )
        self.first_views[world] = self.first_views[world] or view
        return view

    def step(self, actions_BCA: Tensor, credit: bool = True) -> None:
        """Plays a chunk; with `credit`, its reward goes to each running world's last decision."""
        result = self.env.chunk_step(actions_BCA)
        if credit:
            rewards = (result.reward * result.valid).sum(1).tolist()
            counted = result.valid.sum(1).tolist()
            for i in self.running():
                self._credit(i, rewards[i], result.reward[i, : counted[i]].tolist(), actions_BCA.shape[1])
        self.cut |= (result.truncated & result.valid).any(1).cpu()
        self.live &= ~((result.terminated | result.truncated) & result.valid).any(1).cpu()
        self.observation, self.info = result.observation, result.info

    def _credit(self, world: int, reward: float, steps: list[float], chunk: int) -> None:
        """Rewards the world's last decision, and cuts the units of actions after its episode's end off."""
        last = self.decisions[world][-1]
        units = len(last.tokens) // chunk * len(steps)
        log_probs = last.log_probs[:units] if last.log_probs is not None else None
        self.decisions[world][-1] = replace(
            last, tokens=last.tokens[:units], log_probs=log_probs, reward=float(reward), step_rewards=tuple(steps)
        )

    def groups(self, source: str, finals: Mapping[int, Prompt] = MappingProxyType({})) -> list[Group]:
        """Finished episodes, n a group; the group's sample shows its first observation.

        Args:
            finals: world -> its prepared last observation.
        """
        made = []
        for g, sample in enumerate(self.samples):
            members = range(g * self.n, (g + 1) * self.n)
            trajectories = tuple(self._trajectory(i, source, finals.get(i)) for i in members)
            made.append(Group(self.first_views[g * self.n] or sample, trajectories))
        return made

    def _trajectory(self, world: int, source: str, final: Prompt | None) -> Trajectory:
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
            final_prompt=final,
            info=facts,
        )

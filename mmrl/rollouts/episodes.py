"""Groups of episodes: a policy acts in a simulator, and each model call becomes a decision of the trajectory."""

from __future__ import annotations

from collections import deque
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
from robotics.types import StepResult


class Simulators:
    """The recipe's simulators, made on first use with `num_envs` worlds, or as many as needed where they are cheap."""

    def __init__(self, configs: Mapping[str, Mapping[str, Any]]):
        self.configs = configs
        self._made: dict[tuple[str, int], Any] = {}

    def get(self, name: str, worlds: int) -> Any:
        """The simulator `name`, best with `worlds` parallel worlds. Raises ConfigError where it cannot be made."""
        config = self.configs[name]
        try:
            worlds = robotics.world_limit(config) or worlds
            if (name, worlds) not in self._made:
                self._made[name, worlds] = robotics.make({**config, "num_envs": worlds})
        except (ValueError, ImportError) as error:
            raise ConfigError(f"simulators.{name}: {error}") from None
        return self._made[name, worlds]

    @property
    def dropped(self) -> int:
        """Episodes so far in which a simulator failed; each was played again from its start."""
        return sum(env.dropped_episodes for env in self._made.values())

    def close(self) -> None:
        """Release all simulators."""
        for env in self._made.values():
            env.close()
        self._made.clear()


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
    while worlds := episodes.begin():
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
    finals = sorted(episodes.last_views) if bootstrap else []
    prompts = policy.prepare([episodes.last_views[i] for i in finals]) if finals else []
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
    while worlds := episodes.begin():
        prompts = dict(zip(worlds, policy.prepare([episodes.view(i) for i in worlds])))
        tokens: dict[int, list[Tensor]] = {i: [] for i in worlds}
        for _ in range(chunk):
            acting = episodes.running()
            units_BU = policy.action_units(episodes.expert_action()[:, None])
            for i in acting:
                tokens[i].append(units_BU[i])
            episodes.step(policy.actions(units_BU, env.action_dim), credit=False)
        for i in episodes.decided(worlds):
            episodes.decisions[i].append(Decision(prompts[i], torch.cat(tokens[i]), restrict="action"))
    return episodes.groups(DEMO)


class Episodes:
    """n episodes from each sample's start: those in progress, each in a world of `env`, and those that wait for one.

    Episodes are numbered, n in a row for each sample. One in which the simulator fails begins again.
    """

    def __init__(self, env: Any, samples: Sequence[Sample], n: int):
        self.env, self.samples, self.n = env, samples, n
        self.ids = [sample.episode for sample in samples for _ in range(n)]
        self.decisions: list[list[Decision]] = [[] for _ in self.ids]
        self.first_views: list[Sample | None] = [None] * len(self.ids)
        self.last_views: dict[int, Sample] = {}
        self._facts: list[dict[str, Any]] = [{} for _ in self.ids]
        self._waiting, self._lost = deque(range(len(self.ids))), set[int]()
        self._world: dict[int, int] = {}

    def begin(self) -> list[int]:
        """Starts waiting episodes in the worlds without one. Episodes in progress, in order."""
        self._lost.clear()
        free = sorted(set(range(self.env.num_envs)) - set(self._world.values()))
        started = {self._waiting.popleft(): world for world in free[: len(self._waiting)]}
        if started:
            every = len(started) == self.env.num_envs
            ids = [self.ids[i] for i in started]
            self.observation = self.env.reset(ids, None if every else list(started.values()))
            self._world |= started
        return self.running()

    def running(self) -> list[int]:
        """Episodes in progress, in order."""
        return sorted(self._world)

    def decided(self, episodes: Sequence[int]) -> list[int]:
        """Those of `episodes` in which the simulator has not failed since `begin`."""
        return [i for i in episodes if i not in self._lost]

    def view(self, episode: int) -> Sample:
        """What the policy is shown of an episode in progress: its cameras and its instruction."""
        from PIL import Image

        sample, seen, world = self.samples[episode // self.n], self.observation, self._world[episode]
        images = tuple(Image.fromarray(frames[world].cpu().numpy()) for frames in seen.images.values())
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": seen.instruction[world]}]
        view = replace(
            sample,
            messages=({"role": "user", "content": content},),
            images=images,
            cameras=tuple(seen.images),
            state=seen.state[world].cpu(),
        )
        self.first_views[episode] = self.first_views[episode] or view
        return view

    def expert_action(self) -> Tensor:
        """The expert's next action in each episode, float32 [E, A]; zeros where none is in progress."""
        actions_EA = torch.zeros(len(self.ids), self.env.action_dim)
        actions_EA[list(self._world)] = self.env.expert_action().cpu()[list(self._world.values())]
        return actions_EA

    def step(self, actions_ECA: Tensor, credit: bool = True) -> None:
        """Plays a chunk; with `credit`, its reward goes to the last decision of each episode in progress."""
        actions_BCA = torch.zeros(self.env.num_envs, *actions_ECA.shape[1:])
        actions_BCA[list(self._world.values())] = actions_ECA[list(self._world)]
        result = self.env.chunk_step(actions_BCA)
        self.observation = result.observation
        dropped, done = result.info["dropped"].tolist(), result.info["done"].tolist()
        rewards, counted = (result.reward * result.valid).sum(1).tolist(), result.valid.sum(1).tolist()
        for i, world in list(self._world.items()):
            if dropped[world]:
                self._lost.add(i)
                self._waiting.append(i)
                self.decisions[i].clear()
                del self._world[i]
                continue
            if credit:
                steps = result.reward[world, : counted[world]].tolist()
                self._credit(i, rewards[world], steps, actions_ECA.shape[1])
            if done[world]:
                self._finish(i, result)

    def _finish(self, episode: int, result: StepResult) -> None:
        world, info = self._world[episode], result.info
        success = bool(info["success_once"][world])
        self._facts[episode] = {
            "accuracy": float(success),
            "success_once": success,
            "success_at_end": bool(info["success_at_end"][world]),
            "episode_len": int(info["episode_len"][world]),
            "return": float(info["return"][world]),
        }
        if bool(result.truncated[world].any()):
            self.last_views[episode] = self.view(episode)
        del self._world[episode]

    def _credit(self, episode: int, reward: float, steps: list[float], chunk: int) -> None:
        """Rewards the episode's last decision, and cuts the units of actions after the episode's end off."""
        last = self.decisions[episode][-1]
        units = len(last.tokens) // chunk * len(steps)
        log_probs = last.log_probs[:units] if last.log_probs is not None else None
        self.decisions[episode][-1] = replace(
            last, tokens=last.tokens[:units], log_probs=log_probs, reward=float(reward), step_rewards=tuple(steps)
        )

    def groups(self, source: str, finals: Mapping[int, Prompt] = MappingProxyType({})) -> list[Group]:
        """Finished episodes, n a group; the group's sample shows its first observation.

        Args:
            finals: episode -> its prepared last observation.
        """
        made = []
        for g, sample in enumerate(self.samples):
            members = range(g * self.n, (g + 1) * self.n)
            trajectories = tuple(self._trajectory(i, source, finals.get(i)) for i in members)
            made.append(Group(self.first_views[g * self.n] or sample, trajectories))
        return made

    def _trajectory(self, episode: int, source: str, final: Prompt | None) -> Trajectory:
        facts = dict(self._facts[episode])
        total = facts.pop("return")
        return Trajectory(
            tuple(self.decisions[episode]),
            source=source,
            reward=total,
            parts={"return": total},
            truncated=episode in self.last_views,
            final_prompt=final,
            info=facts,
        )

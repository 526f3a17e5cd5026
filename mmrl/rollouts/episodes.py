"""Groups of episodes: a policy acts in a simulator, and each model call becomes a decision of the trajectory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.engine import Engine, Request, Sampling
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import ActingPolicy, Denoising, Policy, deltas_of, played
from mmrl.contracts.source import Worlds
from mmrl.contracts.types import DEMO, POLICY, Decision, EpisodeFacts, Group, Prompt, Sample, StopReason, Trajectory
from mmrl.recipe.rollout import of_actions
from mmrl.rollouts.lookahead import actions_taught, look_ahead
from mmrl.rollouts.noisy_expert import disturb
from mmrl.rollouts.pipeline import Lane, decision_seed, lane_seed, take_turns
from mmrl.rollouts.simulators import place_errors
from robotics.types import StepResult


def play(
    policy: ActingPolicy,
    engine: Engine,
    simulators: Worlds,
    samples: Sequence[Sample],
    sampling: Sampling,
    n: int,
    chunk: int,
    seed: int,
    bootstrap: bool = False,
    record: bool = False,
) -> list[Group]:
    """n episodes from each sample's start state, in parallel; equal ids give equal starts.

    Every decision is one chunk of actions, in the policy's action units. An episode's reward is its return; a decision
    carries the reward of its own chunk, and no unit of actions that did not count. The same seed and weights give the
    same episodes; of several groups of worlds, each samples from seeds of its own. What a policy that denoises draws
    follows from the seed, the episode and its step alone: however many worlds there are, the episodes are the same.

    Args:
        bootstrap: prepare the last observation of truncated episodes, for a critic.
        record: keep what was seen and played (`Trajectory.recorded`).
    """
    lanes = deal_episodes(simulators, samples, n)
    for lane in lanes:
        lane.record = record
    seeds = lane_seeds(policy, seed, len(lanes))
    run_lanes(
        lanes,
        [
            _act(policy, engine, lane, sampling, chunk, seed_of_lane, bootstrap)
            for lane, seed_of_lane in zip(lanes, seeds)
        ],
    )
    return gather_groups(lanes, n, POLICY)


def _act(
    policy: ActingPolicy, engine: Engine, episodes: Play, sampling: Sampling, chunk: int, seed: int, bootstrap: bool
) -> Lane:
    action_dim = episodes.env.action_dim
    sampling = of_actions(sampling, chunk * policy.units_per_action(action_dim))
    worlds, call = (yield episodes.begin), 0
    while worlds:
        prompts = policy.prepare([episodes.view(i) for i in worlds])
        chosen = engine.generate(requests_of(policy, episodes, worlds, prompts, seed), sampling, seed + 7919 * call)
        actions = torch.zeros(len(episodes.decisions), chunk, action_dim)
        for i, prompt, (completion,) in zip(worlds, prompts, chosen):
            actions[i] = played(policy, completion.tokens[None], action_dim, [prompt])[0]
            episodes.decisions[i].append(completion.decision(prompt, restrict="action"))
        worlds, call = (yield partial(episodes.advance, actions)), call + 1
    if bootstrap:
        episodes.prepare_finals(policy)


def demonstrate_episodes(
    policy: ActingPolicy, simulators: Worlds, samples: Sequence[Sample], chunk: int, bootstrap: bool = False
) -> list[Group]:
    """One episode of the simulator's scripted expert from each start state, as groups of one demonstration.

    The expert's actions are rounded to the policy's units before they are played, so that the states are those that the
    units lead to. It acts step by step; its decision is the chunk of steps that follows one observation, and carries
    their rewards. To a policy that predicts more actions than the chunk it shows those of the next steps too, as far as
    the episode goes; not with `bootstrap`, where a decision is weighed by what its own actions earned. Where a sample
    says so, the expert errs (`mmrl.rollouts.noisy_expert`).

    Args:
        bootstrap: prepare the last observation of truncated episodes, for a critic.

    Raises:
        ConfigError: the simulator has no scripted expert, or the policy predicts differences from the state.
    """
    refuse_deltas(policy)
    lanes = deal_to_experts(simulators, samples)
    run_lanes(lanes, [_demonstrate(policy, lane, chunk, bootstrap) for lane in lanes])
    return gather_groups(lanes, 1, DEMO)


def _demonstrate(policy: ActingPolicy, episodes: Play, chunk: int, bootstrap: bool) -> Lane:
    worlds = yield episodes.begin
    ahead = chunk if bootstrap else actions_taught(policy, chunk)
    taught: dict[int, dict[int, Tensor]] = {}
    while worlds:
        prompts = dict(zip(worlds, policy.prepare([episodes.view(i) for i in worlds])))
        taught |= {i: {} for i in worlds if not episodes.earned[i]}
        tokens: dict[int, list[Tensor]] = {i: [] for i in worlds}
        before = {i: len(episodes.earned[i]) for i in worlds}
        for step in range(chunk):
            acting = episodes.running()
            actions_EA = yield episodes.expert_action
            for i in acting:
                actions_EA[i] = disturb(actions_EA[i], episodes.starts[i], len(episodes.earned[i]))
            units_BU = policy.action_units(actions_EA[:, None])
            for i in acting:
                tokens[i].append(units_BU[i])
                taught[i][len(episodes.earned[i])] = units_BU[i]
            actions_ECA = policy.actions(units_BU, episodes.env.action_dim)
            yield partial(episodes.step, actions_ECA, credit=False, seen=step == chunk - 1)
        for i in episodes.decided(worlds):
            rewards = tuple(episodes.earned[i][before[i] :])
            decision = Decision(
                prompts[i], torch.cat(tokens[i]), restrict="action", reward=sum(rewards), step_rewards=rewards
            )
            episodes.decisions[i].append(decision)
        worlds = yield episodes.begin
    if ahead > chunk:
        for i, decisions in enumerate(episodes.decisions):
            episodes.decisions[i] = look_ahead(decisions, range(0, chunk * len(decisions), chunk), taught[i], ahead)
    if bootstrap:
        episodes.prepare_finals(policy)


def lane_seeds(policy: Policy, seed: int, lanes: int) -> list[int]:
    """The seeds of groups of worlds; all the same for a policy whose decisions have seeds of their own."""
    return [seed if isinstance(policy, Denoising) else lane_seed(seed, lane) for lane in range(lanes)]


def requests_of(
    policy: Policy, episodes: Play, worlds: Sequence[int], prompts: Sequence[Prompt], seed: int
) -> list[Request]:
    """What the engine is asked about the episodes in progress; of a policy that denoises, each with its own seed.

    Token policies draw place by place from the seed of the call.
    """
    if not isinstance(policy, Denoising):
        return [Request(prompt, restrict="action") for prompt in prompts]
    return [
        Request(prompt, restrict="action", seed=episodes.decision_seed(seed, i))
        for i, prompt in zip(worlds, prompts, strict=True)
    ]


def deal_episodes(simulators: Worlds, samples: Sequence[Sample], n: int) -> list[Play]:
    """n episodes from each sample's start, dealt one by one to the groups of worlds of the samples' simulator."""
    starts, groups = [sample for sample in samples for _ in range(n)], simulators.pipeline
    copies, count = [], Counter[int | None]()
    for start in starts:
        copies.append(count[start.episode])
        count[start.episode] += 1
    name = str(samples[0].simulator)
    lanes = []
    for lane in range(min(groups, len(starts))):
        hand = starts[lane::groups]
        lanes.append(Play(simulators.get(name, len(hand), lane), hand, copies[lane::groups]))
    return lanes


def deal_to_experts(simulators: Worlds, samples: Sequence[Sample]) -> list[Play]:
    """An episode from each sample's start. Raises ConfigError where the simulator has no scripted expert."""
    lanes = deal_episodes(simulators, samples, 1)
    if not lanes[0].env.has_expert:
        name = samples[0].simulator
        raise ConfigError(
            f"simulators.{name} has no scripted expert, so its episodes give no demonstrations; set use: rollouts of "
            "their dataset, or use a method without demonstrations (grpo)"
        )
    return lanes


def refuse_deltas(policy: Policy) -> None:
    """Raises ConfigError on a policy whose actions are differences from the state, which no scripted expert's are."""
    if delta := deltas_of(policy):
        raise ConfigError(
            f"policy.params.delta_actions: {list(delta)} are learnt from recorded actions alone; leave the scripted "
            "expert's demonstrations out"
        )


def run_lanes(lanes: Sequence[Play], acting: Sequence[Lane]) -> None:
    """Plays the episodes of all lanes, each as its counterpart in `acting` does."""
    together = all(lane.env.concurrent for lane in lanes)
    take_turns(acting, threads=len(lanes) if together else 1)


def gather_groups(lanes: Sequence[Play], n: int, origin: str) -> list[Group]:
    """The finished episodes that `deal_episodes` dealt, n per group; the group's sample shows its first observation."""
    count = sum(len(lane.starts) for lane in lanes)
    played = [lanes[i % len(lanes)].played(i // len(lanes), origin) for i in range(count)]
    groups = [played[first : first + n] for first in range(0, count, n)]
    return [Group(group[0][0], tuple(trajectory for _, trajectory in group)) for group in groups]


class Play:
    """An episode from each of `starts`: those in progress, each in a world of `env`, and those that wait for one.

    Episodes are numbered as their starts are, all of one simulator. One in which it fails begins again. What it returns
    is copied to the CPU once per call: on a GPU each world read by itself would wait for the device. For what it raises
    see `mmrl.rollouts.simulators.place_errors`.

    Args:
        copies: which of the episodes from one start each is, of those that are played together; default: the first.

    Attributes:
        earned: of each episode, the reward of every step so far.
        record: keep each decision in `recorded`.
    """

    def __init__(self, env: Any, starts: Sequence[Sample], copies: Sequence[int] | None = None):
        self.env, self.starts = env, starts
        self._copies = copies or [0] * len(starts)
        self.decisions: list[list[Decision]] = [[] for _ in starts]
        self.earned: list[list[float]] = [[] for _ in starts]
        self.record, self.recorded = False, [list[Sample]() for _ in starts]
        self._shown: dict[int, Sample] = {}
        self.first_views: list[Sample | None] = [None] * len(starts)
        self.last_views: dict[int, Sample] = {}
        self._facts: dict[int, EpisodeFacts] = {}
        self._returns: dict[int, float] = {}
        self._finals: dict[int, Prompt] = {}
        self._waiting, self._lost = deque(range(len(starts))), set[int]()
        # The worlds of episodes in progress, and of those that ended since they were last seen.
        self._world: dict[int, int] = {}
        self._ended: dict[int, int] = {}

    def begin(self) -> list[int]:
        """Starts waiting episodes in the worlds without one. Episodes in progress, in order."""
        self._lost.clear()
        free = sorted(set(range(self.env.num_envs)) - set(self._world.values()))
        started = {self._waiting.popleft(): world for world in free[: len(self._waiting)]}
        if started:
            every = len(started) == self.env.num_envs
            ids = [self.starts[i].episode for i in started]
            with place_errors(self.starts[0].simulator):
                self.observation = self.env.reset(ids, None if every else list(started.values())).cpu()
            self._world |= started
        return self.running()

    def running(self) -> list[int]:
        """Episodes in progress, in order."""
        return sorted(self._world)

    def decided(self, episodes: Sequence[int]) -> list[int]:
        """Those of `episodes` in which the simulator has not failed since `begin`."""
        return [i for i in episodes if i not in self._lost]

    def decision_seed(self, seed: int, episode: int) -> int:
        """The seed of the noise of an episode's next decision."""
        return decision_seed(seed, self.starts[episode], self._copies[episode], len(self.earned[episode]))

    def view(self, episode: int) -> Sample:
        """What the policy is shown of an episode in progress: its cameras and its instruction."""
        view = self._view(episode, self._world[episode])
        self.first_views[episode] = self.first_views[episode] or view
        self._shown[episode] = view
        return view

    def _view(self, episode: int, world: int) -> Sample:
        from PIL import Image

        sample, observation = self.starts[episode], self.observation
        images = tuple(Image.fromarray(frames[world].numpy()) for frames in observation.images.values())
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": observation.instruction[world]}]
        return replace(
            sample,
            messages=({"role": "user", "content": content},),
            images=images,
            cameras=tuple(observation.images),
            state=observation.state[world],
        )

    def expert_action(self) -> Tensor:
        """The expert's next action in each episode, float32 [E, A]; zeros where none is in progress."""
        actions_EA = torch.zeros(len(self.starts), self.env.action_dim)
        with place_errors(self.starts[0].simulator):
            advised_BA = self.env.expert_action().cpu()
        actions_EA[list(self._world)] = advised_BA[list(self._world.values())]
        return actions_EA

    def advance(self, actions_ECA: Tensor, credit: bool = True) -> list[int]:
        """`step`, then `begin`: all that the simulator does between two calls of the policy."""
        self.step(actions_ECA, credit)
        return self.begin()

    def step(self, actions_ECA: Tensor, credit: bool = True, seen: bool = True) -> None:
        """Plays a chunk; with `credit`, its reward goes to the last decision of each episode in progress.

        Args:
            seen: cameras render after it; the steps before a `begin` or a `view` must be.
        """
        actions_BCA = torch.zeros(self.env.num_envs, *actions_ECA.shape[1:])
        actions_BCA[list(self._world.values())] = actions_ECA[list(self._world)]
        with place_errors(self.starts[0].simulator):
            result = (self.env.chunk_step if seen else self.env.unseen_step)(actions_BCA).cpu()
        dropped, done = result.info["dropped"].tolist(), result.info["done"].tolist()
        rewards, counted = (result.reward * result.valid).sum(1).tolist(), result.valid.sum(1).tolist()
        for i, world in [*self._world.items(), *self._ended.items()]:
            if dropped[world]:
                self._lose(i)
        for i, world in list(self._world.items()):
            steps = result.reward[world, : counted[world]].tolist()
            self.earned[i] += steps
            if credit:
                self._credit(i, rewards[world], steps, actions_ECA.shape[1])
                if self.record:
                    played_CA = actions_ECA[i, : len(steps)].clone()
                    self.recorded[i].append(replace(self._shown[i], actions=played_CA, rewards=tuple(steps)))
            if done[world]:
                self._finish(i, result)
        if seen:
            self.observation = result.observation
            self._see_ended()

    def _lose(self, episode: int) -> None:
        """Has an episode in which the simulator failed begin again."""
        self._lost.add(episode)
        self._waiting.append(episode)
        self.decisions[episode].clear()
        self.recorded[episode].clear()
        self.earned[episode].clear()
        self._world.pop(episode, None)
        self._ended.pop(episode, None)

    def _see_ended(self) -> None:
        """Keeps the last view of the episodes that the time limit ended since the last one."""
        for episode, world in self._ended.items():
            self.last_views[episode] = self._view(episode, world)
        self._ended.clear()

    def _finish(self, episode: int, result: StepResult) -> None:
        world, info = self._world[episode], result.info
        self._facts[episode] = EpisodeFacts(
            success_once=bool(info["success_once"][world]),
            success_at_end=bool(info["success_at_end"][world]),
            length=int(info["episode_len"][world]),
        )
        self._returns[episode] = float(info["return"][world])
        if bool(result.truncated[world].any()):
            self._ended[episode] = world
        del self._world[episode]

    def _credit(self, episode: int, reward: float, steps: list[float], chunk: int) -> None:
        """Rewards the episode's last decision, and cuts the units of actions after the episode's end off."""
        last = self.decisions[episode][-1]
        units = len(last.tokens) // chunk * len(steps)
        self.decisions[episode][-1] = replace(last.first(units), reward=float(reward), step_rewards=tuple(steps))

    def prepare_finals(self, policy: Policy) -> None:
        """Prepares the last observation of the episodes that the time limit ended."""
        finals = sorted(self.last_views)
        if finals:
            self._finals = dict(zip(finals, policy.prepare([self.last_views[i] for i in finals])))

    def played(self, episode: int, origin: str) -> tuple[Sample, Trajectory]:
        """A finished episode's sample, which shows its first observation, and its trajectory."""
        facts, total = self._facts[episode], self._returns[episode]
        trajectory = Trajectory(
            tuple(self.decisions[episode]),
            origin=origin,
            reward=total,
            accuracy=float(facts.success_once),
            parts={"return": total},
            stop=StopReason.TIME if episode in self.last_views else StopReason.TERMINAL,
            final_prompt=self._finals.get(episode),
            episode=facts,
            recorded=tuple(self.recorded[episode]),
        )
        return self.first_views[episode] or self.starts[episode], trajectory

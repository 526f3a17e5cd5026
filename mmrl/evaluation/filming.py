"""Films of held-out episodes: what the policy saw at each of its decisions, and at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.source import Worlds
from mmrl.contracts.types import Sample
from robotics.base import VectorEnv
from robotics.recording import side_by_side
from robotics.types import Observation, StepResult
from robotics.wrapper import Wrapper

# Takes a film, uint8 [T, H, W, 3], and its facts.
Keep = Callable[[Tensor, Mapping[str, Any]], None]


class Film:
    """Films the first episodes of each held-out set.

    Args:
        count: episodes per set.
        keep: called with each film, uint8 [T, H, W, 3], and its facts: `dataset`, `task`, `simulator`, `episode`,
            `instruction`, `success`, `return`, `length` (simulator steps).
    """

    def __init__(self, count: int, keep: Keep):
        self.count, self.keep = count, keep
        self._chosen: Counter[str] = Counter()

    @contextmanager
    def of(self, dataset: str, samples: Sequence[Sample], simulators: Worlds) -> Iterator[Worlds]:
        """`simulators` for the block that plays `samples`; films of the episodes among them are kept at its end."""
        episodes = [sample for sample in samples if sample.simulator is not None]
        chosen = episodes[: self.count - self._chosen[dataset]]
        self._chosen[dataset] += len(chosen)
        if not chosen:
            yield simulators
            return
        filmed = FilmedSimulators(simulators, {(sample.simulator, sample.episode) for sample in chosen})
        yield filmed
        for sample in {(sample.simulator, sample.episode): sample for sample in chosen}.values():
            frames, facts = filmed.films[sample.simulator].pop(sample.episode)
            named = {"dataset": dataset, "task": sample.task, "simulator": sample.simulator, "episode": sample.episode}
            self.keep(torch.stack(frames), {**named, **facts})


class FilmedSimulators:
    """Simulators some of whose episodes, given as (simulator, id), are filmed.

    Attributes:
        films: simulator -> finished episodes, id to (frames [H, W, 3], facts).
    """

    def __init__(self, simulators: Worlds, episodes: Collection[tuple[str, int]]):
        self._simulators, self.pipeline = simulators, simulators.pipeline
        self._ids: dict[str, set[int]] = {}
        for name, episode in episodes:
            self._ids.setdefault(name, set()).add(episode)
        self.films: dict[str, dict[int, tuple[list[Tensor], dict[str, Any]]]] = {name: {} for name in self._ids}

    def get(self, name: str, worlds: int, lane: int = 0) -> VectorEnv:
        """See `Simulators.get`. Raises ConfigError where there is nothing to film."""
        env = self._simulators.get(name, worlds, lane)
        if name not in self._ids:
            return env
        if not env.cameras:
            raise ConfigError(f"evaluation.videos: simulators.{name} has no camera; give it one, or set videos to 0")
        return FilmedEnv(env, self._ids[name], self.films[name])


class FilmedEnv(Wrapper):
    """`env`, with the observations of some of its episodes kept. Nothing more is rendered; results are those of `env`.

    An episode in which the simulator fails is filmed anew when it begins again.

    Args:
        ids: start states whose episodes are filmed.
        films: where they go when they are done.
    """

    def __init__(self, env: VectorEnv, ids: Collection[int], films: dict[int, tuple[list[Tensor], dict[str, Any]]]):
        super().__init__(env)
        self._wanted, self._films = ids, films
        self._playing: dict[int, int] = {}
        self._frames: dict[int, list[Tensor]] = {}

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`."""
        observation = self.env.reset(ids, worlds)
        started = range(self.num_envs) if worlds is None else torch.as_tensor(worlds).tolist()
        for episode, world in zip(torch.as_tensor(ids).tolist(), started):
            self._playing.pop(world, None)
            if episode in self._wanted:
                self._playing[world] = episode
                self._frames[world] = [picture(observation, world)]
        return observation

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`."""
        result = self.env.chunk_step(actions)
        info, dropped, done = result.info, result.info["dropped"].tolist(), result.info["done"].tolist()
        for world, episode in list(self._playing.items()):
            if dropped[world]:
                del self._playing[world]
                continue
            self._frames[world].append(picture(result.observation, world))
            if done[world]:
                facts = {
                    "instruction": result.observation.instruction[world],
                    "success": bool(info["success_once"][world]),
                    "return": float(info["return"][world]),
                    "length": int(info["episode_len"][world]),
                }
                self._films[episode] = (self._frames.pop(world), facts)
                del self._playing[world]
        return result


def picture(observation: Observation, world: int) -> Tensor:
    """One world's cameras side by side, uint8 [H, W, 3] (`side_by_side`)."""
    return side_by_side([frames[world].cpu() for frames in observation.images.values()])

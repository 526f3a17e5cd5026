"""What all recorded datasets share: from episodes to one sample per step, pictures read when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmrl.contracts.errors import BadSample, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.robot.actions import convert_gripper, moving_steps
from mmrl.data.robot.statistics import compute_statistics
from mmrl.data.rows import Rows
from mmrl.recipe.data import RobotData

EVERY = slice(None)


@dataclass(frozen=True, slots=True)
class Episode:
    """One recorded episode of T steps, without its pictures.

    Attributes:
        number: its number in the dataset.
        key: where its pictures are; read by the dataset's own `_pictures`.
        place: file and episode, for error messages.
        instructions_T: what the robot was told at each step; empty where that is not known.
        actions_TA: float32 [T, A].
        states_TS: float32 [T, S], the state that each action was chosen in, or None.
        kept_K: int64 [K], the steps that become samples, ascending.
        rewards_T: float32 [T], what each action earned.
    """

    number: int
    key: Any
    place: str
    instructions_T: Sequence[str]
    actions_TA: np.ndarray
    states_TS: np.ndarray | None
    kept_K: np.ndarray
    rewards_T: np.ndarray

    def chunk(self, index: int, size: int) -> np.ndarray:
        """float32 [C, A]: the action of the `index`-th kept step and those of the next; C <= size at the end."""
        return self.actions_TA[self.kept_K[index : index + size]]

    @property
    def rewards_K(self) -> np.ndarray:
        """float32 [K]: what each kept step earned, with the steps that were left out after it and before the first."""
        starts = self.kept_K.copy()
        starts[:1] = 0
        return np.add.reduceat(self.rewards_T, starts)


class RobotRows(Rows):
    """A sample for each kept step: pictures, state and instruction, and the chunk of actions that followed.

    Actions and states are held in memory, pictures are not. A chunk is cut where its episode ends, as the actions that
    do not count in a simulator are: nothing is padded.

    Raises:
        UserError: on opening, no such file, unknown cameras or episodes, or missing columns.
        BadSample: on access, a picture that cannot be read, or a number that is not finite.
    """

    threaded = True

    def __init__(self, config: RobotData, name: str, cameras: Mapping[str, str], episodes: Sequence[Episode]):
        """
        Args:
            name: in samples, logs and statistics; `config.name` goes before it.
            cameras: name in the file -> name for the policy.
            episodes: as recorded; gripper and steps are seen to here.
        """
        self.config, self.cameras = config, dict(cameras)
        self.name = config.name or name
        self.episodes = [episode for episode in map(self._converted, episodes) if len(episode.kept_K)]
        self._starts = np.cumsum([0, *(len(e.kept_K) for e in self.episodes)])
        if not self.episodes:
            raise UserError(f"{self.title} has no step to learn from among {len(episodes)} episodes")
        sizes = {e.actions_TA.shape[1] for e in self.episodes}
        if len(sizes) > 1:
            raise UserError(f"{self.title} mixes actions of {sorted(sizes)} dimensions; name episodes of one robot")

    @property
    def title(self) -> str:
        """What an error of the whole dataset begins with."""
        return f"dataset '{self.config.path}'"

    @abstractmethod
    def _pictures(self, episode: Episode, step: int, where: str) -> list[np.ndarray]:
        """uint8 [H, W, 3] of each camera at a step. Raises BadSample."""

    def __len__(self) -> int:
        return int(self._starts[-1])

    def span(self, number: int) -> tuple[int, int]:
        """First row of the `number`-th episode that is read, and the row after its last."""
        return int(self._starts[number]), int(self._starts[number + 1])

    def _converted(self, episode: Episode) -> Episode:
        config, actions = self.config, episode.actions_TA
        if config.gripper is not None:
            actions = convert_gripper(actions, config.gripper, config.gripper_to or config.gripper)
        kept_K = episode.kept_K
        if config.drop_noops:
            kept_K = kept_K[moving_steps(actions[kept_K], config.gripper is not None)]
        told = episode.instructions_T
        if config.instruction:
            told = (config.instruction,) * len(told)
        return replace(episode, actions_TA=actions, kept_K=kept_K, instructions_T=told)

    def _row(self, row: int) -> Sample:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        episode, index = self.episodes[number], row - int(self._starts[number])
        step = int(episode.kept_K[index])
        where = f"dataset '{self.name}' row {row} ({episode.place}, step {step})"
        actions = episode.chunk(index, self.config.chunk)
        state = None if episode.states_TS is None else episode.states_TS[step]
        rewards = episode.rewards_K[index : index + self.config.chunk]
        for what, values in (("action", actions), ("state", state), ("reward", rewards)):
            if values is not None and not np.isfinite(values).all():
                raise BadSample(where, f"its {what} is not finite")
        instruction = episode.instructions_T[step]
        if not instruction:
            raise BadSample(where, "it has no instruction; set `instruction`")
        images = tuple(self._image(pixels) for pixels in self._pictures(episode, step, where))
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": instruction}]
        return Sample(
            id=f"{self.name}/{episode.number}/{step}",
            messages=({"role": "user", "content": content},),
            task=self.name,
            target={},
            images=images,
            dataset=self.name,
            row=row,
            cameras=tuple(self.cameras.values()),
            state=None if state is None else torch.from_numpy(state.copy()),
            actions=torch.from_numpy(actions.copy()),
            rewards=tuple(rewards.tolist()),
        )

    def _image(self, pixels_HWC: np.ndarray) -> Image.Image:
        turned = pixels_HWC[::-1, ::-1] if self.config.rotate else pixels_HWC
        image, side = Image.fromarray(np.ascontiguousarray(turned)), self.config.image_size
        return image if side is None else image.resize((side, side), Image.Resampling.BICUBIC)

    def steps(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Kept actions [K, A] and states [K, S] of each episode."""
        for episode in self.episodes:
            states = episode.states_TS
            yield episode.actions_TA[episode.kept_K], None if states is None else states[episode.kept_K]

    @property
    def action_mask(self) -> list[bool]:
        """Dimensions that are normalised: all but the gripper."""
        size = self.episodes[0].actions_TA.shape[1]
        return [True] * (size - (self.config.gripper is not None)) + [False] * (self.config.gripper is not None)

    def differences(self, dims: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Per kept step: the actions of its chunk [C, A], those of `dims` less the step's state, and that state [C, S].

        Raises:
            UserError: there is no state, or it has fewer dimensions.
        """
        for episode in self.episodes:
            states = episode.states_TS
            if states is None or max(dims) >= min(states.shape[1], episode.actions_TA.shape[1]):
                size = 0 if states is None else states.shape[1]
                raise UserError(
                    f"{self.title}: policy.params.delta_actions {list(dims)} are differences from a state of {size} "
                    f"dimensions and actions of {episode.actions_TA.shape[1]}; name dimensions that both have"
                )
            for index, step in enumerate(episode.kept_K):
                chunk = episode.chunk(index, self.config.chunk).copy()
                chunk[:, dims] -= states[step, dims]
                yield chunk, states[step][None].repeat(len(chunk), axis=0)

    def statistics(self, delta: Sequence[int] = ()) -> dict[str, Any]:
        """Normalisation statistics of all kept steps, see `mmrl.data.robot.statistics`.

        Args:
            delta: action dimensions that are taken as differences from the state at the beginning of their chunk.

        Raises:
            UserError: none of them has finite numbers; also as `differences`.
        """
        try:
            statistics = compute_statistics(self.differences(delta) if delta else self.steps(), self.action_mask)
        except ValueError as error:
            raise UserError(f"dataset '{self.name}': {error}") from error
        return {**statistics, "num_trajectories": len(self.episodes)}


def final_reward(length: int, success: bool = True) -> np.ndarray:
    """float32 [T] of an episode without recorded rewards: 1 at its end where it was a success, else 0."""
    rewards = np.zeros(length, np.float32)
    rewards[-1:] = float(success)
    return rewards


def choose_episodes(wanted: Sequence[int] | str | None, numbers: Sequence[int], title: str) -> list[int]:
    """The episodes that a config asks for, in its order.

    Raises:
        UserError: one that is not there, or a range without any.
    """
    if wanted is None:
        return list(numbers)
    if isinstance(wanted, str):
        first, _, end = wanted.partition(":")
        low, high = int(first or 0), int(end) if end else max(numbers, default=0) + 1
        chosen = [n for n in numbers if low <= n < high]
        if not chosen:
            raise UserError(f"{title}: episodes '{wanted}' is empty; there are {_span(numbers)}")
        return chosen
    known = set(numbers)
    for number in wanted:
        if number not in known:
            raise UserError(f"{title}: episode {number} is not there; there are {_span(numbers)}")
    return list(wanted)


def _span(numbers: Sequence[int]) -> str:
    return f"{len(numbers)}, from {min(numbers)} to {max(numbers)}" if numbers else "none"


def choose_cameras(
    wanted: Mapping[str, str] | None, recorded: Sequence[str], usual: Mapping[str, str], title: str
) -> dict[str, str]:
    """Name in the file -> name for the policy.

    Args:
        recorded: the file's cameras.
        usual: names for the policy of the file's cameras; others keep theirs.

    Raises:
        UserError: a camera that the file lacks, or no camera at all.
    """
    for camera in wanted or ():
        if camera not in recorded:
            raise UserError(f"{title}: cameras: {unknown('camera', camera, recorded)}")
    chosen = dict(wanted) if wanted else {camera: usual.get(camera, camera) for camera in recorded}
    if not chosen:
        raise UserError(f"{title} has no pictures, and a policy sees at least one camera")
    return chosen

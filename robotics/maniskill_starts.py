"""Exact starts from ids. ManiSkill seeds a whole batch by its first world, so equal seeds alone do not give them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robotics.base import SimulatorError
from robotics.counter_rng import splitmix64

# Positions and angles read back from a restored state differ by rounding only.
TOLERANCE = 1e-3
# Held-out starts come back at every evaluation and a group's in every world: those used last are kept, each some 10 KB.
REMEMBERED = 2048


def episode_seed(start_id: int) -> int:
    """ManiSkill's seed for a start id: itself from 0 to 2^31 - 1, a 31-bit hash of any other."""
    if 0 <= start_id < 2**31:
        return start_id
    return splitmix64(torch.tensor(start_id)).item() & (2**31 - 1)


class SeededStarts:
    """Starts of a single world, from the seed.

    rebuild: build the scene anew for each. PhysX keeps an order of contacts from one episode to the next, so that else
    equal actions lead to equal states, to the bit, only until something is touched.
    """

    def __init__(self, base: Any, rebuild: bool = False):
        self._base, self._rebuild = base, rebuild

    def start(self, ids: Sequence[int], rows: Tensor) -> None:
        """Put the only world at the start that `ids` names."""
        seed = episode_seed(ids[0])
        self._base.reset(seed=seed, options={"reconfigure": True} if self._rebuild else {})
        if not self._rebuild and self._base.reconfiguration_freq == 0:
            # Contacts of the last episode stay in the engine until it steps, and the first observation would show them.
            self._base.scene.step()
            self._base.reset(seed=seed)


class RestoredStarts:
    """Starts of many worlds: world 0, which plays no episode, makes each from its seed; its state goes to the others.

    On a GPU the copies agree with each other to rounding, since each world lies elsewhere in one large scene. Between
    calls the `remembered` starts that were used last are kept; another is made anew, one after the other.
    """

    def __init__(self, base: Any, remembered: int = REMEMBERED):
        self._base, self._remembered = base, remembered
        self._made: OrderedDict[int, tuple[Any, Any]] = OrderedDict()

    def start(self, ids: Sequence[int], rows: Tensor) -> None:
        """Put the worlds `rows` (int64 [W], none of them 0) at the starts that `ids` name.

        Raises RuntimeError where a task has per-episode values that are not in its simulation state.
        """
        for start_id in sorted(set(ids)):
            if start_id not in self._made:
                self._made[start_id] = self._make(start_id)
            self._made.move_to_end(start_id)
        # Each start's tensors have no batch dim; stacked they are [W, …], as `rows` wants them.
        states = map_states(lambda *parts: torch.stack(parts), *(self._made[i][0] for i in ids))
        self._base.reset(options={"env_idx": rows, "reset_to_env_states": {"env_states": states}})
        reached = take_rows(self._look(), rows)
        expected = map_states(lambda *parts: torch.stack(parts), *(self._made[i][1] for i in ids))
        map_states(self._compare, reached, expected)
        while len(self._made) > self._remembered:
            self._made.popitem(last=False)

    def _make(self, start_id: int) -> tuple[Any, Any]:
        first = torch.zeros(1, dtype=torch.int64, device=self._base.device)
        self._base.reset(seed=episode_seed(start_id), options={"env_idx": first})
        state = map_states(lambda value: value[0].clone(), self._base.get_state_dict())
        return state, map_states(lambda value: value[0].clone(), self._look())

    def _look(self) -> dict[str, Any]:
        return {"agent": self._base._get_obs_agent(), "extra": self._base._get_obs_extra(self._base.get_info())}

    def _compare(self, state: Tensor, expected: Tensor) -> None:
        # Flags, such as whether something is grasped, come from contacts, which only a step brings about.
        if state.dtype != torch.bool and (state - expected).abs().max() > TOLERANCE:
            raise SimulatorError(
                "maniskill: this task keeps per-episode values outside its simulation state, so that starts cannot be "
                "restored in many worlds at once; set backend: physx_cpu"
            )


def map_states(change: Callable[..., Any], first: Any, *others: Any) -> Any:
    """`change` over the leaves of dicts of the same form."""
    if isinstance(first, dict):
        return {key: map_states(change, value, *(other[key] for other in others)) for key, value in first.items()}
    return change(first, *others)


def take_rows(states: Any, rows: Tensor) -> Any:
    """The same dict with `rows` (int64 [W]) of every tensor."""
    return map_states(lambda value: value[rows], states)

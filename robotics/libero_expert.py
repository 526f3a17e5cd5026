"""A scripted hand for LIBERO's pick-and-place tasks, from the simulator's own object positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

# Tasks that it solves from every start it was tried on: put a thing on, or into, another.
EXPERT_TASKS = {
    "libero_spatial": (0, 1, 3, 5, 7),
    "libero_object": (0, 3, 6, 8),
    "libero_goal": (1, 6, 8),
}

# A full action asks for a motion of STEP metres.
STEP = 0.05
OPEN, CLOSE = -1.0, 1.0
GRASP_STEPS, RELEASE_STEPS = 10, 5
HOVER, CARRY = 0.15, 0.12
BASKET_HEIGHT = 0.2
# Bowls are taken by the rim: fingers open along y.
RIM = np.array([0.0, 0.05, 0.02])


class PickAndPlace:
    """One episode's hand. `item`, `place`: names of the thing to take and of where it goes.

    position_of: name -> float64 [3], metres.
    """

    def __init__(self, item: str, place: str, position_of: Callable[[str], np.ndarray]):
        self._item, self._place, self._position_of = item, place, position_of
        self._offset = RIM if "bowl" in item else np.zeros(3)
        self._grasped = self._released = self._still = 0
        self._height = np.inf

    def action(self, sensed: Mapping[str, np.ndarray]) -> np.ndarray:
        """Next action, float64 [7], from LIBERO's observation."""
        hand, item, place = sensed["robot0_eef_pos"], self._position_of(self._item), self._position_of(self._place)
        if self._grasped == GRASP_STEPS and not self._released and np.linalg.norm(hand - item) > 0.2:
            self._grasped = self._still = 0
        if self._grasped < GRASP_STEPS:
            target, grip = self._take(hand, item)
        else:
            target, grip = self._bring(hand, item, place)
        motion = np.clip((target - hand) / STEP, -1.0, 1.0)
        return np.array([*motion, 0.0, 0.0, 0.0, grip])

    def _take(self, hand: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, float]:
        grasp = item + self._offset
        aside = np.linalg.norm((hand - grasp)[:2])
        # Tall things stop the palm before the fingers reach their middle.
        stopped = aside < 0.02 and hand[2] < item[2] + 0.11 and abs(hand[2] - self._height) < 0.0015
        self._still, self._height = self._still + 1 if stopped else 0, hand[2]
        if self._grasped or self._still > 3 or np.linalg.norm(hand - grasp) < 0.012:
            self._grasped += 1
            return hand, CLOSE
        if aside > 0.03:
            return np.array([*grasp[:2], max(hand[2] if aside < 0.06 else 0.0, item[2] + HOVER)]), OPEN
        return (np.array([*grasp[:2], hand[2]]) if aside > 0.012 else grasp), OPEN

    def _bring(self, hand: np.ndarray, item: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, float]:
        basket = "basket" in self._place
        gap = (place - item)[:2]
        there = np.linalg.norm(gap) < (0.03 if basket else 0.02)
        if self._released or (there and (basket or item[2] < place[2] + 0.06)):
            self._released += 1
            return hand + np.array([0.0, 0.0, 0.02 if self._released > RELEASE_STEPS else 0.0]), OPEN
        if there:
            return hand - np.array([0.0, 0.0, 0.04]), CLOSE
        high = hand[2] > place[2] + BASKET_HEIGHT if basket else item[2] > place[2] + CARRY
        return hand + (np.array([*gap, 0.0]) if high else np.array([0.0, 0.0, 0.1])), CLOSE

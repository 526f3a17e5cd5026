"""What recorded actions mean: the gripper's sign, and steps in which nothing happens."""

from __future__ import annotations

import numpy as np

# Value of the last dimension where the gripper is closed, and where it is open.
GRIPPERS = {
    "close_positive": (1.0, -1.0),
    "open_positive": (-1.0, 1.0),
    "open_fraction": (0.0, 1.0),
    "close_fraction": (1.0, 0.0),
}
# OpenVLA-OFT's filter of LIBERO: below this norm an action does not move the arm.
STILL = 1e-4


def convert_gripper(actions_TA: np.ndarray, recorded: str, wanted: str) -> np.ndarray:
    """float32 [T, A]: the actions with their last dimension in another convention, by a straight line.

    Args:
        recorded, wanted: keys of `GRIPPERS`.
    """
    if recorded == wanted:
        return actions_TA
    (closed, opened), (to_closed, to_opened) = GRIPPERS[recorded], GRIPPERS[wanted]
    openness_T = (actions_TA[:, -1] - closed) / (opened - closed)
    converted = actions_TA.copy()
    converted[:, -1] = to_closed + openness_T * (to_opened - to_closed)
    return converted


def moving_steps(actions_TA: np.ndarray, gripper: bool) -> np.ndarray:
    """int64 [K]: steps that move the arm or change the gripper's command, ascending.

    A step is left out where the norm of its action is below 1e-4 and the gripper's command is that of the last step
    kept (OpenVLA-OFT's rule for LIBERO; it suits actions that are differences, not positions).

    Args:
        gripper: whether the last dimension is one.
    """
    arm_TA = actions_TA[:, :-1] if gripper else actions_TA
    moves_T = np.linalg.norm(arm_TA, axis=1) >= STILL
    moving: list[int] = []
    for step, moves in enumerate(moves_T):
        changes = gripper and bool(moving) and actions_TA[step, -1] != actions_TA[moving[-1], -1]
        if moves or changes:
            moving.append(step)
    return np.asarray(moving, dtype=np.int64)

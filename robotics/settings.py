"""What each simulator reads of its configuration. Imports nothing heavy: a caller can check one before it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robotics.options import Option, read_options


def _check_nothing(options: Mapping[str, Any]) -> None:
    return


@dataclass(frozen=True, eq=False)
class SimulatorSettings:
    """The options of a simulator.

    Attributes:
        options: by name. `num_envs` is one of them; None, where it is allowed, stands for as many worlds as are needed.
        check: raises ValueError on options that contradict each other.
        gripper: how the last action dimension is read, where no option `gripper` says so; None: there is no gripper,
            or nothing is known of it.
        state_dim: size of the robot's state; None: it takes the simulator itself to tell.
    """

    options: Mapping[str, Option]
    check: Callable[[Mapping[str, Any]], None] = _check_nothing
    gripper: str | None = None
    state_dim: int | None = None

    def read(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options, defaults filled in. Raises ValueError as `read_options` and `check` do."""
        options = read_options(what, values, self.options)
        self.check(options)
        return options


# --- tabletop

TABLETOP_CAMERAS = ("top",)
TABLETOP_TASKS = ("reach", "push", "pick_place", "sort")
TABLETOP_COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
# x, y, whether the gripper is closed, whether it holds a block.
TABLETOP_STATE_DIM = 4
# Worlds of a tabletop that is made without a word on it.
TABLETOP_WORLDS = 16


def _check_tabletop(options: Mapping[str, Any]) -> None:
    colours = len(options["colours"])
    if colours < options["num_blocks"]:
        raise ValueError(
            f"tabletop: num_blocks={options['num_blocks']} is not allowed with {colours} colours; "
            f"allowed: 1 to {colours}"
        )


TABLETOP = SimulatorSettings(
    {
        "num_envs": Option(int, None, low=1, optional=True),
        "tasks": Option(str, ("reach",), choices=TABLETOP_TASKS, many=True),
        "num_blocks": Option(int, 3, low=1, high=4),
        "colours": Option(str, TABLETOP_COLOURS[:4], choices=TABLETOP_COLOURS, many=True),
        "image_size": Option(int, 56, low=16, high=1024),
        "cameras": Option(str, TABLETOP_CAMERAS, choices=TABLETOP_CAMERAS, many=True, min_items=0),
        "max_steps": Option(int, None, low=1, optional=True),
        "reward": Option(str, "sparse", choices=("sparse", "dense")),
        "terminate_on_success": Option(bool, True),
        "device": Option(str, "cpu"),
    },
    _check_tabletop,
    gripper="close_positive",
    state_dim=TABLETOP_STATE_DIM,
)

# --- maniskill

# The option's value -> ManiSkill's own reward mode.
MANISKILL_REWARDS = {
    "only_success": "none",
    "sparse": "sparse",
    "dense": "dense",
    "normalized_dense": "normalized_dense",
    "relative": "normalized_dense",
}
# The controllers' own, by which 1 opens and -1 closes, comes first.
MANISKILL_GRIPPERS = ("open_positive", "close_positive", "open_fraction")


def check_no_rebuild(options: Mapping[str, Any], backend: str) -> None:
    """Raises ValueError where worlds are to be built anew, which `physx_cuda` cannot do one by one."""
    if backend == "physx_cuda" and options["rebuild"]:
        raise ValueError("maniskill: rebuild=True is not allowed with physx_cuda; set backend: physx_cpu")


def _check_maniskill(options: Mapping[str, Any]) -> None:
    if options["cameras"] is not None and options["observation"] == "state":
        raise ValueError(
            f"maniskill: cameras={list(options['cameras'])!r} is not allowed with observation='state', which shows "
            "no pictures; set observation: rgb, or leave cameras out"
        )
    check_no_rebuild(options, options["backend"])


MANISKILL = SimulatorSettings(
    {
        "task": Option(str, "PickCube-v1"),
        "num_envs": Option(int, 4, low=1),
        "observation": Option(str, "rgb", choices=("rgb", "state")),
        "cameras": Option(str, None, optional=True, many=True),
        "image_size": Option(int, 128, low=16, high=1024),
        "render_size": Option(int, 256, low=16, high=1024),
        "reward": Option(str, "only_success", choices=tuple(MANISKILL_REWARDS)),
        "control_mode": Option(str, None, optional=True),
        "gripper": Option(str, MANISKILL_GRIPPERS[0], choices=MANISKILL_GRIPPERS),
        "robot": Option(str, None, optional=True),
        "instruction": Option(str, None, optional=True),
        "max_steps": Option(int, None, low=1, optional=True),
        "terminate_on_success": Option(bool, True),
        "rebuild": Option(bool, False),
        "backend": Option(str, "auto", choices=("auto", "physx_cpu", "physx_cuda")),
        "timeout": Option(float, 120.0, low=1.0),
    },
    _check_maniskill,
)

# --- libero

# Hand position 3, axis-angle 3, finger joints 2.
LIBERO_STATE_DIM = 8
# Number of tasks, and the step limit that published results use.
LIBERO_SUITES = {
    "libero_spatial": (10, 220),
    "libero_object": (10, 280),
    "libero_goal": (10, 300),
    "libero_10": (10, 520),
    "libero_90": (90, 400),
}


def _check_libero(options: Mapping[str, Any]) -> None:
    count = LIBERO_SUITES[options["suite"]][0]
    for task in options["tasks"] or ():
        if task >= count:
            raise ValueError(
                f"libero: tasks={list(options['tasks'])!r} is not allowed; allowed: 0 to {count - 1} "
                f"in suite {options['suite']!r}"
            )


LIBERO = SimulatorSettings(
    {
        "suite": Option(str, "libero_spatial", choices=tuple(LIBERO_SUITES)),
        "tasks": Option(int, None, low=0, optional=True, many=True),
        "num_envs": Option(int, 4, low=1),
        "cameras": Option(str, ("agentview", "robot0_eye_in_hand"), many=True),
        "image_size": Option(int, 256, low=16, high=1024),
        "rotate_images": Option(bool, True),
        "gripper": Option(str, "close_positive", choices=("close_positive", "open_fraction")),
        "settle_steps": Option(int, 10, low=0),
        "init_first": Option(int, 0, low=0),
        "init_count": Option(int, None, low=1, optional=True),
        "max_steps": Option(int, None, low=1, optional=True),
        "terminate_on_success": Option(bool, True),
        "assets": Option(str, None, optional=True),
        "renderer": Option(str, "egl", choices=("egl", "osmesa")),
        "timeout": Option(float, 300.0, low=1.0),
    },
    _check_libero,
    state_dim=LIBERO_STATE_DIM,
)

SETTINGS = {"libero": LIBERO, "maniskill": MANISKILL, "tabletop": TABLETOP}

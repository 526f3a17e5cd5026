"""Building a ManiSkill task from checked options: every mistake, and every missing asset or driver, in one line."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robotics.options import unknown

PACKAGE = "'mani-skill>=3.0.1,<3.1'"
VULKAN = "install a Vulkan driver: NVIDIA's, or Mesa 24 or newer (apt-get install mesa-vulkan-drivers libvulkan1)"


def require_package() -> None:
    """Raises ImportError where mani_skill is not installed; nothing is imported."""
    if importlib.util.find_spec("mani_skill") is None:
        raise ImportError(f"maniskill: the package mani_skill is not installed; install it: pip install {PACKAGE}")


def build_base(options: dict[str, Any], reward_mode: str, worlds: int) -> Any:
    """ManiSkill's own environment with `worlds` worlds, without gymnasium's wrappers.

    Raises:
        ImportError: mani_skill is not installed.
        ValueError: unknown task, control mode, robot or reward; missing assets; no Vulkan device.
    """
    spec = _spec(options["task"])
    arguments = {
        "num_envs": worlds,
        "obs_mode": "rgb" if options["observation"] == "rgb" else "state_dict",
        "reward_mode": reward_mode,
        "sim_backend": options["backend"],
        "render_backend": "gpu" if options["backend"] == "physx_cuda" else "cpu",
        "sensor_configs": {"width": options["image_size"], "height": options["image_size"]},
        "human_render_camera_configs": {"width": options["render_size"], "height": options["render_size"]},
    }
    if options["robot"] is not None:
        arguments["robot_uids"] = _robot(options["robot"])
    chosen = {} if options["control_mode"] is None else {"control_mode": options["control_mode"]}
    try:
        return spec.make(**arguments, **chosen)
    except AssertionError:
        if not chosen:
            raise
        allowed = spec.make(**arguments).agent.supported_control_modes
        raise unknown("maniskill", "control_mode", options["control_mode"], allowed) from None
    except NotImplementedError:
        modes = ", ".join(spec.cls.SUPPORTED_REWARD_MODES)
        raise ValueError(
            f"maniskill: reward={options['reward']!r} is not allowed for {options['task']}, whose own reward modes are "
            f"{modes}; allowed: only_success, and those of the same name"
        ) from None
    except (RuntimeError, EOFError, FileNotFoundError) as error:
        raise _cure(options["task"], error) from error


def _spec(task: str) -> Any:
    try:
        import mani_skill.envs  # noqa: F401  registers the tasks
        from mani_skill import ASSET_DIR
        from mani_skill.utils import assets
        from mani_skill.utils.registration import REGISTERED_ENVS
    except ImportError as error:
        raise ImportError(f"maniskill: {error}; install it: pip install {PACKAGE}") from error
    if task not in REGISTERED_ENVS:
        raise unknown("maniskill", "task", task, REGISTERED_ENVS)
    spec = REGISTERED_ENVS[task]
    missing = []
    for name in spec.asset_download_ids or []:
        group = name in assets.DATA_GROUPS
        parts = assets.expand_data_group_into_individual_data_source_ids(name) if group else [name]
        missing += [part for part in parts if not assets.is_data_source_downloaded(part)]
    if missing:
        # Asked to build without them, ManiSkill prompts on the terminal and then exits.
        raise ValueError(
            f"maniskill: task={task!r} needs assets that are not in {ASSET_DIR}: {', '.join(missing)}; "
            f"download them: python -m mani_skill.utils.download_asset {' '.join(spec.asset_download_ids)}"
        )
    return spec


def _robot(name: str) -> Any:
    from mani_skill.agents.registration import REGISTERED_AGENTS

    if name not in REGISTERED_AGENTS:
        raise unknown("maniskill", "robot", name, REGISTERED_AGENTS)
    return name


def _cure(task: str, error: Exception) -> ValueError:
    words = " ".join(str(error).split())
    if "vk::" in words or "rendering device" in words:
        return ValueError(f"maniskill: no Vulkan device ({words}), which every task needs; {VULKAN}")
    return ValueError(
        f"maniskill: task={task!r} cannot be built ({type(error).__name__}: {words}); if assets are missing: "
        f"python -m mani_skill.utils.download_asset {task}"
    )


def action_spaces(base: Any) -> dict[str, Any]:
    """The action box of each robot, in order. Raises ValueError where one has no finite bounds."""
    space = base.single_action_space
    boxes = dict(space.spaces) if hasattr(space, "spaces") else {"robot": space}
    if not all(bound.isfinite().all() for bound in action_bounds(boxes)):
        raise ValueError(
            f"maniskill: control_mode={base.control_mode!r} has unbounded actions, which cannot be scaled to [-1, 1]; "
            "allowed: modes with bounds, such as pd_joint_delta_pos and pd_ee_delta_pose"
        )
    return boxes


def action_bounds(boxes: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Lowest and highest raw action, float32 [A] each, of all robots in order."""
    low = torch.cat([torch.as_tensor(box.low) for box in boxes.values()])
    return low, torch.cat([torch.as_tensor(box.high) for box in boxes.values()])


def own_limit(task: str) -> int:
    """The task's own step limit. Raises ValueError where it has none."""
    from mani_skill.utils.registration import REGISTERED_ENVS

    limit = REGISTERED_ENVS[task].max_episode_steps
    if limit is None:
        raise ValueError(f"maniskill: task={task!r} has no step limit of its own; set max_steps")
    return limit


def choose_cameras(base: Any, names: Sequence[str] | None) -> tuple[str, ...]:
    """The cameras to render, all of the task's where `names` is None. Raises ValueError on an unknown one."""
    available = tuple(base._sensors)
    for name in names or ():
        if name not in available:
            raise unknown("maniskill", "cameras", name, available)
    return available if names is None else tuple(names)


def reward_ignores_observation(base: Any) -> bool:
    """Whether steps can do without an observation: the reward of ManiSkill's own tasks does not read it."""
    dims = len(action_bounds(action_spaces(base))[0])
    try:
        base.get_reward(obs={}, action=torch.zeros(base.num_envs, dims, device=base.device), info=base.get_info())
    except (KeyError, TypeError):
        return False
    return True

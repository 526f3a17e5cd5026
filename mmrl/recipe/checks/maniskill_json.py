"""The JSON file that ManiSkill writes beside its trajectories, and the command that converts both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError

# What ManiSkill's tables and arms use by default.
USUAL = "pd_joint_delta_pos"


def read_json(path: Path) -> dict[str, Any]:
    """What the JSON file beside `path` says: {"env_info": mapping, "episodes": {episode_id: mapping}}.

    Raises:
        UserError: it is missing, or no trajectory list.
    """
    beside = path.with_suffix(".json")
    try:
        raw = json.loads(beside.read_text())
        facts = {
            "env_info": dict(raw["env_info"]),
            "episodes": {int(e["episode_id"]): dict(e) for e in raw["episodes"]},
        }
    except FileNotFoundError:
        raise UserError(f"'{beside}' is missing; ManiSkill writes it beside '{path.name}': copy both") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{beside}' is no trajectory list of ManiSkill: {error!r}; copy it again") from None
    return facts


def control_modes(facts: Mapping[str, Any]) -> dict[int, str]:
    """The control mode of each episode; 'None' where the file does not say."""
    usual = (facts["env_info"].get("env_kwargs") or {}).get("control_mode")
    return {number: str(episode.get("control_mode") or usual) for number, episode in facts["episodes"].items()}


def absolute(mode: str) -> bool:
    """Whether the actions of a mode are targets, in units of their own; a mode that is not named is taken for one."""
    return mode == "None" or ("pos" in mode and "delta" not in mode)


def replay(path: Path | str, options: str) -> str:
    """The command that records a file anew."""
    return f"python -m mani_skill.trajectory.replay_trajectory --traj-path {path} {options} --save-traj"

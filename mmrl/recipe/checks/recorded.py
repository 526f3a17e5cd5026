"""Whether recorded actions mean in a recipe's simulators what they did when they were recorded.

Nothing here imports anything heavy: recipes are checked while they are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmrl.contracts.errors import UserError
from mmrl.recipe.checks.maniskill_json import USUAL, absolute, control_modes, read_json, replay
from mmrl.recipe.data import LeRobotData, LiberoData, ManiSkillData, RobotData
from mmrl.recipe.simulators import SimulatorConfig

Simulators = Mapping[str, SimulatorConfig]
# Commands that do under a reading what they say. `open_fraction` parts them at 0.5, so that 1 and -1 do as well.
FITTING: dict[str | None, tuple[str, ...]] = {
    "close_positive": ("close_positive",),
    "open_positive": ("open_positive",),
    "open_fraction": ("open_fraction", "open_positive"),
}


def gripper_reading(simulator: SimulatorConfig) -> str | None:
    """How a simulator of a recipe reads the gripper's command; None where that is not known."""
    option = simulator.option("gripper")
    if option is None:
        return simulator.source.gripper
    # Compared by value, not by what was set: a resolved recipe carries every default, that of the usual robot.
    reading = simulator.value("gripper")
    return reading if _has_usual_robot(simulator) or reading != option.default else None


def check_simulated(place: str, data: LeRobotData | LiberoData | ManiSkillData, simulators: Simulators) -> None:
    """Gripper and control mode of a dataset, named `place`, are those of a simulator that it may be played in.

    These are the ones of the type that it was recorded in; where that is not known, all.

    Raises:
        ValueError: they are those of none.
    """
    candidates = {
        name: simulator for name, simulator in simulators.items() if data.recorded_in in (None, simulator.type)
    }
    _check_gripper(place, data, candidates)
    if isinstance(data, ManiSkillData):
        _check_control(place, data, candidates)


def _check_gripper(place: str, data: RobotData, simulators: Simulators) -> None:
    if data.gripper is None:
        return
    key, command = ("gripper", data.gripper) if data.gripper_to is None else ("gripper_to", data.gripper_to)
    readings = {name: gripper_reading(simulator) for name, simulator in simulators.items()}
    if not readings or any(command in FITTING.get(reading, (command,)) for reading in readings.values()):
        return
    name, reading = next(iter(readings.items()))
    raise ValueError(
        f"{place}.{key} '{command}' and simulators.{name}.gripper '{reading}' differ, so that the simulator would take "
        f"what is learnt for another command; set {place}.gripper_to to {reading}"
    )


def _check_control(place: str, data: ManiSkillData, simulators: Simulators) -> None:
    facts = _read_control_mode(data)
    if facts is None:
        return
    task, recorded = facts
    of_task = {name: simulator for name, simulator in simulators.items() if simulator.value("task") == task}
    modes = {name: _control_mode_of(simulator) for name, simulator in (of_task or simulators).items()}
    if not modes or {recorded, None} & set(modes.values()):
        return
    name, mode = next((name, mode) for name, mode in modes.items() if mode is not None)
    cure = f"set simulators.{name}.control_mode to {recorded}"
    if absolute(recorded):
        target_mode = USUAL if absolute(mode) else mode
        cure = f"convert it: {replay(data.path, f'-c {target_mode} -o rgb')}"
        cure += "" if target_mode == mode else f", and set simulators.{name}.control_mode to {target_mode}"
    raise ValueError(
        f"{place} was recorded with control_mode {recorded}, and simulators.{name}.control_mode is {mode}, which would "
        f"play its actions as others; {cure}"
    )


def _control_mode_of(simulator: SimulatorConfig) -> str | None:
    """The control mode of a ManiSkill simulator; None where that is not known."""
    return simulator.value("control_mode") or (USUAL if _has_usual_robot(simulator) else None)


def _has_usual_robot(simulator: SimulatorConfig) -> bool:
    """Whether a recipe leaves or gives a simulator a Panda; ManiSkill's other robots have other defaults."""
    return "panda" in str(simulator.value("robot") or "panda")


def _read_control_mode(data: ManiSkillData) -> tuple[str | None, str] | None:
    """(task, control mode) of a file; None where it names none, or cannot be read: opening it then says why."""
    from mmrl.recipe.files import find_files

    try:
        facts = read_json(find_files(data.path, (".h5",))[0])
    except UserError:
        return None
    modes = set(control_modes(facts).values())
    if len(modes) != 1 or modes == {"None"}:
        return None
    return facts["env_info"].get("env_id"), modes.pop()

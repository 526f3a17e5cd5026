"""Parts of an objective that remember: classes in the place of functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mmrl.contracts.errors import CheckpointError, first_line
from mmrl.objectives.waiting import Waiting
from mmrl.recipe.advantages import ADVANTAGES
from mmrl.recipe.objective import Objective


class Resumable(Protocol):
    """A part that a checkpoint holds the state of, exact over a resume."""

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that what it gives next follows from, as JSON has it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` gave."""


class Remembering(Resumable, Protocol):
    """A part whose `code` is a class: called as a function would be, made anew in each stage with its settings."""

    def __call__(self, *arguments: Any) -> Any:
        """What the function of such a part gives."""


class Stateful:
    """The remembering parts of one stage, by their keys in the objective. Their state is in the checkpoint.

    Attributes:
        waiting: the prompts in the objective's buffer; None without one.
    """

    def __init__(self, objective: Objective):
        code = ADVANTAGES.get(objective.advantage.kind).load()
        self.waiting = None if objective.buffer is None else Waiting(objective.buffer)
        self.parts: dict[str, Any] = {"advantage": code(objective.advantage)} if isinstance(code, type) else {}
        self.parts |= {} if self.waiting is None else {"buffer": self.waiting}

    def state_dict(self) -> dict[str, Mapping[str, Any]]:
        """Each one's state by its key."""
        return {key: part.state_dict() for key, part in self.parts.items()}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Puts every state back (`load_states`)."""
        load_states("objective", self.parts, states)


def load_states(place: str, parts: Mapping[str, Resumable], states: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the state of every part back; a part that the checkpoint does not know begins anew.

    Args:
        place: the recipe's key that the parts stand under.

    Raises:
        CheckpointError: a state of another kind of part, or a damaged one.
    """
    for key, part in parts.items():
        if key in states:
            try:
                part.load_state_dict(states[key])
            except KeyError as error:
                raise CheckpointError(
                    f"the checkpoint's state of {place}.{key} has no {error}: {place}.{key} is of another kind than "
                    "the one that wrote it"
                ) from None
            except (TypeError, ValueError, AttributeError) as error:
                raise CheckpointError(
                    f"the checkpoint's state of {place}.{key} is of another kind or damaged: {first_line(error)}"
                ) from None


def function_of(key: str, code: Callable[..., Any], stateful: Stateful | None) -> Callable[..., Any]:
    """The function itself, or the stage's instance of the class."""
    if not isinstance(code, type):
        return code
    if stateful is None or key not in stateful.parts:
        raise ValueError(f"objective.{key} remembers, and its stage has made no instance of it")
    return stateful.parts[key]

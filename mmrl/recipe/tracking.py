"""Where the figures of a run go."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from mmrl.contracts.errors import unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.registry import Registry

# What stands behind a name is a `mmrl.tracking.sinks.Sink`.
SINKS: Registry[Any] = Registry(
    "sink",
    {
        "tensorboard": "mmrl.tracking.sinks:TensorBoard",
        "wandb": "mmrl.tracking.sinks:Wandb",
        "trackio": "mmrl.tracking.sinks:Trackio",
    },
)
SWITCHES = ("tensorboard", "wandb", "trackio")


def _sink(name: str) -> str:
    if name not in SINKS:
        raise ValueError(f"{unknown('sink', name, SINKS.names())}, or module:name")
    return name


class TrackingConfig(Settings):
    """Where figures go besides metrics.jsonl."""

    console: Literal["auto", "live", "plain", "none"] = "auto"
    tensorboard: bool = True
    wandb: bool = False
    trackio: bool = False
    sinks: list[Annotated[str, AfterValidator(_sink)]] = Field(
        [], description="further sinks: names of `mmrl list sink`, or module:name"
    )
    project: str = "mmrl"
    report_every: PositiveFloat | None = Field(
        60.0, description="seconds from one report.html of a run that goes on to the next; None: at evaluations alone"
    )
    rollouts_every: PositiveInt = Field(1, description="steps between entries of rollouts/")
    rollouts_groups: int = Field(2, ge=0, description="groups written each time")
    heldout_answers: int = Field(4, ge=0, description="answers of each held-out task written at each evaluation")

    @property
    def open(self) -> list[str]:
        """Names of the sinks that are on, each once."""
        return [*dict.fromkeys([*(name for name in SWITCHES if getattr(self, name)), *self.sinks])]

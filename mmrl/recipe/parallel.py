"""The processes that train together, as a recipe asks for them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from mmrl.recipe.base import Settings


class ParallelConfig(Settings):
    """How many processes train together, and what each of them holds."""

    processes: PositiveInt | None = Field(
        None, description="how many train together; None: as many as `torchrun` has started, or one"
    )
    shard: Literal["none", "full", "hybrid"] = Field(
        "none", description="`none`: each process holds the whole model; `full` and `hybrid` are not built yet"
    )
    timeout: PositiveFloat = Field(
        1800.0, description="seconds that a process waits for the others before it gives them up for lost"
    )

    @field_validator("shard")
    @classmethod
    def _is_built(cls, shard: str) -> str:
        if shard != "none":
            raise ValueError(f"'{shard}' is not built yet: every process holds the whole model. Allowed: none")
        return shard

"""The base of every settings model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings model: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

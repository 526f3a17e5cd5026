"""Companion policies: other checkpoints that score the policy's units on the same prompts, and never change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmrl.recipe.base import Settings

# What `to` names where it names no companion: the policy as it was when the stage began.
REFERENCE = "reference"
# The rows of a step hold log-probs of these names besides those of companions.
RESERVED = (REFERENCE, "old")


class CompanionConfig(Settings):
    """Another checkpoint of the policy's type, with the same tokenizer and the same reading of pictures."""

    path: str = Field(description="folder or hub name of a checkpoint, or a run")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of its weights and of what it computes; auto: bfloat16 on CUDA, float32 on a CPU"
    )
    device: str | None = Field(None, description="null: the policy's")
    offload: bool = Field(False, description="its weights lie in the CPU's memory except while it scores")
    digest: str | None = Field(
        None, description="written by a run: XXH3-128 of its weights; other weights are then refused"
    )

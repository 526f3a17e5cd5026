"""The simulators' benchmark runs and says what it skipped. Speeds are never compared here."""

from __future__ import annotations

import pytest
import torch

from tests.support.benchmarks import result_of


@pytest.mark.slow
def test_the_part_of_training_runs_where_there_is_no_gpu(maniskill) -> None:
    """The code that measures many worlds on a GPU, here with few worker processes; the smoke run's other parts skip."""
    details = result_of("simulators", "--small", "--only", "maniskill_training", "maniskill_gpu")["details"]
    found = details["maniskill_training"]
    if not torch.cuda.is_available():
        assert "no CUDA GPU" in details["maniskill_gpu"]["skipped"]
        assert found.pop("skipped") == (
            "no CUDA GPU: resets, rollouts and updates at 2 worlds (physx_cuda) were not measured"
        )
        found = found["physx_cpu"]
    found.pop("device", None)
    [figures] = found.values()
    assert set(figures) == {"reset_s", "tiny"}
    assert len(figures["reset_s"]) == 3
    assert min(figures["reset_s"].values()) > 0
    assert figures["tiny"]["rollout_s"] > 0
    assert figures["tiny"]["update_s"] > 0
    assert figures["tiny"]["env_steps_per_s"] > 0
    assert figures["tiny"]["gradient_norm"] > 0, "the update learnt nothing"

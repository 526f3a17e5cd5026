"""Benchmarks of a run's checkpoint: which of the run's settings they take over."""

import shutil

import yaml

from mmrl.evaluation.suite.opening import open_parts, read_suite


def opened(model, **settings):
    return open_parts(read_suite({"model": str(model), "tasks": ["digits"], "output": "out", **settings}))


def test_settings_of_the_run_hold_without_those_of_its_training(tiny_qwen, tmp_path):
    policy = {"type": "qwen_vl", "path": "base", "lora": {"rank": 4}, "freeze": ["vision"], "video": {"fps": 4.0}}
    stages = [{"rollout": {"action_chunk": 2}}, {"rollout": {"action_chunk": 3}}]
    shutil.copytree(tiny_qwen(), tmp_path / "checkpoints" / "step_000001" / "model")
    (tmp_path / "checkpoints" / "step_000001" / "state.json").write_text("{}")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"policy": policy, "stages": stages}))
    parts, chunk = opened(tmp_path)
    assert (parts.policy.path, parts.policy.video.fps, chunk) == (str(tmp_path), 4.0, 3)
    assert parts.policy.lora is None
    assert not parts.policy.freeze
    parts, chunk = opened(tmp_path, policy={"video": {"fps": 1.0}}, action_chunk=7)
    assert (parts.policy.video.fps, chunk) == (1.0, 7)

"""From what `mmrl eval --tasks` is told to a policy, an engine and results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import Field

from mmrl.contracts.benchmark import Played
from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.policy import params_of
from mmrl.engines import open_engine
from mmrl.evaluation.suite.export import write_lmms_eval, write_vlmevalkit
from mmrl.evaluation.suite.page import write_page
from mmrl.evaluation.suite.runner import checked_simulators, open_tasks, run_tasks
from mmrl.policies.digests import digest_of_file
from mmrl.policies.loading import base_of, config_file, local_folder, read_config
from mmrl.policies.opening import load_policy
from mmrl.recipe.base import Settings
from mmrl.recipe.checks.policies import check_gripper
from mmrl.recipe.engines import AnyEngine, EngineSettings, HFSettings, check_engine, engine_model, with_engine
from mmrl.recipe.policies.registry import AnyPolicy, entry_of, policies_of
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.reading import apply_overrides, merge, read_yaml, validate
from mmrl.recipe.secrets import masked
from mmrl.recipe.suite import SuiteConfig

# What a run trains with, and benchmarks do without.
TRAINED = ("lora", "freeze", "value_head", "gradient_checkpointing")


class _Parts(Settings):
    policy: AnyPolicy
    engine: AnyEngine = Field(HFSettings())


def read_suite(raw: Mapping[str, Any], overrides: Sequence[str] = ()) -> SuiteConfig:
    """The settings of an evaluation, checked. Raises ConfigError in one line."""
    return validate(SuiteConfig, apply_overrides(raw, overrides))


def measure_suite(
    raw: Mapping[str, Any], overrides: Sequence[str] = (), say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Asks a checkpoint benchmarks and writes what they come to; see `mmrl.evaluate`.

    Nothing is written before files, checkpoint and output folder have proved usable.

    Raises:
        UserError: anything that the user can cure, in one line.
    """
    config = read_suite(raw, overrides)
    tasks = open_tasks(config)
    parts, chunk = open_parts(config)
    policy = load_policy(parts.policy)
    for task in tasks:
        if isinstance(task.benchmark, Played):
            check_gripper(params_of(policy), checked_simulators(task.benchmark.simulators))
    model = described_model(config.model, parts.policy, parts.engine)
    with closing(open_engine(parts.engine, policy)) as engine:
        results = run_tasks(tasks, config, policy, engine, parts.engine.name, model, chunk, say)
    say(f"written: {write_page(Path(config.output), {task.name: task.rows for task in tasks})}")
    if config.log_samples:
        for task in tasks:
            for write in (write_lmms_eval, write_vlmevalkit):
                say(f"written: {write(Path(config.output), task, model_name(config.model))}")
    return results


def open_parts(config: SuiteConfig) -> tuple[_Parts, int]:
    """(settings of policy and engine, actions per decision): those of the run that the model is of, and the user's."""
    name = config.engine.get("name")
    served = engine_model(name).serves if isinstance(name, str) else None
    recorded = run_of(config.model) if served is None else None
    policy = {key: value for key, value in (recorded or {}).get("policy", {}).items() if key not in TRAINED}
    policy = merge(policy, config.policy)
    policy["path"] = config.model
    policy.setdefault("type", served or policy_type(config.model))
    parts = validate(_Parts, with_engine({"policy": policy, "engine": config.engine}))
    check_engine(parts.engine, parts.policy.type)
    parts.engine.check_installed()
    stages = (recorded or {}).get("stages") or [{}]
    chunk = config.action_chunk or stages[-1].get("rollout", {}).get("action_chunk") or 1
    return parts, chunk


def run_of(model: str) -> dict[str, Any] | None:
    """The resolved recipe of the run that a path is, or lies in; None for any other checkpoint."""
    path = Path(model).expanduser()
    folders = [path, *list(path.resolve().parents)[:3]] if path.is_dir() else []
    run = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    is_run = run is not None and (run / "checkpoints").is_dir()
    return read_yaml(run / "config.yaml") if run is not None and is_run else None


def policy_type(model: str) -> str:
    """The `policy.type` that reads a checkpoint.

    Raises:
        ConfigError: none does.
    """
    config = config_file(local_folder(model, "qwen_vl"))
    # A layout that is not transformers' own has no model_type.
    family = json.loads(config.read_text()).get("model_type") or read_config(model, "qwen_vl").model_type
    able = policies_of(family)
    if not able:
        raise ConfigError(f"model '{model}' is a checkpoint of {family}, which no policy.type reads")
    # The first answers in text or acts as published; others of its table need to be asked for by policy.type.
    return able[0]


def described_model(model: str, policy: PolicyConfig, engine: EngineSettings) -> dict[str, Any]:
    """What results say of a checkpoint: its name, and the digest of its weights; of a served model, where it is."""
    if not entry_of(policy.type).trains:
        return {"name": model, "server": masked(getattr(engine, "url", engine.name))}
    return {"name": model_name(model), "digest": model_digest(local_folder(policy.path, policy.type))}


def model_name(model: str) -> str:
    """The last two parts of its path, joined as lmms-eval joins them."""
    parts = [part for part in Path(model).expanduser().parts if part not in ("/", "..", ".")]
    return "__".join(parts[-2:])


def model_digest(folder: Path) -> str:
    """16 hexadecimal digits of a checkpoint's weights and its config, and under LoRA of those of its base.

    Raises:
        CheckpointError: there are none.
    """
    files = [*sorted(folder.glob("*.safetensors")), config_file(folder)]
    if len(files) == 1:
        raise CheckpointError(f"model '{folder}' holds no .safetensors")
    digest = hashlib.sha256()
    if (below := base_of(folder, "qwen_vl")) is not None:
        digest.update(model_digest(below).encode())
    for path in files:
        digest.update(path.name.encode() + bytes.fromhex(digest_of_file(path)))
    return digest.hexdigest()[:16]

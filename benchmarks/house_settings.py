"""Keys of a recipe that it accepts and that nothing reads: each family's, engine's, source's and simulator's.

    python -m benchmarks.house_settings

Tiny policies of every family are trained for a step, in each source of experience, while every read of a settings
model is noted. A key that no run reads has no effect, whatever it is set to, unless the recipe refuses it. Simulators,
which need not be installed, are read as text: an option has an effect where the simulator's code takes it.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image

import mmrl
import robotics
from mmrl.contracts.engine import Request
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.source import Terms
from mmrl.contracts.types import Sample
from mmrl.contracts.world import ALONE
from mmrl.engines.endpoint import EndpointEngine
from mmrl.engines.vllm import core
from mmrl.engines.vllm.engine import VLLMEngine
from mmrl.policies.opening import load_policy
from mmrl.policies.tiny import write_tiny
from mmrl.recipe.base import Settings
from mmrl.recipe.choosing import models_in
from mmrl.recipe.endpoint_engine import EndpointEngineSettings
from mmrl.recipe.engines import ENGINES
from mmrl.recipe.evaluation import READ_BY as EVALUATED_BY
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.policies.registry import POLICIES, entry_of, policy_settings, settings_model
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.rollout import READ_BY, GreedyConfig, RolloutConfig, SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.vllm_engine import VLLMSettings
from robotics.settings import SETTINGS, SimulatorSettings
from vision_rewards.chat import ChatClient

RECIPE = Path(mmrl.__file__).parent / "recipe"
# A check of a value, or handing it on to other settings, gives it no effect.
NO_EFFECT = tuple(str(RECIPE / part) for part in ("checks", "policies", "record.py", "reading.py", "rollout.py"))
# (model, field)
Key = tuple[type, str]

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 2, "reward": "dense"}
STARTS = {"type": "episodes", "simulator": "table", "size": 8}
HELD_OUT = {**STARTS, "first": 1000, "size": 1}
DIGITS = {"type": "digits", "tasks": ["classification"], "size": 8}
# What a recipe of each kind of data holds; `actions` are read by nothing that runs here.
DATA: dict[str, dict[str, Any]] = {
    "answers": {"train": [DIGITS], "eval": [{**DIGITS, "split": "test", "size": 1}]},
    "episodes": {"train": [STARTS], "eval": [HELD_OUT]},
    "actions": {"train": [{"type": "libero_hdf5", "path": "x", "chunk": 1}], "eval": [HELD_OUT]},
}
ROLLOUTS: dict[str, dict[str, Any]] = {
    "answers": {"n": 2, "max_new_tokens": 4, "context": {"name": "instruction", "text": "Be brief."}},
    "episodes": {"n": 2, "action_chunk": 2},
}
# Samples, for the likeliest token is taken whatever else is kept; flow policies know temperatures 0 and 1 alone.
EVALUATION = {"sampling": {"temperature": 1.0}}
EVALUATIONS: dict[str, dict[str, Any]] = {"episodes": {"videos": 1}}
LORA = {"lora": {"rank": 2}}
CRITIC = {"value_head": {"width": 8}}
# Values that no key has by default.
OTHER: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "min_p": 0.5,
    "max_new_tokens": 7,
    "stop": ["x"],
    "n": 3,
    "context": {"name": "instruction", "text": "x"},
    "pool": {"size": 99},
    "action_chunk": 3,
    "pipeline": 2,
    "sparse_to_dense": {},
    "loss": True,
    "videos": 1,
}


def unread_keys() -> list[str]:
    """Every key that is accepted and that nothing reads, as `<place>.<key>`; empty where all is well."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: reads_of(raw) for name, raw in _recipes(Path(folder)).items()}
        runs["vllm engine"] = reads_of_vllm(Path(folder) / "qwen2_5_vl")
        runs["endpoint engine"] = reads_of_endpoint()
    every: set[Key] = set().union(*runs.values())
    found = [key for name in POLICIES for key in unread_of_policy(name, _of(runs, name))]
    found += [f"engine[{name}].{key}" for name in ENGINES for key in _unread(ENGINES.get(name), every, {"name"})]
    found += unread_of_sources(_of(runs, "answers"), _of(runs, "episodes"))
    found += [f"simulators[{name}].{key}" for name in SETTINGS for key in unread_of_simulator(name, SETTINGS[name])]
    return [*found, *accepted_of_policies(), *accepted_of_sources()]


def _of(runs: Mapping[str, set[Key]], word: str) -> set[Key]:
    """What the runs with a word in their names read."""
    return {key for name, noted in runs.items() if word in name.split() for key in noted}


# --- runs


def _recipes(folder: Path) -> dict[str, dict[str, Any]]:
    """Runs by the policy and the words that say what they are: each family in what it learns from, with all parts."""
    video = {
        "type": "video_digits",
        "tasks": ["classification"],
        "slots": 2,
        "size": 4,
        "folder": str(folder / "clips"),
    }
    dense = {"sparse_to_dense": {"frames": [2, 4], "samples": 2}}
    clips = {"train": [video], "eval": [{**video, "split": "test", "size": 1}]}
    recipes: dict[str, dict[str, Any]] = {
        "qwen_vl answers": {"method": "ppo", "policy": {**LORA, **CRITIC}},
        "qwen_vl episodes": {"method": "grpo", "policy": {"action_bins": 5, "freeze": ["vision"]}},
        "qwen_vl video": {"method": "sft", "data": clips, "rollout": {}, "evaluation": dense},
        "smolvlm answers": {"method": "ppo", "policy": {**LORA, **CRITIC}},
        "frame_selector video": {"method": "grpo", "data": clips, "rollout": {"n": 2, "max_new_tokens": 4}},
        "openvla episodes": {"method": "ppo", "policy": {**LORA, **CRITIC}},
        "openvla_oft episodes": {"method": "ppo", "policy": {**LORA, **CRITIC}},
    }
    for name in ("pi0", "pi05"):
        for sampler, trained in (("sde", "one"), ("noise", "all")):
            policy = {**LORA, **CRITIC, "params": {"sampler": sampler, "trained": trained}}
            recipes[f"{name} episodes {sampler}"] = {"method": f"pi_rl_{sampler}", "policy": policy}
    missing = {name for name in POLICIES.entries if entry_of(name).trains} - {name.split()[0] for name in recipes}
    if missing:
        raise ValueError(f"no run reads the settings of {', '.join(sorted(missing))}; add one")
    return {name: _whole(name, raw, folder) for name, raw in recipes.items()}


def _whole(name: str, raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind, word = name.split()[:2]
    checkpoint = folder / entry_of(kind).tiny[0]
    if not checkpoint.is_dir():
        write_tiny(entry_of(kind).tiny[0], checkpoint)
    return {
        "name": name,
        "output": str(folder / "runs"),
        "threads": 1,
        **{"steps": 1, "prompts": 1, "demonstrations": 1, "checkpoint": {"best": None}},
        "tracking": {"console": "none", "tensorboard": False},
        "data": DATA.get(word),
        "rollout": ROLLOUTS.get(word, {}),
        "simulators": {"table": TABLE} if word == "episodes" else {},
        "evaluation": {**EVALUATION, **EVALUATIONS.get(word, {})},
        **raw,
        "policy": {"type": kind, "path": str(checkpoint), "device": "cpu", **raw.get("policy", {})},
    }


def reads_of(raw: Mapping[str, Any]) -> set[Key]:
    """What training by a recipe reads."""
    with _noting() as noted:
        mmrl.train({**raw})
    return noted


def reads_of_vllm(model: Path) -> set[Key]:
    """What opening and proving engine `vllm` reads; vLLM itself, which need not be installed, is stood in for."""
    policy = load_policy(policy_settings(type="qwen_vl", path=str(model), device="cpu"))
    with (
        patch.object(VLLMSettings, "check_installed"),
        patch.object(core, "_opened"),
        patch.object(VLLMEngine, "gaps", return_value={}),
        _noting() as noted,
    ):
        engine = VLLMEngine(VLLMSettings())
        engine.start(policy, ALONE)
        core._arguments(engine.settings, model, "float32", engine.core.limit, torch.device("cuda"))
        engine.close()
    return noted


def reads_of_endpoint() -> set[Key]:
    """What asking a server reads; the server is stood in for."""
    reply = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": []}}]}
    picture = Image.new("RGB", (56, 56))
    parts = [{"type": "image"}, {"type": "video"}]
    told = {"params": {"coordinates": "norm1000"}, "video": {"all_frames": False}}
    sample = Sample("s", ({"role": "user", "content": parts},), "", {"boxes": []}, (picture,), ([picture, picture],))
    with (
        patch.object(ChatClient, "get", return_value={"data": [{"id": "x"}]}),
        patch.object(ChatClient, "post", return_value=reply),
        _noting() as noted,
    ):
        policy = load_policy(policy_settings(type="endpoint", path="x", **told))
        engine = EndpointEngine(EndpointEngineSettings(url="http://localhost"))
        engine.start(policy, ALONE)
        (prompt,) = policy.prepare([sample])
        policy.localise(sample, prompt)
        engine.generate([Request(prompt)], SamplingConfig(), 0)
        engine.close()
    return noted


@contextmanager
def _noting() -> Iterator[set[Key]]:
    """Inside, every field of settings, and of a source's terms, that is read to some effect is noted."""
    noted: set[Key] = set()

    def note(read: Any, name: str) -> Any:
        model = type(read)
        if (model, name) not in noted and name in fields(model) and _has_effect():
            noted.add((model, name))
        return object.__getattribute__(read, name)

    def fields(model: type) -> Iterable[str]:
        return Terms.__slots__ if model is Terms else model.__pydantic_fields__

    owners: tuple[type, ...] = (Settings, Terms)
    for owner in owners:
        owner.__getattribute__ = note
    try:
        yield noted
    finally:
        for owner in owners:
            del owner.__getattribute__


def _has_effect() -> bool:
    """Whether the read two frames up is by neither a check, nor pydantic, nor the record."""
    frame = sys._getframe(2)
    if frame.f_code.co_filename.startswith(NO_EFFECT):
        return False
    at: Any = frame
    while at is not None:
        # `with_params` copies every one of a policy's params for the record.
        if "/pydantic/" in at.f_code.co_filename or at.f_code.co_name == "with_params":
            return False
        at = at.f_back
    return True


# --- what nothing reads


def unread_of_policy(name: str, noted: set[Key]) -> list[str]:
    """The keys of a family's settings that are not among what its runs read."""
    # A family may hand its settings on to those of another, as the frame selector does to its reader's.
    shared = {(PolicyConfig if issubclass(model, PolicyConfig) else model, key) for model, key in noted}
    return [f"policy[{name}].{key}" for key in _unread(settings_model(name), shared, {"type"})]


def _unread(model: type[Settings], noted: set[Key], choosing: Iterable[str] = (), path: str = "") -> list[str]:
    """The keys of a model, and of the models inside of it, that are not noted; `choosing` are those that choose it."""
    owner: type = PolicyConfig if issubclass(model, PolicyConfig) else model
    unread = []
    for key, field in model.model_fields.items():
        if key not in choosing and (owner, key) not in noted:
            unread.append(path + key)
        for inner in models_in(field.annotation):
            unread += _unread(inner, noted, path=f"{path}{key}.")
    return unread


def unread_of_sources(answers: set[Key], episodes: set[Key]) -> list[str]:
    """The keys of `rollout` and `evaluation` that a source says it reads, and does not."""
    noted = {"answers": answers, "episodes": episodes}
    terms = {"n": "n", "action_chunk": "chunk"}
    found = []
    for kind, run in noted.items():
        for key in READ_BY[kind].model_fields:
            by_terms = key not in terms or (Terms, terms[key]) in run
            if not by_terms or not {(RolloutConfig, key), (SamplingConfig, key)} & run:
                found.append(f"rollout[{kind}].{key}")
        for key in set(SamplingConfig.model_fields) & set(READ_BY[kind].model_fields):
            if not {(GreedyConfig, key), (SamplingConfig, key)} & run:
                found.append(f"evaluation.sampling[{kind}].{key}")
        everywhere = answers | episodes
        found += [
            f"evaluation[{kind}].{key}"
            for key in EVALUATED_BY[kind].model_fields
            if (EvalConfig, key) not in (everywhere if key == "sparse_to_dense" else run)
        ]
    return found


def unread_of_simulator(name: str, settings: SimulatorSettings) -> list[str]:
    """The options that no file of a simulator takes out of its options."""
    folder = Path(robotics.__file__).parent
    taken: set[str] = set()
    for path in folder.glob(f"{name}*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("options"):
                taken |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
    return [option for option in settings.options if option not in taken]


# --- what is accepted although nothing reads it


def accepted_of_policies() -> list[str]:
    """The keys of other families that a family does not refuse."""
    every = {key for name in POLICIES for key in settings_model(name).model_fields}
    return [
        f"policy[{name}].{key}"
        for name in POLICIES
        for key in sorted(every - set(settings_model(name).model_fields))
        if _accepts(key, {"policy": {"type": name, "path": "x", key: 1}}, "answers")
    ]


def accepted_of_sources() -> list[str]:
    """The keys of `rollout` and `evaluation` that no data of a recipe reads, and that it does not refuse."""
    found = []
    for kind in DATA:
        read = set(READ_BY[kind].model_fields) | set(
            READ_BY["held-out episodes"].model_fields if kind != "answers" else ()
        )
        tested = "answers" if kind == "answers" else "episodes"
        for key in set(RolloutConfig.model_fields) - read:
            found += [f"rollout[{kind}].{key}"] if _accepts(key, {"rollout": {key: OTHER[key]}}, kind) else []
        for key in set(SamplingConfig.model_fields) - set(READ_BY[tested].model_fields):
            changed = {"evaluation": {"sampling": {"temperature": 0.5, key: OTHER[key]}}}
            found += [f"evaluation.sampling[{kind}].{key}"] if _accepts(key, changed, kind) else []
        for other in {"answers", "episodes"} - {tested}:
            for key in EVALUATED_BY[other].model_fields:
                found += [f"evaluation[{kind}].{key}"] if _accepts(key, {"evaluation": {key: OTHER[key]}}, kind) else []
    for key in ("top_p", "top_k", "min_p"):
        greedy = {"evaluation": {"sampling": {"temperature": 0.0, key: OTHER[key]}}}
        found += [f"evaluation.sampling[greedy].{key}"] if _accepts(key, greedy, "answers") else []
    # Recorded actions are those of a chunk, so that another length of it is refused.
    try:
        load_recipe({**_base("actions"), "rollout": {"action_chunk": 3}})
    except ConfigError:
        return found
    return [*found, "rollout[actions].action_chunk"]


def _accepts(key: str, changed: Mapping[str, Any], kind: str) -> bool:
    """Whether a recipe for data of a kind is read with the changes, or refused without a word on the key."""
    load_recipe(_base(kind))
    try:
        load_recipe({**_base(kind), **changed})
    except ConfigError as error:
        return f".{key}: " not in str(error)
    return True


def _base(kind: str) -> dict[str, Any]:
    return {
        "name": "x",
        "policy": {"path": "x", "action_bins": 5},
        "simulators": {} if kind == "answers" else {"table": TABLE},
        "data": DATA[kind],
        "method": "sft",
        "steps": 1,
    }


if __name__ == "__main__":
    print(json.dumps(unread_keys(), indent=1))

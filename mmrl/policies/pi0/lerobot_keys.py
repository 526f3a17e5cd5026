"""What lerobot's config.json and processor files of π0 and π0.5 may say: everything in them is read here, or refused.

As of lerobot 0.6 (`configuration_pi0.py`, `configuration_pi05.py`, `processor_pi0.py`, `processor_pi05.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import CheckpointError, ConfigError, nearest, unknown

# Read elsewhere: sizes, times of training, normalisation and relative actions.
READ = (
    "type", "paligemma_variant", "action_expert_variant", "chunk_size", "max_state_dim", "max_action_dim",
    "num_inference_steps", "min_period", "max_period", "time_sampling_beta_alpha", "time_sampling_beta_beta",
    "time_sampling_scale", "time_sampling_offset", "image_resolution", "normalization_mapping", "use_relative_actions",
    "relative_exclude_joints", "action_feature_names",
)  # fmt: skip
# Nothing that the network computes follows from these: how lerobot trained, ran and uploaded it, how many actions it
# executed (rollout.action_chunk here), names of features (the recipe's here), masked cameras that no token attends to.
WITHOUT_EFFECT = (
    "dtype", "device", "use_amp", "gradient_checkpointing", "compile_model", "compile_mode", "freeze_vision_encoder",
    "train_expert_only", "optimizer_lr", "optimizer_betas", "optimizer_eps", "optimizer_weight_decay",
    "optimizer_grad_clip_norm", "scheduler_warmup_steps", "scheduler_decay_steps", "scheduler_decay_lr", "push_to_hub",
    "repo_id", "private", "tags", "license", "pretrained_path", "pretrained_revision", "n_action_steps",
    "input_features", "output_features", "empty_cameras", "tokenizer_max_length", "memory_frames", "memory_stride",
    "memory_temporal_attention_every",
)  # fmt: skip
# Known at one value only: with another the network would be asked something else than it was trained on.
FIXED: dict[str, tuple[Any, ...]] = {
    "n_obs_steps": (1,),
    "use_peft": (False,),
    "rtc_config": (None,),
    "rtc_training_max_delay": (0,),
    "use_visual_memory": (False,),
    "use_proprioceptive_memory": (False,),
    "adapt_to_pi_aloha": (False,),
    "use_delta_joint_actions_aloha": (False,),
}
NORMALISING = ("normalizer_processor", "unnormalizer_processor")
RELATIVE, ABSOLUTE = "relative_actions_processor", "absolute_actions_processor"
STATE_STEP = "pi05_prepare_state_tokenizer_processor_step"
# Registry name -> keys of its config that may have any value, and those that may have some.
STEPS: dict[str, tuple[tuple[str, ...], dict[str, tuple[Any, ...]]]] = {
    # Names of cameras are the recipe's here.
    "rename_observations_processor": (("rename_map",), {}),
    "to_batch_processor": ((), {}),
    "device_processor": (("device", "float_dtype"), {}),
    "pi0_new_line_processor": ((), {}),
    "smolvla_new_line_processor": ((), {}),
    "tokenizer_processor": (
        ("tokenizer_name", "max_length", "padding", "truncation"), {"padding_side": ("right",), "task_key": ("task",)}
    ),
    STATE_STEP: (("max_state_dim",), {"task_key": ("task",), "include_state_in_prompt": (True,)}),
    RELATIVE: (("enabled", "exclude_joints", "action_names"), {}),
    ABSOLUTE: (("enabled",), {}),
    **dict.fromkeys(NORMALISING, (("features", "norm_map", "device", "dtype"), {"eps": (1e-8,)})),
}  # fmt: skip
FILES = ("policy_preprocessor.json", "policy_postprocessor.json")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a processor file: its registry name, its config, and the file that names it."""

    name: str
    config: Mapping[str, Any]
    place: str


def check_config(raw: Mapping[str, Any], shown: str) -> None:
    """Raises CheckpointError on a key of config.json that is not known, or has a value that is not.

    Args:
        shown: what the recipe calls the checkpoint.
    """
    known = (*READ, *WITHOUT_EFFECT, *FIXED)
    for key, value in raw.items():
        where = f"policy.path: config.json of '{shown}' has {key}"
        if key not in known:
            raise CheckpointError(
                f"{where}: {value!r}, a key that is not known, so that what it changes would be left out."
                f"{nearest(key, known)}"
            )
        off = key == "rtc_config" and isinstance(value, Mapping) and not value.get("enabled", True)
        if key in FIXED and value not in FIXED[key] and not off:
            raise CheckpointError(f"{where}: {value!r}; only {FIXED[key][0]!r} is known")
    visual = raw.get("normalization_mapping", {}).get("VISUAL", "IDENTITY")
    if visual != "IDENTITY":
        raise CheckpointError(
            f"policy.path: config.json of '{shown}' normalises pictures by {visual}; only IDENTITY is known"
        )


def read_steps(files: Mapping[str, Mapping[str, Any]], mapping: Mapping[str, str], shown: str) -> list[Step]:
    """The steps of the processor files, each of which is known with all of its settings.

    Args:
        files: name -> content.
        mapping: how config.json normalises, by kind of feature.

    Raises:
        CheckpointError: a step or setting that is not known, or one that contradicts config.json.
    """
    steps = list(_steps(files))
    for step in steps:
        where = f"policy.path: {step.place} of '{shown}'"
        if step.name not in STEPS:
            raise CheckpointError(f"{where}: {unknown('processor step', step.name, STEPS)}")
        free, fixed = STEPS[step.name]
        for key, value in step.config.items():
            if key not in free and key not in fixed:
                raise CheckpointError(f"{where}: step {step.name}: {unknown('setting', key, (*free, *fixed))}")
            if key in fixed and value not in fixed[key]:
                raise CheckpointError(
                    f"{where}: step {step.name} has {key}: {value!r}; only {fixed[key][0]!r} is known"
                )
        for kind, mode in (step.config.get("norm_map") or {}).items():
            if kind in mapping and mapping[kind] != mode:
                raise CheckpointError(
                    f"{where}: step {step.name} normalises {kind} by {mode}, and config.json by {mapping[kind]}; "
                    "copy both from one checkpoint"
                )
    return steps


def _steps(files: Mapping[str, Mapping[str, Any]]) -> Iterator[Step]:
    for place, content in files.items():
        for step in content.get("steps", []):
            # A step that lerobot does not register is named by its class.
            yield Step(str(step.get("registry_name", step.get("class"))), step.get("config") or {}, place)


def relative_dims(raw: Mapping[str, Any], steps: Sequence[Step], size: int, shown: str) -> list[int] | None:
    """The action dimensions that are differences from the state, as lerobot takes them from it; None: none are.

    Args:
        raw: config.json.
        size: dimensions of the robot's actions.

    Raises:
        ConfigError: config.json and the steps disagree, so that it is not clear what the network predicts.
    """
    asked = bool(raw.get("use_relative_actions", False))
    enabled = [bool(step.config.get("enabled", False)) for step in steps if step.name in (RELATIVE, ABSOLUTE)]
    if any(on != asked for on in enabled) or (asked and not enabled):
        raise ConfigError(
            f"policy.path: config.json of '{shown}' has use_relative_actions {asked}, and its processors' steps are "
            f"{'not there' if not enabled else 'enabled' if any(enabled) else 'not enabled'}; say which holds by "
            "making them agree"
        )
    if not asked:
        return None
    [config, *_] = [step.config for step in steps if step.name == RELATIVE] or [{}]
    names = config.get("action_names") or raw.get("action_feature_names")
    excluded = [str(name).lower() for name in config.get("exclude_joints", raw.get("relative_exclude_joints")) or ()]
    # As lerobot does: without names of the dimensions nothing can be excluded.
    named = [str(name).lower() for name in (names or [])[:size]]
    return [dim for dim in range(size) if dim >= len(named) or not any(token in named[dim] for token in excluded)]


def processor_files(folder: Path, read: Any) -> dict[str, Mapping[str, Any]]:
    """Name -> content of the processor files that there are.

    Args:
        read: what reads JSON of a checkpoint.
    """
    return {name: read(folder / name) for name in FILES if (folder / name).is_file()}

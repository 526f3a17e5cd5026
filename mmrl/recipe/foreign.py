"""What keys of other suites' recipes are called here (TRL, verl, EasyR1, ms-swift, LLaMA-Factory, peft)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

# Above it a key is a misspelling of one of its own section, and not another suite's.
SPELLING = 0.85

# What is one key here -> what it is called elsewhere. In a section of that name `section.key` goes before `key`.
NAMES: dict[str, tuple[str, ...]] = {
    "optim.lr": ("learning_rate", "lr", "actor_learning_rate"),
    "optim.weight_decay": ("weight_decay",),
    "optim.warmup": ("warmup_steps", "warmup_ratio", "lr_warmup_steps", "lr_warmup_ratio", "num_warmup_steps"),
    "optim.schedule": ("lr_scheduler_type", "lr_scheduler", "warmup_style", "scheduler"),
    "optim.clip_norm": ("max_grad_norm", "grad_clip", "gradient_clip", "clip_grad"),
    "optim.betas": ("adam_beta1", "adam_beta2"),
    "optim.eps": ("adam_epsilon", "optim.epsilon"),
    "optim.lr_vision": ("vit_lr", "vision_lr", "vision_tower_lr", "mm_vision_tower_lr"),
    "optim.lr_value": ("critic_lr", "critic_learning_rate"),
    "steps": ("max_steps", "total_steps", "num_train_epochs", "num_epochs", "total_epochs", "total_training_steps"),
    "prompts": (
        *("batch_size", "train_batch_size", "per_device_train_batch_size", "rollout_batch_size", "global_batch_size"),
        "generation_batch_size",
    ),
    "micro_tokens": (
        *(
            "gradient_accumulation_steps",
            "micro_batch_size",
            "ppo_micro_batch_size_per_gpu",
            "ppo_max_token_len_per_gpu",
        ),
        *("micro_batch_size_per_device_for_update", "ppo_micro_batch_size"),
    ),
    "minibatches": ("ppo_mini_batch_size", "mini_batch_size", "num_mini_batches", "steps_per_generation"),
    "epochs": ("num_iterations", "ppo_epochs", "num_ppo_epochs"),
    "rollout.n": ("num_generations", "group_size", "n", "n_samples_per_prompt", "num_samples_per_prompt"),
    "rollout.max_new_tokens": (
        *("max_completion_length", "max_response_length", "max_new_tokens", "max_tokens", "max_generate_length"),
        "response_length",
    ),
    "evaluation.sampling.max_new_tokens": ("evaluation.max_new_tokens", "evaluation.max_tokens"),
    "evaluation.sampling.temperature": ("evaluation.temperature",),
    "rollout.temperature": ("temperature", "sampling_temperature"),
    "rollout.top_p": ("top_p",),
    "rollout.top_k": ("top_k",),
    "rollout.stop": ("stop_words", "stop_sequences", "stop_strings"),
    "engine.name": ("use_vllm", "rollout.name", "inference_engine"),
    "engine.batch_size": ("eval_batch_size", "per_device_eval_batch_size", "generate_batch_size"),
    "policy.path": ("model", "model_path", "model_name_or_path", "model_id", "pretrained_model_name_or_path"),
    "policy.dtype": ("torch_dtype", "dtype", "bf16", "fp16", "precision"),
    "policy.attention": ("attn_implementation", "attn_impl", "flash_attn", "use_flash_attention"),
    "policy.max_prompt_tokens": ("max_prompt_length", "max_length", "max_seq_length", "cutoff_len", "max_seq_len"),
    "policy.gradient_checkpointing": ("gradient_checkpointing", "enable_gradient_checkpointing"),
    "policy.freeze": (
        "freeze_vision_tower",
        "freeze_vit",
        "freeze_multi_modal_projector",
        "freeze_llm",
        "freeze_aligner",
    ),
    "policy.lora": ("lora", "use_peft", "use_lora", "peft_config", "finetuning_type", "train_type", "peft"),
    "policy.lora.rank": ("lora_rank", "lora_r", "lora.r", "r"),
    "policy.lora.alpha": ("lora_alpha",),
    "policy.lora.dropout": ("lora_dropout",),
    "policy.lora.targets": ("target_modules", "lora_target", "lora_target_modules"),
    "policy.image.max_pixels": ("image_max_pixels", "max_pixels"),
    "policy.image.min_pixels": ("image_min_pixels", "min_pixels"),
    "policy.video.max_frames": ("nframes", "video_maxlen", "max_frames"),
    "policy.video.fps": ("video_fps",),
    "data.train": ("dataset", "datasets", "dataset_name", "train_files", "train_dataset", "dataset_path"),
    "data.eval": ("val_dataset", "eval_dataset", "val_files", "test_files", "eval_data"),
    "data.seed": ("data_seed",),
    "method": ("advantage_estimator", "adv_estimator", "rlhf_type", "algorithm"),
    "objective.kl.weight": (
        *("beta", "kl_coef", "kl_loss_coef", "init_kl_coef", "kl_penalty_coef", "kl.coef"),
        "kl_beta",
    ),
    "objective.kl.kind": ("kl_penalty", "kl_loss_type", "kl_estimator"),
    "objective.entropy": ("entropy_coeff", "entropy_coef", "ent_coef"),
    "objective.streams.rl.coefficient.low": ("epsilon", "epsilon_low", "clip_ratio", "clip_ratio_low", "cliprange"),
    "objective.streams.rl.coefficient.high": ("epsilon_high", "clip_ratio_high", "clip_high"),
    "objective.streams.rl.coefficient.dual": ("clip_ratio_dual", "clip_ratio_c", "delta"),
    "objective.streams.rl.normalise": ("loss_type", "loss_agg_mode", "loss_avg_mode"),
    "objective.advantage.scale": ("scale_rewards", "norm_adv_by_std_in_grpo"),
    "objective.mask_truncated": ("mask_truncated_completions", "overlong_filter"),
    "rewards": ("reward", "reward_funcs", "reward_function", "reward_model", "custom_reward_function"),
    "evaluation.every": ("eval_steps", "val_freq", "test_freq", "eval_interval"),
    "checkpoint.every": ("save_steps", "save_freq", "save_interval"),
    "checkpoint.keep": ("save_total_limit", "save_limit", "max_ckpt_to_keep"),
    "tracking.sinks": ("report_to", "logger", "loggers"),
    "tracking.project": ("project_name", "wandb_project"),
    "name": ("run_name", "experiment_name", "exp_name"),
    "output": ("output_dir", "save_checkpoint_path", "default_local_dir", "save_dir"),
    "resume": ("resume_from_checkpoint", "load_checkpoint_path", "resume_mode"),
}
HERE = {name: ours for ours, names in NAMES.items() for name in names}


def hint(key: str, known: Sequence[str]) -> str:
    """` It is optim.lr here.` for another suite's key; empty where its own section has nearly that word.

    Args:
        key: the whole key, as it stands in the recipe.
        known: the keys of its section.
    """
    parts = [part for part in key.split(".") if not part.isdigit()]
    ours = HERE.get(".".join(parts[-2:])) or HERE.get(parts[-1])
    spelled = max((SequenceMatcher(None, parts[-1], name).ratio() for name in known), default=0.0)
    if ours is None or spelled >= SPELLING or ours == ".".join(parts):
        return ""
    return f" It is {ours} here."

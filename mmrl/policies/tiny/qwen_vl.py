"""Small random Qwen-VL checkpoints in the hub's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.policies.tiny.saving import check_vocab, prepare_libraries, save_random, train_bpe

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SIZE: dict[str, int] = {
    "hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "mlp": 128,
    "vision_hidden": 64, "vision_layers": 2, "vision_heads": 2, "vision_mlp": 128, "patch": 14, "vocab": 600,
}  # fmt: skip
SIZES = {
    "qwen2_vl": SIZE,
    "qwen2_5_vl": SIZE,
    "qwen3_vl": {**SIZE, "patch": 16},
    "qwen3_vl_moe": {**SIZE, "patch": 16},
}


def write(family: str, folder: Path, seed: int, size: Mapping[str, Any]) -> Path:
    """Writes a checkpoint.

    Args:
        family: one of `SIZES`.
        size: overrides of its sizes.
    """
    prepare_libraries()
    sizes = {**SIZES[family], **size}
    tokenizer = train_tokenizer(sizes["vocab"])
    config, processor = FAMILIES[family](sizes, tokenizer), _processor(family, tokenizer, sizes)
    eos_ids = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id]
    return save_random(folder, seed, config, processor, eos_ids, tokenizer.pad_token_id)


def train_tokenizer(vocab: int) -> Any:
    """Qwen's tokenizer class with a byte-level BPE trained on the built-in corpus; digits stay single tokens.

    Raises UserError for a vocabulary that is smaller than the alphabet.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX, Qwen2Tokenizer

    check_vocab(vocab, SPECIAL_TOKENS)
    pieces = [
        pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    words = pre_tokenizers.Sequence(pieces)
    # The special tokens are added to Qwen's class below, behind the trained entries.
    tokenizer = train_bpe(words, vocab - len(SPECIAL_TOKENS), normalizer=normalizers.NFC())
    state = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    qwen = Qwen2Tokenizer(vocab=state["vocab"], merges=merges, extra_special_tokens=[])
    qwen.add_special_tokens({"additional_special_tokens": [t for t in SPECIAL_TOKENS if t != "<|endoftext|>"]})
    qwen.chat_template = CHAT_TEMPLATE
    qwen.model_max_length = 32768
    return qwen


def _text(sizes: Mapping[str, int], tokenizer: Any, **extra: Any) -> dict[str, Any]:
    pairs = sizes["head_dim"] // 2
    sections = [pairs - 2 * (3 * pairs // 8), 3 * pairs // 8, 3 * pairs // 8]
    return {
        "vocab_size": -(-len(tokenizer) // 8) * 8,
        "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"],
        "head_dim": sizes["head_dim"],
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 10000.0, **extra},
        "initializer_range": sizes["hidden"] ** -0.5,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.pad_token_id,
    }


def _special_ids(tokenizer: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {key: tokenizer.convert_tokens_to_ids(token) for key, token in names.items()}


def _qwen2_vl(sizes: Mapping[str, int], tokenizer: Any) -> Any:
    from transformers import Qwen2VLConfig

    vision = {
        "depth": sizes["vision_layers"], "embed_dim": sizes["vision_hidden"], "num_heads": sizes["vision_heads"],
        "mlp_ratio": sizes["vision_mlp"] // sizes["vision_hidden"], "hidden_size": sizes["hidden"],
        "patch_size": sizes["patch"], "initializer_range": sizes["vision_hidden"] ** -0.5,
    }  # fmt: skip
    ids = _special_ids(tokenizer)
    return Qwen2VLConfig(text_config=_text(sizes, tokenizer), vision_config=vision, tie_word_embeddings=True, **ids)


def _qwen2_5_vl(sizes: Mapping[str, int], tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    vision = {
        "depth": sizes["vision_layers"], "hidden_size": sizes["vision_hidden"], "num_heads": sizes["vision_heads"],
        "intermediate_size": sizes["vision_mlp"], "out_hidden_size": sizes["hidden"], "patch_size": sizes["patch"],
        "window_size": 8 * sizes["patch"], "fullatt_block_indexes": [sizes["vision_layers"] - 1],
        "initializer_range": sizes["vision_hidden"] ** -0.5,
    }  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=_text(sizes, tokenizer), vision_config=vision, tie_word_embeddings=True, **_special_ids(tokenizer)
    )


def _qwen3_vision(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "depth": sizes["vision_layers"], "hidden_size": sizes["vision_hidden"], "num_heads": sizes["vision_heads"],
        "intermediate_size": sizes["vision_mlp"], "out_hidden_size": sizes["hidden"], "patch_size": sizes["patch"],
        "num_position_embeddings": 256, "deepstack_visual_indexes": [0],
        "initializer_range": sizes["vision_hidden"] ** -0.5,
    }  # fmt: skip


def _qwen3_vl(sizes: Mapping[str, int], tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig

    text = _text(sizes, tokenizer, mrope_interleaved=True)
    return Qwen3VLConfig(
        text_config=text, vision_config=_qwen3_vision(sizes), tie_word_embeddings=True, **_special_ids(tokenizer)
    )


def _qwen3_vl_moe(sizes: Mapping[str, int], tokenizer: Any) -> Any:
    from transformers import Qwen3VLMoeConfig

    text = _text(sizes, tokenizer, mrope_interleaved=True)
    text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": sizes["mlp"] // 2}
    return Qwen3VLMoeConfig(
        text_config=text, vision_config=_qwen3_vision(sizes), tie_word_embeddings=True, **_special_ids(tokenizer)
    )


FAMILIES = {"qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl, "qwen3_vl_moe": _qwen3_vl_moe}


def _processor(family: str, tokenizer: Any, sizes: Mapping[str, int]) -> Any:
    import transformers
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    factor = sizes["patch"] * 2
    shared = {"patch_size": sizes["patch"], "merge_size": 2, "temporal_patch_size": 2}
    if family.startswith("qwen3"):
        shared |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    image = Qwen2VLImageProcessor(size={"shortest_edge": factor**2, "longest_edge": factor**2 * 1280}, **shared)
    kind = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL"}.get(family, "Qwen3VL")
    if kind == "Qwen3VL":
        video = transformers.Qwen3VLVideoProcessor(**shared)
    else:
        video = transformers.Qwen2VLVideoProcessor(**shared)
    return getattr(transformers, f"{kind}Processor")(
        image_processor=image, tokenizer=tokenizer, video_processor=video, chat_template=CHAT_TEMPLATE
    )

"""Small random SmolVLM checkpoints in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.policies.tiny.saving import check_vocab, prepare_libraries, save_random, train_bpe

SIZE: dict[str, Any] = {
    "hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "mlp": 128, "vocab": 600,
    "vision_hidden": 64, "vision_layers": 2, "vision_heads": 2, "vision_mlp": 128, "image": 56, "patch": 14, "scale": 2,
    "longest_edge": 112,
}  # fmt: skip
SIZES = {"smolvlm": SIZE, "idefics3": SIZE}

# Those of SmolVLM2; an image is cut into at most 6 x 6 tiles.
END = "<end_of_utterance>"
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", END, "<fake_token_around_image>", "<image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def write(family: str, folder: Path, seed: int, size: Mapping[str, Any]) -> Path:
    """Writes a checkpoint.

    Args:
        family: `smolvlm` (SmolVLM2) or `idefics3` (SmolVLM).
        size: overrides of `SIZES`; `image` is the side of a tile in pixels, a multiple of `patch` x `scale` (patches
            that one token stands for, along each side), and `longest_edge` the longer side of an image, a multiple of
            `image`.

    Raises:
        UserError: sizes that make no model.
    """
    prepare_libraries()
    from transformers import AutoConfig

    sizes = {**SIZES[family], **size}
    _check(family, sizes)
    tokenizer = train_tokenizer(sizes["vocab"])
    config = AutoConfig.for_model(family, **_config(sizes, tokenizer))
    processor = _processor(family, sizes, tokenizer)
    return save_random(folder, seed, config, processor, tokenizer.eos_token_id, tokenizer.pad_token_id)


def _check(family: str, sizes: Mapping[str, Any]) -> None:
    for name, divisor in (("image", sizes["patch"] * sizes["scale"]), ("longest_edge", sizes["image"])):
        if sizes[name] % divisor:
            raise UserError(f"{name} {sizes[name]} of {family} is no multiple of {divisor}; change one")
    if sizes["longest_edge"] > 6 * sizes["image"]:
        raise UserError(f"longest_edge {sizes['longest_edge']} of {family} is above 6 tiles of {sizes['image']}")


def train_tokenizer(vocab: int) -> Any:
    """A byte-level BPE as SmolLM2's, trained on the built-in corpus; digits stay single tokens.

    Raises UserError for a vocabulary that is smaller than the alphabet.
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    check_vocab(vocab, SPECIAL_TOKENS)
    words = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer = train_bpe(words, vocab, SPECIAL_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token=END,
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[4:]),
        model_max_length=8192,
    )


def _config(sizes: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    text = {
        "model_type": "llama", "vocab_size": -(-len(tokenizer) // 8) * 8, "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"], "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"], "head_dim": sizes["head_dim"], "max_position_embeddings": 8192,
        "initializer_range": sizes["hidden"] ** -0.5, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {
        "hidden_size": sizes["vision_hidden"], "intermediate_size": sizes["vision_mlp"],
        "num_hidden_layers": sizes["vision_layers"], "num_attention_heads": sizes["vision_heads"],
        "image_size": sizes["image"], "patch_size": sizes["patch"],
        "initializer_range": sizes["vision_hidden"] ** -0.5,
    }  # fmt: skip
    return {
        "text_config": text,
        "vision_config": vision,
        "scale_factor": sizes["scale"],
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _processor(family: str, sizes: Mapping[str, Any], tokenizer: Any) -> Any:
    import transformers

    tile = {"longest_edge": sizes["image"]}
    shared = {"max_image_size": tile, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    tokens = (sizes["image"] // sizes["patch"] // sizes["scale"]) ** 2
    size, settings = {"longest_edge": sizes["longest_edge"]}, {"image_seq_len": tokens, "chat_template": CHAT_TEMPLATE}
    if family == "idefics3":
        images = transformers.Idefics3ImageProcessor(size=size, **shared)
        return transformers.Idefics3Processor(images, tokenizer, **settings)
    images = transformers.SmolVLMImageProcessor(size=size, **shared)
    videos = transformers.SmolVLMVideoProcessor(size=tile, **shared)
    return transformers.SmolVLMProcessor(images, tokenizer, videos, **settings)

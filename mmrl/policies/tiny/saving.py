"""What small checkpoints of every vision-language family share: the tokenizer of the corpus, the seed, the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.policies.tiny import CORPUS


def prepare_libraries() -> None:
    """Makes transformers importable and quiet; called before anything else of it is imported."""
    from mmrl.policies.compat import ensure_torchvision

    ensure_torchvision()
    import transformers

    transformers.utils.logging.disable_progress_bar()


def check_vocab(vocab: int, special_tokens: Sequence[str]) -> None:
    """Raises UserError for a vocabulary that is smaller than the alphabet and the special tokens."""
    least = 256 + len(special_tokens)
    if vocab < least:
        raise UserError(f"vocab {vocab} is below {least}, the bytes and special tokens; set it to that or more")


def train_bpe(pre_tokenizer: Any, vocab: int, special_tokens: Sequence[str] = (), normalizer: Any = None) -> Any:
    """A byte-level BPE (`tokenizers.Tokenizer`) of `vocab` entries, trained on the built-in corpus.

    Args:
        special_tokens: entries that come first, counted in `vocab`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([line for line in CORPUS for _ in range(4)], trainer)
    return tokenizer


def save_random(folder: Path, seed: int, config: Any, processor: Any, eos_ids: int | list[int], pad_id: int) -> Path:
    """Writes float32 weights drawn by `seed`, and the processor.

    Args:
        config: transformers' config of an image-text-to-text model.
        eos_ids: tokens that end an answer.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    from mmrl.policies.compat import quiet_transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos_ids, pad_id
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder

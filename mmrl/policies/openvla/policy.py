"""The OpenVLA adapter: an observation and an instruction to action tokens, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, CheckpointError, ConfigError
from mmrl.contracts.types import Sample
from mmrl.policies import training
from mmrl.policies.loading import load_companion, local_folder, resolve_device
from mmrl.policies.observations import instruction_of, select_images
from mmrl.policies.openvla import checkpoint, processor
from mmrl.policies.openvla.action_tokens import ActionTokens
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.processor import ImageTransform, OpenVLAPrompt
from mmrl.policies.statistics import bounds, choose, read_statistics
from mmrl.policies.token_policy import TokenPolicy
from mmrl.policies.value_head import ValueHead, load_value_head, save_value_head
from mmrl.recipe.policies.openvla import AnyOpenVLA, OpenVLAParams
from mmrl.recipe.policies.registry import alternatives, policies_for
from mmrl.recipe.reading import validate


class OpenVLA(TokenPolicy):
    """OpenVLA (arXiv 2406.09246): a token per action dimension, decoded in order."""

    # Boxes are text, and this policy writes none.
    coordinates = "resized_pixel"
    own_files = (checkpoint.PROPRIO,)

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        images: ImageTransform,
        statistics: Mapping[str, Any],
        params: OpenVLAParams,
        config: AnyOpenVLA,
        companions: Mapping[str, bytes],
        value_head: ValueHead | None = None,
    ):
        super().__init__(model, config, value_head)
        self.tokenizer, self.images, self.params = tokenizer, images, params
        self.statistics: dict[str, Any] = dict(statistics)
        self._companions = dict(companions)
        self.eos_ids = (tokenizer.eos_token_id,)
        self._ids = lru_cache(maxsize=4096)(lambda text: processor.prompt_ids(text, tokenizer))
        self._tokens: ActionTokens | None = None
        last = self._model.config.token_count
        self._allowed = torch.zeros(self._model.config.text_config.vocab_size, dtype=torch.bool, device=self.device)
        self._allowed[last - self._model.config.n_action_bins : last] = True

    @classmethod
    def from_pretrained(cls, config: AnyOpenVLA) -> OpenVLA:
        """Loads a checkpoint folder or hub name.

        Raises:
            CheckpointError: nothing there, not an OpenVLA, or weights missing, unknown or of other shapes.
            ConfigError: settings that this policy does not have.
        """
        from transformers import AutoTokenizer

        asked_params, settings = config.params, type(config.params)
        beside = [checkpoint.PUBLISHED_PROPRIO, *checkpoint.OTHER_HEADS]
        folder, device = local_folder(config.path, config.type, beside), resolve_device(config.device)
        model_config = checkpoint.read_model_config(folder, config.path, config.type)
        saved = {k: v for k, v in (model_config.params or {}).items() if k in settings.model_fields}
        merged = {**saved, **asked_params.model_dump(exclude_unset=True)}
        params = validate(settings, merged, place="policy.params")
        cls.check_files(folder, model_config, params, config)
        cls.configure(model_config, params, config)
        model = checkpoint.load_model(folder, model_config, config, device)
        tokenizer = load_companion(AutoTokenizer, folder, config.path)
        _check_tokenizer(tokenizer, model_config, config.path)
        statistics = read_statistics(model_config.norm_stats, folder)
        images = ImageTransform.read(folder, params.center_crop)
        head = load_value_head(config.value_head, model_config.text_config.hidden_size, str(folder), device)
        companions = checkpoint.read_companions(folder)
        wrapped = training.prepare(model, config, model.vision_backbone.unread())
        return cls(wrapped, tokenizer, images, statistics, params, config, companions, head)

    @classmethod
    def check_files(cls, folder: Path, model_config: OpenVLAConfig, params: OpenVLAParams, config: AnyOpenVLA) -> None:
        """Raises CheckpointError where the folder's files belong to another kind of OpenVLA."""
        checkpoint.refuse_oft(folder, model_config, config.path)

    @classmethod
    def configure(cls, model_config: OpenVLAConfig, params: OpenVLAParams, config: AnyOpenVLA) -> None:
        """Writes the settings into the model's config, which keeps them with the checkpoint."""
        model_config.params = params.model_dump()

    @property
    def tokens(self) -> ActionTokens:
        """The map between actions and token ids. Raises ConfigError where statistics are missing or unclear."""
        if self._tokens is None:
            key = choose(self.statistics, self.params.statistics)
            model_config = self._model.config
            self._tokens = ActionTokens(
                model_config.token_count,
                model_config.n_action_bins,
                bounds(self.statistics, key, "action"),
                self.params.gripper,
                self.config.type,
            )
        return self._tokens

    def set_statistics(self, key: str, entry: Mapping[str, Any]) -> None:
        """Takes statistics computed from demonstrations; they are saved with the checkpoint.

        Args:
            key: the dataset's name.
            entry: {"action" | "proprio" -> {"q01", "q99", "mask", …}} as lists of a value per dimension.
        """
        bounds({key: entry}, key, "action")
        self.statistics[key] = dict(entry)
        self._tokens = None

    def take_cameras(self, names: Sequence[str]) -> None:
        """See `Seeing.take_cameras`."""
        self.params = self.params.model_copy(update={"cameras": list(names)})
        self._model.config.params = {**(self._model.config.params or {}), "cameras": list(names)}

    @property
    def images_seen(self) -> int | None:
        """Images of one observation; None for any number."""
        return 1

    def prepare(self, samples: Sequence[Sample]) -> list[OpenVLAPrompt]:
        """Tokens and pixels of each observation. Raises BadSample."""
        images_of = [select_images(sample, self.params.cameras, self.images_seen) for sample in samples]
        flat = [image for images in images_of for image in images]
        pixels = self.images.resize(flat).split([len(images) for images in images_of])
        return [self._prompt(sample, pixels_of) for sample, pixels_of in zip(samples, pixels)]

    def _prompt(self, sample: Sample, pixels_N3SS: Tensor) -> OpenVLAPrompt:
        state = self._state(sample)
        count = len(pixels_N3SS) * self._model.vision_backbone.patches + (state is not None)
        ids = processor.with_features(self._ids(instruction_of(sample)), count)
        limit = self.config.max_prompt_tokens
        if limit is not None and len(ids) > limit:
            raise BadSample(
                sample.where, f"the prompt has {len(ids)} tokens, above policy.max_prompt_tokens {limit}; raise it"
            )
        # A copy: a slice would keep the pixels of every sample prepared with this one.
        return OpenVLAPrompt(ids, pixels_N3SS.clone(), state)

    def _state(self, sample: Sample) -> Tensor | None:
        return None

    def localise(self, sample: Sample, prompt: OpenVLAPrompt) -> Sample:
        """The sample as it is: actions have no boxes."""
        return sample

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """Raises BadSample: this policy's demonstrations are episodes."""
        raise BadSample(sample.where, f"is a text demonstration, and policy.type '{self.config.type}' only acts")

    def decode_text(self, tokens: Tensor) -> str:
        """Text of token ids, special tokens left out."""
        return self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: the action ids. Raises ConfigError for anything else: this policy does not write text."""
        if restrict != "action":
            raise ConfigError(
                f"policy.type '{self.config.type}' acts in simulators and answers no text; use data of type episodes, "
                f"or policy.type {alternatives(policies_for('answers'))}"
            )
        return self._allowed

    def units_per_action(self, action_dim: int) -> int:
        """One token per dimension. Raises ConfigError where the statistics have another number of them."""
        self.tokens.check(action_dim)
        return action_dim

    def actions(self, units_BU: Tensor, action_dim: int) -> Tensor:
        """float32 [B, C, A] in the simulator's units, un-normalised."""
        self.tokens.check(action_dim)
        return self.tokens.decode(units_BU)

    def action_units(self, actions_BCA: Tensor) -> Tensor:
        """int64 [B, C * A]: ids of the bins that the simulator's actions fall in."""
        return self.tokens.encode(actions_BCA)

    def _positions(self, prompt: OpenVLAPrompt) -> Tensor:
        return torch.arange(prompt.length).expand(3, -1)

    def _features(self, prompts: Sequence[OpenVLAPrompt]) -> Tensor:
        """[B, K, H]: what stands behind each start token; a prompt that occurs twice is computed once."""
        place: dict[int, int] = {}
        distinct = []
        for prompt in prompts:
            if id(prompt) not in place:
                place[id(prompt)] = len(distinct)
                distinct.append(prompt)
        pixels = torch.stack([p.pixels for p in distinct]).to(self.device)
        channels = self.images.normalise(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        dtype = self._model.projector.fc1.weight.dtype
        state = None
        if distinct[0].state is not None:
            state = torch.stack([p.state for p in distinct]).to(self.device, dtype)
        features = self._model.features(channels.to(dtype), state)
        if len(distinct) == len(prompts):
            return features
        return features.index_select(0, torch.tensor([place[id(p)] for p in prompts], device=self.device))

    def _hidden(self, ids_BT, positions_3BT, mask, prompts, cache=None, **attention) -> Tensor:
        embeds = self._model.embed(ids_BT, self._features(prompts))
        return self._model(
            embeds,
            attention_mask=mask,
            position_ids=positions_3BT[0],
            past_key_values=cache,
            use_cache=cache is not None,
            **attention,
        )

    def _next_hidden(self, tokens_B, positions_3B1, cache) -> Tensor:
        embeds = self._model.get_input_embeddings()(tokens_B[:, None])
        return self._model(embeds, position_ids=positions_3B1[0], **cache.arguments())[:, -1]

    def _complete_config(self) -> None:
        self._model.config.norm_stats = dict(self.statistics)

    def _save_beside(self, folder: Path) -> None:
        checkpoint.save_beside(self._model, self.statistics, self._companions, folder)
        save_value_head(self.value_head, folder)


def _check_tokenizer(tokenizer: Any, model_config: OpenVLAConfig, shown: str) -> None:
    space = tokenizer.convert_tokens_to_ids("▁")
    if tokenizer.bos_token_id is None or space in (None, tokenizer.unk_token_id):
        raise CheckpointError(
            f"policy.path: the tokenizer of '{shown}' is not Llama's (no start token, or none for a lone space); "
            "copy its files again"
        )
    if model_config.n_action_bins > model_config.token_count:
        raise CheckpointError(
            f"policy.path: config.json of '{shown}' has n_action_bins {model_config.n_action_bins} and only "
            f"{model_config.token_count} tokens"
        )

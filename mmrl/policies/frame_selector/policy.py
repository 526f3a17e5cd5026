"""A policy that chooses what a frozen Qwen-VL is shown of a long video.

A small selector scores each moment of the video (the frames that the model merges into one temporal patch) from the
frozen vision tower's features and the question; some moments are drawn without replacement, the frozen model, the
reader, answers from them alone, and the answer's reward is that of the choice. The likelihood units are the moments in
the order in which they were drawn.

Source: TSPO (arXiv 2508.04369), whose released code scores frames from frozen CLIP features with a window of attention,
draws them by Gumbel top-k, lets the frozen model answer greedily, and trains the scores by group-relative advantages.
It takes each chosen frame's log-prob under one softmax over all frames and adds a reward for where the frames lie; here
the log-probs are those of drawing without replacement, and the reward is the recipe's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, CheckpointError, ConfigError
from mmrl.contracts.types import Likelihood, PolicyBatch, Sample
from mmrl.data.augmentation import selected
from mmrl.data.media_reader import MediaReader
from mmrl.policies.frame_selector import plackett_luce
from mmrl.policies.loading import checkpoint_path
from mmrl.policies.qwen_vl import prompt as qwen_prompt
from mmrl.policies.qwen_vl.policy import QwenVL
from mmrl.policies.qwen_vl.prompt import QwenPrompt
from mmrl.policies.referenced import Referenced
from mmrl.policies.training import Reference
from mmrl.recipe.policies.frame_selector import FrameSelectorParams, FrameSelectorSettings

if TYPE_CHECKING:
    from video import Frames

FILE = "frame_selector.safetensors"


class Selector(nn.Module):
    """Scores [N] of a video's moments from their features [N, H] and the question's [H].

    A moment is seen beside the video's mean, so that what is unlike the rest stands out. The last layer starts at 0:
    every choice is then equally likely.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.moment = nn.Linear(2 * size, width)
        self.question = nn.Linear(size, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, features_NH: Tensor, question_H: Tensor) -> Tensor:
        """float32 [N]."""
        seen_NH = self.norm(features_NH)
        moments_NW = self.moment(torch.cat([seen_NH, seen_NH - seen_NH.mean(0)], -1))
        return self.score(nn.functional.gelu(moments_NW + self.question(self.norm(question_H)))).squeeze(-1)


@dataclass(frozen=True, slots=True, eq=False)
class FramePrompt:
    """A video to choose from.

    Attributes:
        sample: the row, its boxes as the dataset gives them.
        candidates: the frames read; `moments` of them are shown.
        features_NH: float32, the frozen vision tower's mean over each moment.
        question_H: float32, the mean of the frozen embeddings of the question's tokens (without any: the end of turn).
        uniform: the reader's prompt with evenly spaced moments; every choice's has the same size.
    """

    sample: Sample
    candidates: Frames
    features_NH: Tensor
    question_H: Tensor
    uniform: QwenPrompt

    @property
    def length(self) -> int:
        """Tokens of the reader's prompt."""
        return self.uniform.length

    @property
    def frames(self) -> int:
        """Frames that the reader is shown."""
        return self.uniform.frames

    @property
    def input_ids(self) -> Tensor:
        """int64 [P] of the reader's prompt."""
        return self.uniform.input_ids


class _Given:
    """Stands for a MediaReader where the frames of a sample's one video are there already."""

    def __init__(self, frames: Frames, reader: MediaReader):
        self.frames, self.image, self.image_size = frames, reader.image, reader.image_size
        self.origins = reader.origins

    def read(self, sample: Sample) -> list[Frames]:
        return [self.frames]


class FrameSelector(Referenced):
    """The adapter. Only the selector trains; a checkpoint holds the reader, and the selector's file beside it."""

    eos_ids: tuple[int, ...] = ()

    def __init__(self, reader: QwenVL, config: FrameSelectorSettings, selector: Selector, params: FrameSelectorParams):
        self.reader, self.config, self.module, self.params = reader, config, selector, params
        self.device, self.coordinates, self.videos = reader.device, reader.coordinates, reader.videos
        self.module.config = reader.module.config
        self.towers = reader.towers
        self._merged = reader.processor.video_processor.temporal_patch_size
        self._model = selector
        self._reference = Reference(selector)

    @classmethod
    def from_pretrained(cls, config: FrameSelectorSettings) -> FrameSelector:
        """Loads the reader, a Qwen-VL, and its selector where the checkpoint has one.

        Raises:
            ConfigError: settings that it does not have.
            CheckpointError: no Qwen-VL there, or a selector of another shape.
        """
        params, reader = config.params, QwenVL.from_pretrained(config.reader())
        reader.module.requires_grad_(False).eval()
        selector = Selector(reader.module.config.get_text_config().hidden_size, params.width)
        path = Path(checkpoint_path(config.path, config.type)) / FILE
        if path.is_file():
            from safetensors.torch import load_file

            try:
                selector.load_state_dict(load_file(path))
            except RuntimeError:
                raise CheckpointError(
                    f"'{path}' does not fit policy.params.width {params.width}; restore what it was trained with"
                ) from None
        return cls(reader, config, selector.to(reader.device), params)

    def prepare(self, samples: Sequence[Sample]) -> list[FramePrompt]:
        """Candidate frames and their features. Raises BadSample, also where the row has not exactly one video."""
        return [self._prepare(sample) for sample in samples]

    @torch.no_grad()
    def _prepare(self, sample: Sample) -> FramePrompt:
        if len(sample.videos) != 1:
            raise BadSample(sample.where, f"has {len(sample.videos)} videos, and frame_selector chooses from one")
        (frames,) = self.videos.read(sample)
        moments = len(frames) // self._merged
        evenly = self._show(sample, frames, evenly_spaced(moments, min(moments, self.params.moments)))
        return FramePrompt(sample, frames, self._features(frames), self._question(sample), evenly)

    def _features(self, frames: Frames) -> Tensor:
        """float32 [N, H]. The tower does not attend across temporal patches: a moment's features are its own."""
        pixels = self.reader.processor.video_processor(
            videos=[frames.pixels], return_tensors="pt", **qwen_prompt.video_settings([frames], [0.0])
        )
        grid = pixels["video_grid_thw"].to(self.device)
        values = pixels["pixel_values_videos"].to(self.device)
        features = self.reader.module.get_video_features(values, grid).pooler_output[0]
        return features.float().unflatten(0, (int(grid[0, 0]), -1)).mean(1)

    def _question(self, sample: Sample) -> Tensor:
        """float32 [H]."""
        parts = [m["content"] for m in sample.messages if m["role"] == "user"]
        texts = [p if isinstance(p, str) else " ".join(x.get("text", "") for x in p) for p in parts]
        ids = self.reader.processor.tokenizer(" ".join(texts))["input_ids"] or [self.reader.end_of_turn]
        return self.reader.module.get_input_embeddings()(torch.tensor(ids, device=self.device)).float().mean(0)

    def show(self, prompt: FramePrompt, chosen: Sequence[int]) -> QwenPrompt:
        """The reader's prompt with these moments, in the order of time."""
        return self._show(prompt.sample, prompt.candidates, chosen)

    def _show(self, sample: Sample, frames: Frames, chosen: Sequence[int]) -> QwenPrompt:
        indices = [self._merged * moment + i for moment in sorted(chosen) for i in range(self._merged)]
        # Time positions that count seconds (Qwen2.5-VL) can only be evenly spaced: the moments follow each other at the
        # rate at which they were read, as TSPO's demo has it. Written times (Qwen3-VL) are the true ones.
        shown = selected(frames, torch.tensor(indices), frames.metadata.sampled_fps)
        return self.reader.prepare([sample], _Given(shown, self.videos))[0]

    def localise(self, sample: Sample, prompt: FramePrompt) -> Sample:
        """The sample with its boxes in the reader's coordinates; its demonstration, none of a choice, is left out."""
        return replace(self.reader.localise(sample, prompt.uniform), demonstration=None)

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """Raises ConfigError: no dataset says which frames to choose."""
        raise ConfigError("policy.type: frame_selector learns from rewards; choose a method without demonstrations")

    @property
    def opening(self) -> str:
        """As the reader's prompts."""
        return self.reader.opening

    def decode_text(self, tokens: Tensor) -> str:
        """The numbers of the moments; what is scored is the reader's answer, which the engine gives."""
        return " ".join(map(str, tokens.tolist()))

    def scores(self, prompts: Sequence[FramePrompt]) -> Tensor:
        """float32 [P, N]; -inf where a video has fewer than N moments."""
        rows = [self._model(prompt.features_NH, prompt.question_H) for prompt in prompts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-torch.inf)

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Log-probs (and entropies) of the moments, each given those drawn before it."""
        mask_RU, order_RU = batch.mask_RU.to(self.device), batch.tokens_RU.to(self.device)
        scores_RN = self.scores(batch.prompts)[batch.prompt_index_R.to(self.device)] / batch.temperature
        choices_RUN = plackett_luce.choices(scores_RN, order_RU)
        log_probs_RU = plackett_luce.order_log_probs(choices_RUN, order_RU)
        entropy_RU = None
        if entropy != "none":
            entropy_RU = plackett_luce.entropies(choices_RUN if entropy == "gradient" else choices_RUN.detach())
            entropy_RU = torch.where(mask_RU, entropy_RU, 0.0)
        return Likelihood(torch.where(mask_RU, log_probs_RU, 0.0), mask_RU, entropy_RU)

    def batch_tokens(self, prompts: Sequence[FramePrompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Moments scored, at each choice of each row."""
        widest = max(len(prompt.features_NH) for prompt in prompts)
        return widest * sum(sum(lengths) for lengths in rows_per_prompt)

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """(name, parameter, part) of the selector, which trains at `optim.lr`."""
        for name, parameter in self.module.named_parameters():
            yield name, parameter, "language"

    def save_pretrained(self, folder: Path) -> None:
        """Writes the reader in the hub's layout, and the selector beside it."""
        from safetensors.torch import save_file

        self.reader.save_pretrained(folder)
        save_file(
            {name: value.detach().contiguous() for name, value in self.module.state_dict().items()}, folder / FILE
        )


def evenly_spaced(count: int, chosen: int) -> list[int]:
    """`chosen` of `count` indices, the first and the last among them."""
    return torch.linspace(0, count - 1, chosen).round().long().tolist()

